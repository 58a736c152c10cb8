"""A comparison as a figure: test scores of every front against cost, references beside them."""

from typing import Any

import plotly.graph_objects as go

#: Told apart by colour-blind eyes, too (Okabe and Ito); one a contender.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def comparison_figure(report: dict[str, Any]) -> go.Figure:
    """Return the fronts of what `sweep compare --json` says, costs on a log axis; repeats share a colour."""
    figure = go.Figure()
    score, cost = report["score"], report["cost"]
    for number, contender in enumerate(report["contenders"]):
        colour = COLOURS[number % len(COLOURS)]
        for repeat, (study, front) in enumerate(zip(contender["studies"], contender["fronts"], strict=True)):
            figure.add_scatter(
                x=[point["cost"] for point in front],
                y=[point["score"] for point in front],
                error_y=_bars([(point["score"], point["interval"]) for point in front]),
                mode="lines+markers",
                name=contender["name"],
                legendgroup=contender["name"],
                showlegend=repeat == 0,
                line={"color": colour, "width": 1.5},
                marker={"color": colour, "size": 7},
                text=[f"{study}, trial {point['trial']}, {point['latency_ns']:g} ns" for point in front],
            )
    for reference in report["references"]:
        [point] = reference["front"]
        figure.add_scatter(
            x=[point["cost"]],
            y=[point["score"]],
            error_y=_bars([(point["score"], point["interval"])]),
            mode="markers+text",
            name=f"{reference['name']} (reference)",
            text=[reference["name"]],
            textposition="bottom center",
            marker={"symbol": "star", "size": 13, "color": "#6b3fa0"},
        )
    figure.update_layout(
        title=f"{', '.join(c['name'] for c in report['contenders'])}: fronts on test events",
        xaxis={"title": f"{cost} (estimated)", "type": "log"},
        yaxis={"title": f"test {score}, 68 % intervals"},
        template="plotly_white",
        legend={"orientation": "h", "y": -0.28, "yanchor": "top"},
    )
    return figure


def _bars(points: list[tuple[float, list[float] | None]]) -> dict[str, Any]:
    ends = [(value, interval or [value, value]) for value, interval in points]
    return {
        "type": "data",
        "symmetric": False,
        "thickness": 1,
        "array": [high - value for value, (_, high) in ends],
        "arrayminus": [value - low for value, (low, _) in ends],
    }
