"""Which points of a front are worth a synthesis, and why.

Each policy takes a front and returns `Chosen` trials with a reason that a person can check.
"""

import math
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from sweep.errors import StudyError
from sweep.front import Front
from sweep.study_file import Promotion, direction_of

Floats = NDArray[np.float64]

#: Share of a volume that the order of its summation may change.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Chosen:
    """A trial chosen for synthesis, and the reason in words."""

    trial: FrozenTrial
    reason: str


def choose(front: Front, promotion: Promotion) -> list[Chosen]:
    """Return the points of `front` that `promotion` takes, the most wanted first.

    Raises StudyError when there is nothing to choose from, or a named trial is no point of the study.
    """
    if promotion.policy == "named":
        return _named(front, promotion.trials)
    if not front.points:
        raise StudyError(
            f"study {front.study.name!r} has no feasible point yet to promote;"
            " run it on, or loosen its constraints"
        )
    match promotion.policy:
        case "hypervolume":
            return _by_hypervolume(front, promotion.size)
        case "knee":
            return _by_knee(front, promotion.size)
        case _:
            return _within(front, promotion)


def _by_hypervolume(front: Front, size: int) -> list[Chosen]:
    """Greedy subset of largest hypervolume: each next point adds most to those before.

    Greedy is within 1 - 1/e of the best subset (Nemhauser et al., 1978; Guerreiro et al., 2016).
    """
    losses, reference = front.losses(), front.reference()
    chosen: list[int] = []
    gains: list[float] = []
    volume = 0.0
    while len(chosen) < min(size, len(losses)):
        left = [i for i in range(len(losses)) if i not in chosen]
        volumes = [float(moocore.hypervolume(losses[[*chosen, i]], ref=reference)) for i in left]
        gain = max(volumes) - volume
        if gain <= _ROUNDING * volume and chosen:
            break  # what is left lies beyond the reference point
        chosen.append(left[int(np.argmax(volumes))])
        gains.append(gain)
        volume = max(volumes)
    return [
        Chosen(front.points[i], f"adds {gain / (front.hypervolume or 1):.1%} of the front's hypervolume")
        for i, gain in zip(chosen, gains, strict=True)
    ]


def knee_distances(losses: Floats, costs: NDArray[np.bool_]) -> Floats:
    """Return how far each point (n, objectives) lies from the plane through the front's extremes.

    Objectives run from 0 (best on the front) to 1 (worst on the front), costs by their logarithm,
    for fronts span decades. A cost below 1, such as no DSP, counts as 1. The distance is positive
    towards the ideal point: the knee has the largest (Das, "On characterizing the 'knee' of the
    Pareto curve", 1999). Objectives in which all points are equal do not count.
    """
    scaled = losses.copy()
    scaled[:, costs] = np.log(np.maximum(losses[:, costs], 1.0))
    low, high = scaled.min(axis=0), scaled.max(axis=0)
    differ = high > low
    if not differ.any():
        return np.zeros(len(losses))
    position = ((scaled - low)[:, differ] / (high - low)[differ]).sum(axis=1)
    return np.asarray((1.0 - position) / math.sqrt(int(differ.sum())), np.float64)


def _by_knee(front: Front, size: int) -> list[Chosen]:
    costs = np.array([d == "minimize" for d in front.study.file.directions])
    distances = knee_distances(front.losses(), costs)
    order = np.argsort(-distances, kind="stable")[:size]
    knee = f"the knee has {distances.max():.3f}"
    return [
        Chosen(front.points[i], f"{distances[i]:.3f} from the line between the front's ends; {knee}")
        for i in order
    ]


def _within(front: Front, promotion: Promotion) -> list[Chosen]:
    """The best-scoring point under each limit."""
    objectives = front.study.file.objectives
    cost = promotion.cost or next(name for name in objectives if direction_of(name) == "minimize")
    score = next(i for i, name in enumerate(objectives) if direction_of(name) == "maximize")
    chosen: dict[int, Chosen] = {}
    for limit in sorted(promotion.limits):
        under = [t for t in front.points if front.cost(t)[cost] <= limit]
        if not under:
            continue
        best = max(under, key=lambda t: front.values(t)[score])
        what = f"best {objectives[score]} with {cost} at most {limit:,g}"
        known = chosen.get(best.number)
        chosen[best.number] = Chosen(best, f"{known.reason}; {what}" if known else what)
    if not chosen:
        least = min(float(front.cost(t)[cost]) for t in front.points)
        raise StudyError(
            f"promotion.limits: no point of the front has {cost} under any of them; the least is {least:,.0f}"
        )
    return list(chosen.values())


def _named(front: Front, numbers: tuple[int, ...]) -> list[Chosen]:
    points: dict[int, Any] = {t.number: t for t in front.study.points()}
    for number in numbers:
        if number not in points:
            raise StudyError(
                f"trial {number} of study {front.study.name!r} holds no student; `sweep front` lists some"
            )
    return [Chosen(points[number], "named") for number in dict.fromkeys(numbers)]
