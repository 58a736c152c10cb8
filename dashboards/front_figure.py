"""A study's front as a figure: every measured student, the front, and its test scores with intervals."""

import contextlib
import os
from pathlib import Path

import plotly.graph_objects as go

from sweep.errors import StudyError
from sweep.front import Front

#: Kinds of image that Plotly writes with kaleido's help.
IMAGES = (".svg", ".png", ".pdf")


def front_figure(front: Front) -> go.Figure:
    """Return the first score objective against the first cost objective, costs on a log axis."""
    file = front.study.file
    score = next(n for n, d in zip(file.objectives, file.directions, strict=True) if d == "maximize")
    cost = next(n for n, d in zip(file.objectives, file.directions, strict=True) if d == "minimize")
    x, y = file.objectives.index(cost), file.objectives.index(score)
    everything = list(front.study.points())
    figure = go.Figure()
    figure.add_scatter(
        x=[t.values[x] for t in everything],
        y=[t.values[y] for t in everything],
        mode="markers",
        name="measured students (validation)",
        marker={"color": "#9aa5b1", "size": 5},
        text=[f"trial {t.number}, epoch {t.user_attrs['epoch']}" for t in everything],
    )
    figure.add_scatter(
        x=[t.values[x] for t in front.points],
        y=[t.values[y] for t in front.points],
        mode="lines+markers",
        name="front (validation)",
        line={"shape": "hv", "color": "#0b6fa4"},
        marker={"symbol": "circle", "size": 9},
        text=[f"trial {t.number}" for t in front.points],
    )
    if score in ("mean_auc", "worst_auc"):
        figure.add_scatter(**_test_scores(front, x, score))
    figure.update_layout(
        title=f"Front of {front.study.name}: {len(front.points)} of {len(everything)} measured students",
        xaxis={"title": f"{cost} (estimated)", "type": "log"},
        yaxis={"title": score},
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
    )
    return figure


def _test_scores(front: Front, x: int, score: str) -> dict[str, object]:
    test = [t.user_attrs["test"] for t in front.points]
    return {
        "x": [t.values[x] for t in front.points],
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


def write_figure(front: Front, path: Path) -> None:
    """Write the figure: one HTML file that needs no internet, or an image (.svg, .png, .pdf).

    Raises StudyError if it cannot be written; images need the package kaleido and a Chrome browser.
    """
    if path.suffix not in (".html", *IMAGES):
        raise StudyError(f"{path}: not a figure's name; it ends in one of .html, {', '.join(IMAGES)}")
    temporary = path.with_name(f".tmp-{path.name}")
    figure = front_figure(front)
    try:
        if path.suffix == ".html":
            figure.write_html(temporary, include_plotlyjs=True)
        else:
            figure.write_image(temporary, width=900, height=520)
        os.replace(temporary, path)
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be written ({error.strerror}); give a path in a folder of yours"
        ) from error
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(",. ")
        raise StudyError(
            f"{path}: no image could be made ({reason}); install kaleido and Chrome, or write .html"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
