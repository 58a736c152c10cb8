"""The benchmark's report from searches made by hand, and how finished searches are kept."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.figure_file import write_figure
from tests.benchmarks.search.__main__ import main
from tests.benchmarks.search.figure import search_figure
from tests.benchmarks.search.kept import (
    METHODS,
    VARIATIONS,
    Job,
    Search,
    Spent,
    jobs,
    read_search,
    read_spent,
    write_done,
    write_search,
)
from tests.benchmarks.search.measured import Measured
from tests.benchmarks.search.report import median_outcome, read_outcomes, report
from tests.benchmarks.search.running import ROOT
from tests.benchmarks.search.tables import tables

BUDGET = 600.0
Keep = Callable[..., Job]


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Makes the folder of a finished search with students of (core-seconds, AUC, LUT)."""

    def make(method: str, seed: int, *students: tuple[float, float, float], **more: Any) -> Job:
        job = Job(method, seed, tmp_path / f"{method}-{seed}")
        job.folder.mkdir()
        measured = [Measured(at, auc + 0.01, auc, lut, 25.0) for at, auc, lut in students]
        write_search(job, Search([one.core_seconds for one in measured], measured, **more))
        return job

    return make


@pytest.fixture
def results(tmp_path: Path, keep: Keep) -> Path:
    """A ramp that took 500 core-seconds to where this project is after 50, from two seeds each."""
    for seed in (1, 2):
        keep("hgq_ramp", seed, (400, 0.85, 2000), (500, 0.9, 2000 + seed))
        early, late = (50.0 * seed, 0.9, 1000.0), (300.0, 0.95, 2000.0)
        keep("this_project", seed, early, late, (700.0, 0.99, 10.0), budget=BUDGET, spent=Spent(710, 360))
    return tmp_path


def report_of(results: Path, core_seconds: float = BUDGET, seeds: int = 3) -> dict[str, Any]:
    outcomes = read_outcomes(jobs(results, list(METHODS), seeds), core_seconds)
    content: dict[str, Any] = json.loads(json.dumps(report(outcomes, core_seconds), allow_nan=False))
    return content


def test_what_each_search_was_worth(results: Path) -> None:
    found = report_of(results)
    assert [(s["method"], s["seed"]) for s in found["searches"]] == [
        ("hgq_ramp", 1),
        ("hgq_ramp", 2),
        ("this_project", 1),
        ("this_project", 2),
    ]
    ramp, _, ours, _ = found["searches"]
    assert list(ramp["hypervolume_at"]) == ["30", "60", "120", "240", "600"], "not beyond the budget"
    assert ramp["hypervolume_at"]["240"] == 0
    assert ramp["hypervolume"] == ramp["hypervolume_at"]["600"] == ramp["hypervolume_at_budget"]
    assert (ramp["core_seconds"], ramp["points"]) == (500, 2)
    assert ramp["front"] == [[2000, 0.86, 0.85], [2001, 0.91, 0.9]]
    assert "process" not in ramp
    assert ours["hypervolume_at"]["60"] == pytest.approx(0.1 * 1.30103)
    assert ours["process"] == {"core_seconds": 710, "wall_seconds": 360}


def test_what_was_found_after_the_budget_does_not_count(results: Path) -> None:
    ours = report_of(results)["searches"][2]
    assert (ours["core_seconds"], ours["points"], ours["students"]) == (300, 2, 2)
    assert ours["hypervolume"] == ours["hypervolume_at_budget"] == pytest.approx(0.1 * 1.30103 + 0.05)


def test_a_search_of_fixed_length_runs_to_its_end(results: Path, keep: Keep) -> None:
    keep("recipe_of_2025", 1, (100, 0.85, 2000), (900, 0.9, 2000))
    found = report_of(results)["searches"][0]
    assert found["method"] == "recipe_of_2025"
    assert found["hypervolume_at_budget"] == found["hypervolume_at"]["600"] == pytest.approx(0.05)
    assert (found["hypervolume"], found["core_seconds"]) == (pytest.approx(0.1), 900)


