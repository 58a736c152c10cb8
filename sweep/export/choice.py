"""Which trial is exported: its number, or in words what is wanted of it."""

import re

from optuna.trial import FrozenTrial

from sweep import records
from sweep.errors import ExportError
from sweep.front import Front
from sweep.promotion.choice import choose
from sweep.study_file import Promotion

_LIMIT = re.compile(r"(?P<cost>[a-z_]+)\s*<=\s*(?P<limit>[0-9.eE+]+)")


def choose_trial(front: Front, wanted: str) -> FrozenTrial:
    """Return the trial that `wanted` names: 42, knee, best-auc, or lut<=2000 (any cost of the front).

    All words but a number choose from the feasible front, by its scores on validation events. Raises
    StudyError when the study has no such point, ExportError for words that say nothing.
    """
    limit = _LIMIT.fullmatch(wanted.strip())
    if wanted.isdecimal():
        policy = Promotion(policy="named", trials=(int(wanted),))
    elif wanted in ("knee", "best-auc"):
        policy = Promotion(policy="knee", size=1)
    elif limit and front.points and limit["cost"] in front.cost(front.points[0]):
        policy = _under(limit["cost"], limit["limit"], wanted)
    else:
        raise ExportError(
            f"TRIAL {wanted!r}: expected a trial's number, knee, best-auc, or a limit as lut<=2000"
            " (lut, ff, latency_ns or another cost of `sweep front`)"
        )
    [chosen, *_] = choose(front, policy)
    if wanted == "best-auc":
        return max(front.points, key=lambda t: _mean_auc(front, t))
    return chosen.trial


def _under(cost: str, limit: str, wanted: str) -> Promotion:
    try:
        return Promotion(policy="budget", limits=(float(limit),), cost=cost)
    except ValueError:
        raise ExportError(f"TRIAL {wanted!r}: {cost} cannot be limited to {limit}") from None


def _mean_auc(front: Front, trial: FrozenTrial) -> float:
    return records.metric("mean_auc", trial.user_attrs["validation"], front.cost(trial))
