"""Writing figures: whole or not at all."""

import contextlib
import os
from pathlib import Path

import plotly.graph_objects as go

from sweep.errors import StudyError

#: Kinds of image that Plotly writes with kaleido's help.
IMAGES = (".svg", ".png", ".pdf")


def write_figure(figure: go.Figure, path: Path) -> None:
    """Write a figure: one HTML file that needs no internet, or an image (.svg, .png, .pdf).

    Raises StudyError if it cannot be written; images need the package kaleido and a Chrome browser.
    """
    if path.suffix not in (".html", *IMAGES):
        raise StudyError(f"{path}: not a figure's name; it ends in one of .html, {', '.join(IMAGES)}")
    temporary = path.with_name(f".tmp-{path.name}")
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