def test_summary(results: Path) -> None:
    summary = report_of(results)["summary"]
    assert list(summary["methods"]) == ["hgq_ramp", "this_project"], "what was not run is not there"
    ours = summary["methods"]["this_project"]
    assert ours["seeds"] == [1, 2]
    assert ours["validation_minus_test"] == pytest.approx(0.01)
    assert ours["hypervolume_range"][0] == ours["hypervolume_range"][1] == ours["hypervolume"]
    assert list(summary["against"]) == ["hgq_ramp"]
    against = summary["against"]["hgq_ramp"]
    assert against["core_seconds"] == 500
    assert against["core_seconds_of_this_project_by_seed"] == {"1": 50, "2": 100}
    assert against["core_seconds_of_this_project"] == 75
    assert against["times_faster"] == pytest.approx(500 / 75)
    assert against["ahead_at_budget"]["every_seed_against_every_seed"] is True
    assert against["ahead_at_budget"]["seed_by_seed"] == {"1": True, "2": True}
    # Ours begins at an AUC of 0.9, where the ramp ends: there is nothing to compare.
    assert against["lut_at_equal_auc"] == []


def test_luts_at_equal_auc(keep: Keep, tmp_path: Path) -> None:
    keep("hgq_ramp", 1, (1, 0.84, 1000), (2, 0.88, 4000))
    keep("this_project", 1, (1, 0.80, 300), (2, 0.86, 500), (3, 0.92, 1000), budget=BUDGET)
    levels = report_of(tmp_path)["summary"]["against"]["hgq_ramp"]["lut_at_equal_auc"]
    assert [level["test_auc"] for level in levels] == pytest.approx([0.85, 0.86, 0.87])
    assert [level["lut"] for level in levels] == [4000, 4000, 4000]
    assert [level["lut_of_this_project"] for level in levels] == [500, 500, 1000]
    assert [level["times_smaller"] for level in levels] == [8, 8, 4]


def test_a_target_that_is_never_reached(keep: Keep, tmp_path: Path) -> None:
    keep("plain_optuna", 1, (1, 0.95, 1000), budget=BUDGET)
    keep("this_project", 1, (1, 0.90, 1000), budget=BUDGET)
    against = report_of(tmp_path)["summary"]["against"]["plain_optuna"]
    assert against["core_seconds_of_this_project"] is None
    assert against["times_faster"] is None
    assert against["ahead_at_budget"]["seed_by_seed"] == {"1": False}
    assert against["ahead_at_budget"]["every_seed_against_every_seed"] is False


def test_ahead_seed_by_seed_is_not_ahead_in_every_seed(keep: Keep, tmp_path: Path) -> None:
    for seed, auc in ((1, 0.85), (2, 0.95)):
        keep("random_search", seed, (1, auc, 1000), budget=BUDGET)
        keep("this_project", seed, (1, auc + 0.01, 1000), budget=BUDGET)
    ahead = report_of(tmp_path)["summary"]["against"]["random_search"]["ahead_at_budget"]
    assert ahead["seed_by_seed"] == {"1": True, "2": True}
    assert ahead["every_seed_against_every_seed"] is False


def test_without_this_project_there_is_nothing_to_compare(keep: Keep, tmp_path: Path) -> None:
    keep("hgq_ramp", 2, (1, 0.85, 1000))
    summary = report_of(tmp_path)["summary"]
    assert "against" not in summary
    assert "hypervolume_range" not in summary["methods"]["hgq_ramp"], "one seed has no range"


def test_a_search_that_found_nothing_is_worth_nothing(keep: Keep, tmp_path: Path) -> None:
    keep("this_project", 1, budget=BUDGET)
    keep("random_search", 1, (1, 0.9, 1000), budget=BUDGET)
    found = report_of(tmp_path)
    assert (found["searches"][1]["hypervolume"], found["searches"][1]["core_seconds"]) == (0, BUDGET)
    assert "validation_minus_test" not in found["summary"]["methods"]["this_project"]
    assert found["summary"]["against"]["random_search"]["times_faster"] is None


def test_the_median_seed(keep: Keep, tmp_path: Path) -> None:
    for seed, auc in ((1, 0.95), (2, 0.85), (3, 0.9)):
        keep("hgq_ramp", seed, (1, auc, 1000))
    of = read_outcomes(jobs(tmp_path, ["hgq_ramp"], 3), BUDGET)["hgq_ramp"]
    assert median_outcome(of).seed == 3
    assert median_outcome({1: of[1], 3: of[3]}).seed == 3, "the lower of two"


