"""All points of a study as the explorer's page wants them: one list a column, short numbers."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweep.front import Front
from sweep.records import at_rates, efficiency_at
from sweep.references import Reference
from sweep.study import Study

#: Costs that can be an axis.
AXES = (
    "lut",
    "ff",
    "dsp",
    "ebops",
    "latency_ns",
    "lut_equivalent",
    "hls_lut",
    "hls_dsp",
    "hls_lut_equivalent",
)

#: Costs as the adder graph has them.
ESTIMATED = "estimated (adder graph)"


def points_of(front: Front, references: Sequence[Reference] = ()) -> dict[str, Any]:
    """Return the study's points by column, its front, parameters, runs and what else the page needs.

    `references` are students of no study, to be drawn beside its points.

    `cost.current` are the costs that the front was chosen by, calibrated where calibration is in
    force, `cost.estimated` those of the adder graph alone, and `cost.TOOL` what a tool counted.
    """
    study, file = front.study, front.study.file
    trials = front.measured()
    signals = list(trials[0].user_attrs["validation"]["auc"]) if trials else []
    return {
        "study": study.name,
        "study_id": study.id,
        "description": file.description,
        "objectives": list(file.objectives),
        "directions": list(file.directions),
        "hypervolume": front.hypervolume,
        "runs": _runs(study),
        "signals": signals,
        "axes": list(AXES),
        "trial": [trial.number for trial in trials],
        "parent": [trial.user_attrs.get("parent") for trial in trials],
        "epoch": [trial.user_attrs["epoch"] for trial in trials],
        "on_front": [int(trial.number in front.numbers) for trial in trials],
        "feasible": [int(front.is_feasible(trial)) for trial in trials],
        "scores": {split: _scores(trials, split, signals) for split in ("validation", "test")},
        "cost": _costs(front, trials),
        "cost_source": _source(front),
        "params": _params(trials),
        "references": [
            {"name": r.name, "cost": r.cost, "validation": r.validation, "test": r.test} for r in references
        ],
    }


def _runs(study: Study) -> dict[str, int]:
    """Return how many runs are under way, and how many ended without a student of their own."""
    states = Counter(trial.state for trial in study.runs())
    return {"running": states[TrialState.RUNNING], "failed": states[TrialState.FAIL]}


def _scores(trials: Sequence[FrozenTrial], split: str, signals: Sequence[str]) -> dict[str, Any]:
    """Return AUCs and efficiencies by name; intervals [low, high] where there are some."""

    def column(read: Callable[[Mapping[str, Any]], float | None]) -> list[float | None]:
        return [_short(read(trial.user_attrs[split]), 5) for trial in trials]

    scores = {
        "mean_auc": column(lambda s: s["mean_auc"]),
        "worst_auc": column(lambda s: s["worst_auc"]),
    }
    for name in signals:
        scores[f"auc:{name}"] = column(lambda s, name=name: s["auc"][name])  # type: ignore[misc]
    for rate in _rates(trials):
        scores[f"efficiency@{rate:g}"] = column(partial(efficiency_at, rate_khz=rate))
        for name in signals:
            key = f"efficiency@{rate:g}:{name}"
            scores[key] = column(partial(efficiency_at, rate_khz=rate, signal=name))
    intervals: dict[str, Any] = {}
    for name in ("mean_auc", "worst_auc", *signals):
        pairs = [trial.user_attrs[split].get("intervals", {}).get(name) for trial in trials]
        if any(pair is not None for pair in pairs):
            key = name if name.endswith("_auc") else f"auc:{name}"
            intervals[key] = [[_short(v, 5) for v in pair] if pair else None for pair in pairs]
    return {"values": scores, "intervals": intervals}


def _rates(trials: Sequence[FrozenTrial]) -> list[float]:
    """Return the trigger rates of recorded efficiencies, in kHz, ascending."""
    return sorted({each["rate_khz"] for trial in trials for each in at_rates(trial.user_attrs["test"])})


def _costs(front: Front, trials: Sequence[FrozenTrial]) -> dict[str, dict[str, Any]]:
    """Return {source: {axis: values}}; None where a source says nothing of a point."""
    current = [front.cost(trial) for trial in trials]
    estimated = [{**cost, **cost.get("estimated", {})} for cost in current]
    found: dict[str, dict[str, Any]] = {"current": _axes(current), "estimated": _axes(estimated)}
    for number, trial in enumerate(trials):
        for said in trial.user_attrs.get("synthesis", []):
            source = f"{said['tool']} {said['version']}, {said['stage']}"
            columns = found.setdefault(source, {axis: [None] * len(trials) for axis in ("lut", "ff", "dsp")})
            for axis in columns:
                columns[axis][number] = said[axis]
    return found


def _source(front: Front) -> str:
    """Return what the current costs are: estimates, or what calibration made of them."""
    corrected = any(cost["source"] == "calibrated" for cost in front.costs.values())
    return "calibrated" if corrected else ESTIMATED


def _axes(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {axis: [_short(cost[axis], 4) for cost in costs] for axis in AXES}


def _params(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return each parameter that varies: its name, kind and values; choices are texts."""
    names = sorted({name for trial in trials for name in trial.params})
    found = []
    for name in names:
        values = [trial.params.get(name) for trial in trials]
        known = [value for value in values if value is not None]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)
        distribution = next(t.distributions[name] for t in trials if name in t.distributions)
        found.append(
            {
                "name": name,
                "kind": "number" if numeric else "choice",
                "log": bool(getattr(distribution, "log", False)),
                "values": [_short(v, 6) for v in values] if numeric else [_text(v) for v in values],
            }
        )
    return found


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return str(value)


def _short(value: Any, digits: int) -> float | None:
    """Return a number with so many significant digits, for 10,000 of them are sent."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
