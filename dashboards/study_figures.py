"""Figures of a whole study: hypervolume against core time, estimates against synthesis, importance."""

import warnings
from collections.abc import Callable

import moocore
import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from dashboards.palette import SERIES
from sweep.front import Front, front_of
from sweep.study import Study

#: Points that importance is computed from: the newest, for its time grows with their square.
MOST_RANKED = 2000


def hypervolume_figure(study: Study, front: Front | None = None) -> go.Figure:
    """Return the hypervolume of the front against the processor time of the runs that had ended."""
    hours, volumes = hypervolume_curve(front or front_of(study))
    figure = go.Figure()
    figure.add_scatter(
        x=[round(h, 5) for h in hours],
        y=volumes,
        mode="lines+markers",
        line={"shape": "hv", "color": SERIES[0]},
        marker={"size": 5},
        name="hypervolume",
    )
    return _laid_out(figure, "Hypervolume of the front against core time", "core hours", "hypervolume")


def hypervolume_curve(front: Front) -> tuple[list[float], list[float]]:
    """Return core hours and hypervolume after each finished run, in the order in which they ended."""
    study = front.study
    by_run: dict[int, list[list[float]]] = {}
    for trial in front.measured():
        if front.is_feasible(trial):
            by_run.setdefault(trial.user_attrs.get("parent", trial.number), []).append(front.losses_of(trial))
    ended = [t for t in study.runs() if t.state.is_finished() and t.datetime_complete is not None]
    ended.sort(key=lambda t: t.datetime_complete)  # type: ignore[arg-type, return-value]
    best = np.empty((0, len(study.file.objectives)))
    hours, volumes, seconds = [], [], 0.0
    for run in ended:
        seconds += run.user_attrs.get("core_seconds", 0.0)
        if run.number in by_run:
            best = np.concatenate([best, np.array(by_run[run.number])])
            best = best[moocore.is_nondominated(best)]
        hours.append(seconds / 3600)
        volumes.append(float(moocore.hypervolume(best, ref=front.reference())) if len(best) else 0.0)
    return hours, volumes


def estimates_figure(study: Study) -> go.Figure:
    """Return the LUTs that each tool counted against those estimated, for this study's own points."""
    figure = go.Figure()
    found: dict[str, list[tuple[float, float, int]]] = {}
    for trial in study.points():
        cost = trial.user_attrs["cost"]
        estimated = {**cost, **cost.get("estimated", {})}
        for said in trial.user_attrs.get("synthesis", []):
            name = f"{said['tool']} {said['version']} ({said['stage']})"
            key = "hls_lut" if said["tool"] == "vitis" else "lut"
            found.setdefault(name, []).append((estimated[key], said["lut"], trial.number))
    for number, (name, rows) in enumerate(found.items()):
        figure.add_scatter(
            x=[row[0] for row in rows],
            y=[row[1] for row in rows],
            text=[f"trial {row[2]}" for row in rows],
            mode="markers",
            name=name,
            marker={"size": 9, "color": SERIES[number % len(SERIES)], "symbol": number},
        )
    if found:
        values = [value for rows in found.values() for row in rows for value in row[:2]]
        ends = [min(values), max(values)]
        figure.add_scatter(
            x=ends, y=ends, mode="lines", name="equal", line={"color": "#777777", "dash": "dot"}
        )
    title = "Estimated against synthesized LUT" if found else "Estimated against synthesized LUT: none yet"
    _laid_out(figure, title, "LUT estimated", "LUT counted by the tool")
    return figure.update_xaxes(type="log").update_yaxes(type="log")


def importance_figure(study: Study) -> go.Figure:
    """Return how much each parameter decides each objective, by PED-ANOVA (Watanabe et al., 2023)."""
    figure = go.Figure()
    for number, (objective, importances) in enumerate(importance(study).items()):
        names = sorted(importances, key=lambda name: importances[name])
        figure.add_bar(
            y=names,
            x=[round(importances[name], 4) for name in names],
            orientation="h",
            name=objective,
            marker={"color": SERIES[number % len(SERIES)]},
        )
    _laid_out(figure, "Importance of parameters for each objective", "share (PED-ANOVA)", "")
    return figure.update_yaxes(automargin=True)


def importance(study: Study) -> dict[str, dict[str, float]]:
    """Return the importance of each parameter, by objective; empty where there is too little to tell."""
    trials = [trial for trial in study.points() if trial.params][-MOST_RANKED:]
    names = set.intersection(*(set(trial.params) for trial in trials)) if trials else set()
    if len(trials) < 10 or not names:
        return {}
    copied = optuna.create_study(directions=list(study.file.directions))
    copied.add_trials(trials)
    found = {}
    for index, name in enumerate(study.file.objectives):
        sign = -1.0 if study.file.directions[index] == "maximize" else 1.0
        with warnings.catch_warnings():
            # About targets that are to be large; these are not.
            warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
            found[name] = get_param_importances(
                copied,
                evaluator=PedAnovaImportanceEvaluator(),
                params=sorted(names),
                target=_target(index, sign),
            )
    return found


def _target(index: int, sign: float) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * trial.values[index]


def _laid_out(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    return figure.update_layout(
        title=title,
        xaxis={"title": x},
        yaxis={"title": y},
        template="plotly_white",
        legend={"orientation": "h", "y": -0.28, "yanchor": "top"},
    )
