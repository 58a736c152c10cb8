"""The registers of a pipelined design that synthesis keeps.

alkaid counts every register that it writes. Synthesis removes those that no output depends on, most
of them inputs whose low bits a student's first quantizer drops, and all but one of equal ones. On 38
students of 700 to 17,000 LUT the count here was within 0.8 % of Yosys's flip-flops, and the count of
registers written 37 % off.
"""

from collections.abc import Callable
from itertools import count
from typing import Any

from alkaid.stateful import FSM
from alkaid.types import CombLogic

#: A bit of the design by its number; equal bits have equal numbers.
Bit = int
_CONSTANT: Bit = 0


def live_register_bits(design: FSM) -> int:
    """Return the registers left when those no output depends on, and copies of others, are removed.

    Every bit is followed through the stages: quantization, shifts and the low end of an addition
    where one term alone has bits only rename a bit, all else makes a new one of those it needs.
    """
    numbers = count(1)
    needs: dict[Bit, tuple[Bit, ...]] = {}

    def new(*needed: Bit) -> Bit:
        bit = next(numbers)
        needs[bit] = tuple(b for b in needed if b != _CONSTANT)
        return bit

    registers: list[list[Bit]] = []

    def register(words: list[list[Bit]]) -> list[list[Bit]]:
        held = {bit: new(bit) for word in words for bit in word if bit != _CONSTANT}
        registers.append(list(held.values()))
        return [[held.get(bit, _CONSTANT) for bit in word] for word in words]

    names = sorted(design.logic, key=lambda name: int(name.removeprefix("logic")))
    stages = [design.logic[name] for name in names]
    words = register([[new() for _ in range(sum(q.kif))] for q in stages[0].inp_qint])
    for stage in stages:
        values = _stage_bits(stage, words, new)
        words = register([values[i] if i >= 0 else [] for i in stage.out_idxs])
    live: set[Bit] = set()
    waiting = [bit for word in words for bit in word if bit != _CONSTANT]
    while waiting:
        bit = waiting.pop()
        if bit not in live:
            live.add(bit)
            waiting.extend(needs[bit])
    return sum(bit in live for bits in registers for bit in bits)


def _stage_bits(stage: CombLogic, inputs: list[list[Bit]], new: Callable[..., Bit]) -> list[list[Bit]]:
    values: list[list[Bit]] = []

    def at(source: int, weight: int) -> Bit:
        """The bit of value `source` that counts 2**weight; the sign goes on, zeros fill up."""
        signed, _, fraction = stage.ops[source].qint.kif
        word, place = values[source], weight + fraction
        if place < 0 or not word:
            return _CONSTANT
        return word[place] if place < len(word) else word[-1] if signed else _CONSTANT

    for op in stage.ops:
        fraction = op.qint.kif.fractional
        weights = range(-fraction, sum(op.qint.kif) - fraction)
        a, data = op.addr, op.data
        match op.opcode:
            case -1:
                word = inputs[data[0]]
            case 5:
                word = [_CONSTANT] * len(weights)
            case 3:
                word = [at(a[0], w - data[0]) for w in weights]
            case 2:
                sign = values[a[0]][-1] if stage.ops[a[0]].qint.min < 0 else None
                word = [at(a[0], w) for w in weights]
                if sign is not None:
                    word = [new(bit, sign) if bit != _CONSTANT else bit for bit in word]
            case 6:
                pairs = [(at(a[0], w), at(a[1], w - data[0])) for w in weights]
                word = [x if x == y else new(x, y, values[a[2]][-1]) for x, y in pairs]
            case 0 | 1 | 4 | 11 | -2:
                word = _sum_bits(op, weights, at, new)
            case _:
                needed = [bit for source in a for bit in values[source]]
                word = [new(*needed) for _ in weights]
        values.append(word)
    return values


def _sum_bits(op: Any, weights: range, at: Callable[[int, int], Bit], new: Callable[..., Bit]) -> list[Bit]:
    a, data = op.addr, op.data
    constant = 0
    match op.opcode:
        case 11:
            terms = [(source, data[2 * n] > 0, data[2 * n + 1]) for n, source in enumerate(a)]
        case 0 | 1:
            terms = [(a[0], True, 0), (a[1], op.opcode == 0, data[0])]
        case -2:
            terms = [(a[0], False, 0)]
        case _:
            terms = [(a[0], True, 0)]
            constant = int(data[0] * 2.0 ** (32 - data[1]))  # in 2**-32
    word: list[Bit] = []
    carry = _CONSTANT
    for weight in weights:
        bits = [(at(source, weight - shift), plus) for source, plus, shift in terms]
        bits = [(bit, plus) for bit, plus in bits if bit != _CONSTANT]
        added = constant >> (weight + 32) & 1
        if carry == _CONSTANT and not added and (not bits or (len(bits) == 1 and bits[0][1])):
            word.append(bits[0][0] if bits else _CONSTANT)
        else:
            carry = new(carry, *(bit for bit, _ in bits))
            word.append(carry)
    return word
