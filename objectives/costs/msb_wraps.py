"""A mistake of alkaid 0.8.2, mended: a pass of its optimizer took one bit of a number for another.

`canonicalize_msb_wraps` drops the shift of an operation that keeps a single bit, where the weight of that
bit is the weight of its operand's first bit. It compares the weights before and after the shift, so what
it replaces is another bit. That is right only if the bit stands above the first one of a signed
number: there all bits are the sign. Convergent rounding of what has been rounded before met it, and
students without batch norm that rounding leaves one bit of.
"""

from alkaid.trace.passes import canon
from alkaid.types import CombLogic, Op

_WRAP = 3
_original = canon.canonicalize_msb_wraps


def canonicalize_msb_wraps(logic: CombLogic) -> CombLogic:
    """Apply alkaid's pass, and keep of it what is right."""
    passed = _original(logic)
    for number, (before, after) in enumerate(zip(logic.ops, passed.ops, strict=True)):
        if before != after and not _keeps_a_sign(logic, before):
            passed.ops[number] = before
    return passed


def _keeps_a_sign(logic: CombLogic, op: Op) -> bool:
    signed = logic.ops[op.addr[0]].qint.min < 0
    return bool(op.opcode == _WRAP and signed and op.data[0] < 0)


def mend() -> None:
    """Let every graph that is traced from now on keep its bits."""
    canon.canonicalize_msb_wraps = canonicalize_msb_wraps
