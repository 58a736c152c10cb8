"""A student's adder graph as C++ of whole numbers: the arithmetic of an emulator.

Every value of the graph is a whole number of its own smallest step, held in 64 bits. The C++ needs nothing
but the standard library: arbitrary-precision types belong to the two ends only, and of a student with a
thousand additions they would take a compiler half a minute.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from alkaid.types import CombLogic

from objectives.costs.score_port import REGIONS, SCORE_FRACTION, result_port
from objectives.errors import CostError

#: A sum of two values of this many bits still fits into a signed 64-bit number.
_WIDEST = 60


def score_function(logic: CombLogic, name: str) -> str:
    """Return the C++ function `name`: from 252 regions (std::uint16_t, counts) to the raw score.

    The raw score is a std::uint16_t in steps of 1/256. Raises CostError for a graph that is no
    student's.
    """
    result_port(logic)
    lines = [*_declared_tables(logic), *_operations(logic), _result(logic)]
    body = "\n".join(f"    {line}" for line in lines)
    return f"std::uint16_t {name}(const std::uint16_t (&region)[{REGIONS}]) {{\n{body}\n}}\n"


def _operations(logic: CombLogic) -> Iterator[str]:
    used = logic.ref_count
    for number, op in enumerate(logic.ops):
        if used[number]:
            yield f"const std::int64_t v{number} = {_value(logic, op)};"


def _value(logic: CombLogic, op: Any) -> str:
    """Return the C++ expression of an operation, as alkaid's interpreter computes it."""
    fraction = op.qint.kif.fractional
    a, data = op.addr, op.data
    match op.opcode:
        case -2:
            return _sum(logic, [(a[0], False, 0)], fraction)
        case -1:
            scaled = _scaled(f"std::int64_t(region[{data[0]}])", -logic.inp_shifts[data[0]], fraction)
            return _wrapped(scaled, op)
        case 0 | 1:
            return _sum(logic, [(a[0], True, 0), (a[1], op.opcode == 0, data[0])], fraction)
        case 2:
            return f"v{a[0]} > 0 ? {_wrapped(_scaled(f'v{a[0]}', _fraction(logic, a[0]), fraction), op)} : 0"
        case 3:
            return _wrapped(_scaled(f"v{a[0]}", _fraction(logic, a[0]) - data[0], fraction), op)
        case 4:
            return _sum(logic, [(a[0], True, 0)], fraction, constant=data[0] * Fraction(2) ** -data[1])
        case 5:
            return str(_whole(data[0] * Fraction(op.qint.step), fraction) if data[0] else 0)
        case 6:
            return _choice(logic, op)
        case 7:
            product = _fraction(logic, a[0]) + _fraction(logic, a[1])
            return _scaled(f"(v{a[0]} * v{a[1]})", product, fraction)
        case 8:
            entry = f"table{data[0]}[v{a[0]} - ({_lowest(logic, a[0])})]"
            return _scaled(entry, _tables(logic)[data[0]].spec.out_kif[2], fraction)
        case 9:
            return _of_bits(logic, op)
        case 10:
            return _bitwise(logic, op)
        case 11:
            terms = [(source, data[2 * n] > 0, data[2 * n + 1]) for n, source in enumerate(a)]
            return _sum(logic, terms, fraction)
    raise CostError(f"the adder graph has an operation {op.opcode}, which no student is made of")


def _fraction(logic: CombLogic, number: int) -> int:
    return int(logic.ops[number].qint.kif.fractional)


def _scaled(value: str, fraction: int, wanted: int) -> str:
    """Return `value`, in steps of 2**-`fraction`, in steps of 2**-`wanted`; what is finer is cut off."""
    if wanted == fraction:
        return value
    return (
        f"{value} * {1 << (wanted - fraction)}LL"
        if wanted > fraction
        else f"({value} >> {fraction - wanted})"
    )


