"""A study's front as a figure: every measured student, the front, and its test scores with intervals."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from sweep import records
from sweep.front import Front
from sweep.references import Reference


def front_figure(front: Front, references: Sequence[Reference] = (), *, most: int | None = None) -> go.Figure:
    """Return the first score objective against the first cost objective, costs on a log axis.

    Of the points that are not on the front, at most `most` are drawn, evenly chosen. References are
    stars beside the front, at their test score where that has an interval.
    """
    file = front.study.file
    score = next(n for n, d in zip(file.objectives, file.directions, strict=True) if d == "maximize")
    cost = next(n for n, d in zip(file.objectives, file.directions, strict=True) if d == "minimize")
    x, y = file.objectives.index(cost), file.objectives.index(score)
    everything = front.measured()
    drawn = everything if most is None else everything[:: max(1, -(-len(everything) // most))]
    figure = go.Figure()
    figure.add_scatter(
        x=[front.values(t)[x] for t in drawn],
        y=[front.values(t)[y] for t in drawn],
        mode="markers",
        name="measured students (validation)",
        marker={"color": "#9aa5b1", "size": 5},
        text=[f"trial {t.number}, epoch {t.user_attrs['epoch']}" for t in drawn],
    )
    figure.add_scatter(
        x=[front.values(t)[x] for t in front.points],
        y=[front.values(t)[y] for t in front.points],
        mode="lines+markers",
        name="front (validation)",
        line={"shape": "hv", "color": "#0b6fa4"},
        marker={"symbol": "circle", "size": 9},
        text=[f"trial {t.number}" for t in front.points],
    )
    if score in ("mean_auc", "worst_auc"):
        figure.add_scatter(**_test_scores(front, x, score))
    for tool, marks in _synthesized(front, cost, y).items():
        figure.add_scatter(**marks, name=f"what {tool} said", mode="markers")
    for reference in references:
        if reference.cost.get(cost) is not None:
            figure.add_scatter(**_reference(reference, cost, score))
    corrected = any(cost in front.cost(t).get("intervals", {}) for t in front.points)
    figure.update_layout(
        title=f"Front of {front.study.name}: {len(front.points)} of {len(everything)} measured students",
        xaxis={"title": f"{cost} ({'calibrated' if corrected else 'estimated'})", "type": "log"},
        yaxis={"title": score},
        template="plotly_white",
        legend={"orientation": "h", "y": -0.28, "yanchor": "top"},
    )
    return figure


def _reference(reference: Reference, cost: str, score: str) -> dict[str, object]:
    interval = reference.test["intervals"].get(score)
    scores = reference.validation if interval is None else reference.test
    value = records.metric(score, scores, reference.cost)
    mark: dict[str, object] = {
        "x": [reference.cost[cost]],
        "y": [value],
        "mode": "markers+text",
        "name": f"{reference.name} (reference, {'validation' if interval is None else 'test'})",
        "text": [reference.name],
        "textposition": "bottom center",
        "marker": {"symbol": "star", "size": 13, "color": "#6b3fa0"},
    }
    if interval is not None:
        low, high = interval
        mark["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
        }
    return mark


def _test_scores(front: Front, x: int, score: str) -> dict[str, object]:
    test = [t.user_attrs["test"] for t in front.points]
    return {
        "x": [front.values(t)[x] for t in front.points],
        "y": [s[score] for s in test],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [s["intervals"][score][1] - s[score] for s in test],
            "arrayminus": [s[score] - s["intervals"][score][0] for s in test],
        },
        "mode": "markers",
        "name": "front (test, 68 % interval)",
        "marker": {"symbol": "diamond-open", "size": 10, "color": "#c2570c"},
    }


def _synthesized(front: Front, cost: str, y: int) -> dict[str, dict[str, Any]]:
    """Return where the points lie at the cost that each tool counted, by tool, version and stage."""
    found: dict[str, dict[str, Any]] = {}
    for trial in front.points:
        for result in trial.user_attrs.get("synthesis", []):
            if cost not in ("lut", "ff", "dsp") or result["stage"] == "estimated":
                continue
            name = f"{result['tool']} {result['version']} ({result['stage']})"
            marks = found.setdefault(
                name, {"x": [], "y": [], "marker": {"symbol": "x-thin-open", "size": 11, "color": "#222222"}}
            )
            marks["x"].append(result[cost])
            marks["y"].append(front.values(trial)[y])
    return found