def test_searches_that_had_less_time_are_not_mixed_in(keep: Keep, results: Path) -> None:
    assert "this_project" not in report_of(results, core_seconds=3600)["summary"]["methods"]
    keep("plain_optuna", 1, (1, 0.9, 1000), budget=BUDGET)
    assert "plain_optuna" in report_of(results)["summary"]["methods"]
    assert "plain_optuna" not in report_of(results, core_seconds=3600)["summary"]["methods"]


def test_what_longer_searches_found_later_is_left_out(keep: Keep, tmp_path: Path) -> None:
    keep("this_project", 1, (1, 0.9, 1000), (500, 0.95, 1000), budget=BUDGET)
    keep("hgq_ramp", 1, (1, 0.9, 1000), (500, 0.95, 1000))
    ours, ramp = report_of(tmp_path, core_seconds=100)["searches"][::-1]
    assert (ours["method"], ours["points"]) == ("this_project", 1)
    assert ramp["points"] == 2, "of a search that ends by itself all counts"


def test_a_search_is_kept_whole(keep: Keep) -> None:
    sampler = {"name": "tpe", "startup_trials": 8}
    job = keep("this_project", 1, (1, 0.9, 1000), budget=BUDGET, spent=Spent(2.5, 1.5), sampler=sampler)
    measured = [Measured(1, 0.91, 0.9, 1000, 25.0)]
    assert read_search(job) == Search([1], measured, BUDGET, Spent(2.5, 1.5), sampler)
    assert [path.name for path in job.folder.iterdir()] == ["measured.json"]


def test_an_anchor_that_has_searched_is_not_complete_before_it_is_measured(tmp_path: Path) -> None:
    ramp, optuna = Job("hgq_ramp", 1, tmp_path), Job("plain_optuna", 1, tmp_path)
    assert not ramp.has_searched(BUDGET)
    write_done(ramp, Spent(2.5, 1.5), BUDGET)
    assert read_spent(ramp) == Spent(2.5, 1.5)
    assert optuna.has_searched(BUDGET)
    assert not optuna.has_searched(BUDGET + 1)
    assert ramp.has_searched(BUDGET + 1), "it takes as long as it takes"
    assert not ramp.is_complete(BUDGET)


def test_tables_and_figure_show_every_method(results: Path, tmp_path: Path) -> None:
    outcomes = read_outcomes(jobs(results, list(METHODS), 3), BUDGET)
    assert [table.row_count for table in tables(report(outcomes, BUDGET))] == [4, 2, 1]
    figure = search_figure(outcomes, BUDGET)
    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert shown == ["HGQ ramp", "this project"]
    ends = {trace.x[-1] for trace in figure.data if trace.line.width == 2.5}
    assert ends == {BUDGET}, "what a search has found stays found"
    write_figure(figure, tmp_path / "figure.html")
    assert (tmp_path / "figure.html").stat().st_size > 0


def test_the_command_reads_what_is_kept_and_runs_nothing(results: Path) -> None:
    program = [sys.executable, "-m", "tests.benchmarks.search", "--json", "--results", str(results)]
    done = subprocess.run(
        [*program, "--core-seconds", "600", "--seeds", "2", "--methods", "hgq_ramp", "this_project"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},  # every import is a line of stderr
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == report_of(results)
    assert "tensorflow" not in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ("--seeds", "0"),
        ("--core-seconds", "inf"),
        ("--at-once", "some"),
        ("--methods", "luck"),
        ("--plot", "f.gif"),
    ],
)
def test_wrong_options_are_refused(
    wrong: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["search", *wrong])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert wrong[0] in capsys.readouterr().err.splitlines()[-1]


def test_variations_are_reported_and_drawn_like_methods(keep: Keep, tmp_path: Path) -> None:
    keep("this_project", 1, (1, 0.9, 1000), budget=BUDGET)
    for name in VARIATIONS:
        keep(name, 1, (1, 0.85, 1000), budget=BUDGET)
    outcomes = read_outcomes(jobs(tmp_path, ["this_project", *VARIATIONS], 1), BUDGET)
    assert list(report(outcomes, BUDGET)["summary"]["against"]) == list(VARIATIONS)
    lines = [trace for trace in search_figure(outcomes, BUDGET).data if trace.showlegend is not False]
    assert [trace.name for trace in lines] == ["this project", *(n.replace("_", " ") for n in VARIATIONS)]
    assert len({(trace.line.color, trace.line.dash) for trace in lines}) == 1 + len(VARIATIONS)