def _sum(
    logic: CombLogic, terms: list[tuple[int, bool, int]], fraction: int, constant: Fraction = Fraction(0)
) -> str:
    """Return the sum of (value, whether it is added, left shift) and a constant."""
    finest = max(fraction, *(_fraction(logic, n) - shift for n, _, shift in terms))
    if constant:
        finest = max(finest, constant.denominator.bit_length() - 1)
    text = ""
    for number, plus, shift in terms:
        term = _scaled(f"v{number}", _fraction(logic, number) - shift, finest)
        text += f" {'+' if plus else '-'} {term}" if text else term if plus else f"-({term})"
    if constant:
        text += f" + ({_whole(constant, finest)}LL)"
    return _scaled(f"({text})", finest, fraction)


def _choice(logic: CombLogic, op: Any) -> str:
    one, other, by = op.addr
    fraction = op.qint.kif.fractional
    interval = logic.ops[by].qint
    limit = 0 if interval.min < 0 else 1 << max(sum(interval.kif) - 1, 0)
    condition = f"v{by} < 0" if interval.min < 0 else f"v{by} >= {limit}LL"
    first = _wrapped(_scaled(f"v{one}", _fraction(logic, one), fraction), op)
    second = _wrapped(_scaled(f"v{other}", _fraction(logic, other) - op.data[0], fraction), op)
    return f"{condition} ? {first} : {second}"


def _of_bits(logic: CombLogic, op: Any) -> str:
    """Return the complement of a value's bits, or whether any or all of them are set."""
    [source] = op.addr
    interval = logic.ops[source].qint
    width = sum(interval.kif)
    match op.data[0]:
        case 0:
            # The bits are taken for those of the result, whatever they count there.
            return _wrapped(f"~v{source} & {(1 << width) - 1}LL", op)
        case 1:
            test = f"v{source} != 0"
        case _:
            test = f"v{source} == {-1 if interval.min < 0 else (1 << width) - 1}LL"
    return _scaled(f"std::int64_t({test})", 0, op.qint.kif.fractional)


def _bitwise(logic: CombLogic, op: Any) -> str:
    (one, other), (shift, kind) = op.addr, op.data
    fractions = _fraction(logic, one), _fraction(logic, other) - shift
    finest = max(fractions)
    left, right = (
        _scaled(f"v{n}", fraction, finest) for n, fraction in zip((one, other), fractions, strict=True)
    )
    both = f"(({left}) {'&|^'[kind]} ({right}))"
    return _wrapped(_scaled(both, finest, op.qint.kif.fractional), op)


def _wrapped(value: str, op: Any) -> str:
    """Return `value` with no more bits than the result of `op` has; those above are dropped."""
    signed, width = bool(op.qint.kif.signed), sum(op.qint.kif)
    if width <= 0:
        return "0"
    if width > _WIDEST:
        raise CostError(f"the adder graph has a value of {width} bits; {_WIDEST} are the most")
    if not signed:
        return f"(({value}) & {(1 << width) - 1}LL)"
    half = 1 << (width - 1)
    return f"(((({value}) + {half}LL) & {(1 << width) - 1}LL) - {half}LL)"


def _lowest(logic: CombLogic, number: int) -> int:
    return _whole(Fraction(logic.ops[number].qint.min), _fraction(logic, number))


def _tables(logic: CombLogic) -> tuple[Any, ...]:
    return logic.lookup_tables or ()


def _declared_tables(logic: CombLogic) -> Iterator[str]:
    """Yield the look-up tables; entry n is for the n-th value that the operand can have."""
    for number, table in enumerate(_tables(logic)):
        values = ", ".join(str(_whole(Fraction(float(v)), table.spec.out_kif[2])) for v in table.float_table)
        yield f"static const std::int64_t table{number}[] = {{{values}}};"


def _whole(value: Fraction, fraction: int) -> int:
    steps = value * Fraction(2) ** fraction
    if steps.denominator != 1:
        raise CostError(f"the adder graph holds {float(value)!r}, which {fraction} fractional bits cannot")
    return int(steps)


def _result(logic: CombLogic) -> str:
    number = logic.out_idxs[0]
    if number < 0:
        return "return 0;"
    value = _scaled(f"v{number}", _fraction(logic, number) - logic.out_shifts[0], SCORE_FRACTION)
    return f"return std::uint16_t({'-' if logic.out_negs[0] else ''}({value}));"
