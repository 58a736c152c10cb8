"""Estimates against synthesis as a figure: how far off they are, as estimated and as calibrated."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

Row = Mapping[str, Any]


def calibration_figure(report: Sequence[Mapping[str, Any]], quantity: str = "lut") -> go.Figure:
    """Return, for each kind of design in `report` (see `sweep.calibration.report`), its relative errors.

    Each design is at what the tool counted; its calibrated error is that of a fit without it, with
    its 90 % interval.
    """
    figure = go.Figure()
    for kind in report:
        found = next((q for q in kind["quantities"] if q["quantity"] == quantity), None)
        if found is None or not found["points"]:
            continue
        name = f"{kind['tool']} {kind['stage']}, {kind['part']}"
        rows = found["points"]
        figure.add_scatter(
            **_errors(rows, "estimated"),
            name=f"{name}: estimated",
            marker={"symbol": "circle-open", "size": 8},
        )
        known = [row for row in rows if row["predicted"] is not None]
        figure.add_scatter(
            **_errors(known, "predicted"),
            name=f"{name}: calibrated, 90 % interval",
            marker={"symbol": "diamond", "size": 8},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_percent(row["high"] - row["predicted"], row) for row in known],
                "arrayminus": [_percent(row["predicted"] - row["low"], row) for row in known],
                "thickness": 1,
            },
        )
    figure.add_hline(y=0, line={"color": "#555555", "width": 1})
    figure.update_layout(
        title=f"What estimates of {quantity} are worth",
        xaxis={"title": f"{quantity}, synthesized", "type": "log"},
        yaxis={"title": "too high by, %"},
        template="plotly_white",
        legend={"orientation": "h", "y": -0.28, "yanchor": "top"},
    )
    return figure


def _errors(rows: Sequence[Row], key: str) -> dict[str, Any]:
    return {
        "x": [row["synthesized"] for row in rows],
        "y": [_percent(row[key] - row["synthesized"], row) for row in rows],
        "text": [row["design"] for row in rows],
        "mode": "markers",
    }


def _percent(difference: float, row: Row) -> float:
    return 100 * float(difference) / float(row["synthesized"])
