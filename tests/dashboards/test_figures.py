"""Figures show the figures of their reports, and are written whole or not at all."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboards.calibration_figure import calibration_figure
from dashboards.figure_file import write_figure
from sweep.errors import StudyError


def report(*, predicted: float | None) -> list[dict[str, Any]]:
    interval = {"low": None, "high": None} if predicted is None else {"low": 1900.0, "high": 2200.0}
    point = {"design": "0123", "source": "yosys 0.70", "estimated": 2200.0, "synthesized": 2000}
    points = [{**point, "predicted": predicted, **interval}]
    quantities = [{"quantity": "lut", "points": points}, {"quantity": "ff", "points": []}]
    return [{"tool": "yosys", "stage": "synthesized", "part": "xc7", "quantities": quantities}]


def test_errors_are_relative_to_what_the_tool_said() -> None:
    estimated, calibrated = calibration_figure(report(predicted=2100.0)).data
    assert (list(estimated.x), list(estimated.y)) == ([2000], [pytest.approx(10.0)])
    assert list(calibrated.y) == [pytest.approx(5.0)]
    assert list(calibrated.error_y.array) == [pytest.approx(5.0)]
    assert list(calibrated.error_y.arrayminus) == [pytest.approx(10.0)]


def test_what_is_not_calibrated_is_not_drawn_so() -> None:
    estimated, calibrated = calibration_figure(report(predicted=None)).data
    assert len(estimated.x) == 1
    assert not calibrated.x


def test_a_figure_without_designs_is_empty() -> None:
    assert not calibration_figure([]).data
    assert not calibration_figure(report(predicted=None), "ff").data


def test_html_needs_no_internet(tmp_path: Path) -> None:
    write_figure(calibration_figure(report(predicted=2100.0)), tmp_path / "figure.html")
    text = (tmp_path / "figure.html").read_text()
    assert "<script src=" not in text
    assert "yosys synthesized, xc7" in text
    assert [path.name for path in tmp_path.iterdir()] == ["figure.html"]


@pytest.mark.parametrize("name", ["figure.gif", "figure", "missing/figure.html"])
def test_what_cannot_be_written_is_an_error_of_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError) as caught:
        write_figure(go.Figure(), tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert not list(tmp_path.iterdir())
