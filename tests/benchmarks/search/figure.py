"""The benchmark as a figure: what each method was worth over time, and the fronts that it ended with."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tests.benchmarks.search.curves import REFERENCE_AUC, Band, band, front_on_test
from tests.benchmarks.search.report import Outcome, Outcomes, median_outcome


class Look(NamedTuple):
    """How a method is drawn."""

    label: str
    color: str
    dash: str
    symbol: str


#: Colours of Okabe and Ito, which colour-blind people can tell apart; dashes and symbols differ, too.
LOOKS = {
    "recipe_of_2025": Look("recipe of 2025", "#CC79A7", "dot", "square"),
    "hgq_ramp": Look("HGQ ramp", "#D55E00", "dash", "diamond"),
    "plain_optuna": Look("plain Optuna", "#E69F00", "dashdot", "triangle-up"),
    "random_search": Look("this project, random", "#009E73", "longdash", "cross"),
    "this_project": Look("this project", "#0072B2", "solid", "circle"),
}
#: What variations of this project look like.
OTHER_LOOKS = [
    Look("", color, dash, "x")
    for dash in ("solid", "dot", "dash")
    for color in ("#56B4E9", "#7F7F7F", "#000000")
]

SECONDS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
LUTS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


def search_figure(outcomes: Outcomes, core_seconds: float) -> go.Figure:
    """Return hypervolume against core-seconds, and the test fronts that searches ended with."""
    titles = ("median and range of seeds", "test front of the median seed")
    figure = make_subplots(cols=2, horizontal_spacing=0.12, subplot_titles=titles)
    others = itertools.cycle(OTHER_LOOKS)
    for method, of in outcomes.items():
        look = LOOKS.get(method) or next(others)._replace(label=method.replace("_", " "))
        bands = band([outcome.steps for outcome in of.values()])
        if not bands:
            continue
        begin, end = bands[0].core_seconds, max(core_seconds, bands[-1].core_seconds)
        # From nothing, and to the end of the budget: what a search has found stays found.
        bands = [Band(begin, 0, 0, 0), *bands, bands[-1]._replace(core_seconds=end)]
        times = [each.core_seconds for each in bands]
        if len(of) > 1:
            outline = [each.highest for each in bands], [each.lowest for each in bands]
            figure.add_scatter(**_range(times, *outline, look), row=1, col=1)
        figure.add_scatter(
            x=times,
            y=[each.median for each in bands],
            mode="lines",
            line={"shape": "hv", "color": look.color, "dash": look.dash, "width": 2.5},
            name=look.label,
            showlegend=False,
            row=1,
            col=1,
        )
        figure.add_scatter(**_front(median_outcome(of), look), row=1, col=2)
    figure.update_xaxes(**_log_axis("core-seconds", SECONDS), row=1, col=1)
    figure.update_yaxes(title="hypervolume, AUC × decades", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(**_log_axis("LUT of the adder graph", LUTS), row=1, col=2)
    figure.update_yaxes(title="test mean AUC", row=1, col=2)
    figure.update_layout(
        title="Searches at equal core-seconds",
        template="plotly_white",
        font={"size": 14},
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.2},
        margin={"l": 70, "r": 20, "t": 80},
    )
    return figure


def _log_axis(title: str, ticks: Sequence[int]) -> dict[str, Any]:
    labels = [f"{tick // 1000}k" if tick >= 1000 else f"{tick}" for tick in ticks]
    return {"type": "log", "title": title, "tickvals": ticks, "ticktext": labels}


def _range(times: list[float], highest: list[float], lowest: list[float], look: Look) -> dict[str, Any]:
    """Return the area between lowest and highest seed, as one closed outline in steps."""
    x, high = _stairs(times, highest)
    _, low = _stairs(times, lowest)
    return {
        "x": x + x[::-1],
        "y": high + low[::-1],
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": look.color,
        "opacity": 0.18,
        "hoverinfo": "skip",
        "showlegend": False,
        "name": f"{look.label}, seeds",
    }


def _stairs(times: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """Return the corners of a line that keeps each value until the next one's time."""
    x, y = times[:1], values[:1]
    for time, before, value in zip(times[1:], values[:-1], values[1:], strict=True):
        x += [time, time]
        y += [before, value]
    return x, y


def _front(outcome: Outcome, look: Look) -> dict[str, Any]:
    """Return the test front of one search above the reference."""
    front = [student for student in front_on_test(outcome.front) if student.test > REFERENCE_AUC]
    return {
        "x": [student.lut for student in front],
        "y": [student.test for student in front],
        "mode": "lines+markers",
        "line": {"shape": "hv", "color": look.color, "dash": look.dash, "width": 2},
        "marker": {"symbol": look.symbol, "size": 8},
        "name": look.label,
    }
