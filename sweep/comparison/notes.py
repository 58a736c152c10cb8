"""What to keep in mind when reading a comparison."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from objectives.scores import ENOUGH_PASSING
from sweep.comparison.contender import Axes, Contender, Member

#: Budgets of processor time are called equal up to this share.
EQUAL_BUDGETS = 0.1


def notes(axes: Axes, contenders: Sequence[Contender], references: Sequence[Member]) -> list[str]:
    """Return sentences about budgets, overlap, hardware, references and small numbers."""
    members = [*references, *(member for contender in contenders for member in contender.members)]
    return [
        *_budgets(contenders),
        *_overlaps(axes, contenders),
        *_hardware(members),
        *_references(references),
        *(f"{member.name} has no intervals: {member.unpaired}" for member in members if member.unpaired),
        *_small_numbers(axes, members),
    ]


def _budgets(contenders: Sequence[Contender]) -> Iterator[str]:
    spent = {c.name: float(np.median([member.core_seconds for member in c.members])) for c in contenders}
    if max(spent.values()) > (1 + EQUAL_BUDGETS) * min(spent.values()):
        told = ", ".join(f"{name} {seconds:,.0f}" for name, seconds in spent.items())
        yield f"budgets differ: core-seconds spent are {told}"


def _overlaps(axes: Axes, contenders: Sequence[Contender]) -> Iterator[str]:
    spans = {
        c.name: (
            float(min(member.curve.scores[0, 0] for member in c.members)),
            float(max(member.curve.scores[0, -1] for member in c.members)),
        )
        for c in contenders
    }
    for (one, (a, b)), (other, (c, d)) in combinations(spans.items(), 2):
        if max(a, c) > min(b, d):
            yield (
                f"the fronts of {one} ({a:.4f} to {b:.4f}) and {other} ({c:.4f} to {d:.4f}) do not overlap in"
                f" test {axes.score}: there is no equal performance to compare at"
            )


def _hardware(members: Sequence[Member]) -> Iterator[str]:
    files = [member.study.file.hardware for member in members if member.study]
    kinds = sorted({(hardware.part, hardware.clock_ns) for hardware in files})
    if len(kinds) > 1:
        told = ", ".join(f"{part} at {clock:g} ns" for part, clock in kinds)
        yield f"latency and FF are of different hardware: {told}"


def _references(references: Sequence[Member]) -> Iterator[str]:
    if references:
        yield (
            "a reference was trained elsewhere, on data of its own: its score here is what it gives on these"
            " events, not what its network could"
        )


def _small_numbers(axes: Axes, members: Sequence[Member]) -> Iterator[str]:
    passing = max(student.test["passing"] for member in members for student in member.students)
    if passing < ENOUGH_PASSING:
        yield (
            f"at {axes.rate_khz:g} kHz the threshold rests on {passing} zero-bias test events or fewer:"
            " efficiencies there order no students, their brackets are where each may lie; more zero-bias"
            " events would tell"
        )
