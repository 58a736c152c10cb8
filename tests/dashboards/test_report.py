"""The report: whole, alone in its file, every name as text; its figures as files."""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dashboards.figure_file import write_figure
from dashboards.optuna_view.storage import StudyView
from dashboards.report.report import report_html, write_report
from dashboards.study_figures import hypervolume_figure
from sweep.errors import StudyError
from sweep.export.remembered import remember
from sweep.front import front_of
from sweep.references import Reference
from sweep.storage.database import open_storage
from sweep.study import create_or_resume, load
from sweep.study_file import parse_study
from tests.dashboards.conftest import FILE, NASTY, SIGNAL, Example, chromium
from tests.dashboards.test_optuna_view import certificate, synthesize


def outside_scripts(html: str) -> str:
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


@pytest.fixture(scope="module")
def reported(example: Example, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a copy of the example, in which a tool has counted a student's LUTs."""
    copied = tmp_path_factory.mktemp("reported") / "home"
    shutil.copytree(example.home, copied)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_HOME", str(copied))
        study = load(open_storage(f"sqlite:///{copied / 'sweep.db'}"), "looked-at")
        synthesize(study, example.points[0], lut=777)
        remember(study, example.points[1], copied / "export", certificate(study, example.points[1]))
        study = load(study.storage, "looked-at")  # finished trials are read once
        known = front_of(study)
        point = known.as_json()["points"][0]
        scores = {split: point[split] for split in ("validation", "test")}
        reference = Reference(NASTY, copied, "design", **scores, cost=point["cost"], folder=copied)
        html = report_html(known, [reference])
        study.storage.engine.dispose()
        return html


def test_it_says_what_a_meeting_asks(reported: str, example: Example) -> None:
    for title in ("Question", "Data", "Method", "Front", "Comparison with references", "Synthesis"):
        assert f"<h2>{title}</h2>" in reported
    text = outside_scripts(reported)
    assert "<td>777</td>" in text
    assert "yosys 0.70, synthesized" in text
    assert f"Trial {example.points[0]}: named" in text
    assert f"sweep export looked-at {example.points[0]} -o looked-at-{example.points[0]}" in text
    assert text.count("data:image/svg+xml") == 2
    assert "<h2>Exports</h2>" in text
    assert "adder graph (alkaid 1)" in text
    assert "RTL: no &lt;img src=x" in text
    assert "training.beta.final" in text
    assert "study: looked-at" in text


def test_names_are_text(reported: str) -> None:
    text = outside_scripts(reported)
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert SIGNAL not in text
    assert reported.count("hacked()</script>") == 0


def test_it_is_alone_in_its_file(reported: str) -> None:
    assert not re.search(r"<(script|img|link)[^>]+(src|href)=\"(?!data:)", reported)
    assert "default-src 'none'" in reported


@pytest.mark.parametrize("name", ["report.txt", "report", "missing/report.html"])
def test_what_cannot_be_written_is_an_error_of_one_line(view: StudyView, tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError) as caught:
        write_report(front_of(view.study("looked-at")), tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_study_without_students_has_no_report(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'sweep.db'}")
    study, _ = create_or_resume(storage, parse_study(copy.deepcopy(FILE), tmp_path / "x.yaml"))
    with pytest.raises(StudyError, match="no measured student yet"):
        write_report(front_of(study), tmp_path / "report.html")
    storage.engine.dispose()


def test_figures_as_images(view: StudyView, tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    chromium()
    figure = hypervolume_figure(view.study("looked-at"))
    write_figure(figure, tmp_path / "figure.pdf")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_a_browser_draws_it(reported: str, page: Any, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(reported)
    page.page.goto((tmp_path / "report.html").as_uri())
    page.page.wait_for_selector("#figure-importance .main-svg")
    assert page.page.locator(".js-plotly-plot").count() == 4
    assert page.page.locator("img").count() == 2
    assert all(page.page.eval_on_selector_all("img", "all => all.map((one) => one.naturalWidth > 0)"))
    page.problems[:] = [problem for problem in page.problems if "file://" not in problem]


def test_the_command_writes_it(
    sweep_home: Path,
    example: Example,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sweep.cli import main

    options = ["--storage", example.url, "-o", str(tmp_path / "report.html")]
    figures = ["--figures", str(tmp_path / "figures"), "--format", "html"]
    monkeypatch.setattr("sys.argv", ["sweep", "report", "looked-at", *options, *figures])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in written] == [
        "report.html",
        *(f"looked-at-{name}.html" for name in ("front", "hypervolume", "estimates", "importance")),
    ]
    assert all(path.stat().st_size > 10_000 for path in written)
