"""Comparisons: known answers of made-up fronts, real students against themselves, and what is refused."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from optuna.storages import RDBStorage
from optuna.trial import create_trial

from dashboards.comparison_figure import comparison_figure
from objectives.data.dataset import Part
from sweep import home
from sweep.comparison.compare import Comparison
from sweep.comparison.comparing import compare_studies, parse_groups
from sweep.comparison.contender import Axes, Contender, Member, Student
from sweep.comparison.markdown import markdown
from sweep.errors import StudyError
from sweep.study import Study, create_or_resume
from sweep.study_file import parse_study

AXES = Axes("mean_auc", "lut", 3.0, (0.5, 20_000.0))
EVENTS = Part(np.zeros((4, 18, 14), np.uint16), {"tt": np.zeros((2, 18, 14), np.uint16)})

# ---- made-up fronts -----------------------------------------------------------------------------


@pytest.fixture
def member(study: Study) -> Callable[..., Member]:
    """Makes a front of (cost, test score) points; validation scores are those of tests unless given."""

    def make(
        name: str,
        *points: tuple[float, float],
        replicates: Sequence[float] = (),
        validation: Sequence[float] | None = None,
        latency_ns: Sequence[float] | None = None,
    ) -> Member:
        costs, scores = (np.array(x) for x in zip(*points, strict=True))
        latencies = latency_ns or [50.0] * len(points)
        validated = scores if validation is None else np.array(validation)
        students = tuple(
            Student(
                Path(name) / str(n),
                {"mean_auc": float(v)},
                {
                    "mean_auc": float(score),
                    "auc": {"tt": float(score)},
                    "mean_efficiency": 0.1,
                    "passing": 50,
                    "intervals": {"mean_auc": [float(score) - 0.01, float(score) + 0.01]},
                },
                {"lut": float(cost), "ff": 10, "latency_ns": latency},
            )
            for n, (cost, score, v, latency) in enumerate(
                zip(costs, scores, validated, latencies, strict=True)
            )
        )
        rows = np.stack([scores, *(scores + shift for shift in replicates)])
        return Member(name, study, students, costs, validated, rows, None)

    return make


def compared(*contenders: Contender | Member, references: Sequence[Member] = ()) -> Comparison:
    made = [c if isinstance(c, Contender) else Contender(c.name, (c,)) for c in contenders]
    return Comparison(AXES, tuple(made), tuple(references), EVENTS, 2)


def row(report: dict[str, Any], table: str, level: float) -> dict[str, Any]:
    [found] = [r for r in report[table] if r["of"] is None and r["level"] == pytest.approx(level)]
    return dict(found["contenders"])


def test_costs_at_equal_score_and_scores_at_equal_cost(member: Callable[..., Member]) -> None:
    one = member("one", (100, 0.6), (10_000, 0.8))
    other = member("other", (50, 0.6), (5_000, 0.8))
    report = compared(one, other).as_json([0.7], [1000.0])
    at = row(report, "equal_performance", 0.7)
    assert at["one"]["value"] == pytest.approx(1000)
    assert at["other"]["value"] == pytest.approx(500)
    assert at["other"]["ratio"]["value"] == pytest.approx(0.5)
    assert "ratio" not in at["one"], "it is what the others are held against"
    under = row(report, "equal_resources", 1000.0)
    assert under["one"]["value"] == pytest.approx(0.7)
    higher = 0.6 + 0.2 * np.log(20) / np.log(100)
    assert under["other"]["difference"]["value"] == pytest.approx(higher - 0.7)


def test_a_reference_is_what_others_are_held_against(member: Callable[..., Member]) -> None:
    search = member("search", (100, 0.6), (10_000, 0.8))
    today = member("today", (20_000, 0.7))
    report = compared(search, references=[today]).as_json([0.65], [500.0])
    [at, _] = report["equal_performance"]
    assert (at["of"], at["level"], at["cost"], at["baseline"]) == ("today", 0.7, 20_000, "today")
    assert at["contenders"]["search"]["ratio"]["value"] == pytest.approx(1000 / 20_000)
    [under, _] = report["equal_resources"]
    assert (under["level"], under["score"]) == (20_000, 0.7)
    held = under["contenders"]["search"]
    assert (held["value"], held["bound"]) == (0.8, "at least"), "the front ends before"
    assert held["difference"]["value"] == pytest.approx(0.1)
    assert held["difference"]["bound"] == "at least"
    assert [reference["name"] for reference in report["references"]] == ["today"]
    assert "today" not in [contender["name"] for contender in report["contenders"]]
    assert any("trained elsewhere" in note for note in report["notes"])


def test_the_level_of_a_reference_moves_with_the_events(member: Callable[..., Member]) -> None:
    """When events that help one help the other as much, the cost at equal score does not move."""
    shifts = [-0.02, -0.01, 0.0, 0.01, 0.02]
    search = member("search", (100, 0.6), (10_000, 0.8), replicates=shifts)
    today = member("today", (20_000, 0.7), replicates=shifts)
    report = compared(search, references=[today]).as_json([0.7], [1000.0])
    paired = report["equal_performance"][0]["contenders"]["search"]
    assert paired["interval"] == pytest.approx([1000, 1000])
    assert paired["ratio"]["interval"] == pytest.approx([0.05, 0.05])
    low, high = report["equal_performance"][1]["contenders"]["search"]["interval"]
    assert low < 800 < 1250 < high, "at a fixed score it does"


def test_nothing_is_extrapolated(member: Callable[..., Member]) -> None:
    low = member("low", (100, 0.6), (200, 0.7))
    high = member("high", (1000, 0.8), (2000, 0.9))
    report = compared(low, high).as_json([0.65, 0.85], [150.0, 1500.0])
    assert row(report, "equal_performance", 0.85)["low"]["value"] is None
    assert row(report, "equal_performance", 0.65)["high"] | {"ratio": None} == {
        "value": 1000.0,
        "bound": "at most",
        "interval": None,
        "range": None,
        "reached": [1, 1],
        "ratio": None,
    }
    assert row(report, "equal_resources", 150.0)["high"]["value"] is None
    assert row(report, "equal_resources", 1500.0)["low"]["bound"] == "at least"
    assert row(report, "equal_resources", 1500.0)["high"]["difference"] is None, "against a bound"
    assert any("do not overlap in test mean_auc" in note for note in report["notes"])
    text = markdown(report)
    assert "not reached" in text
    assert "≤ 1,000" in text
    empty = compared(low, high).as_json()
    assert [r["of"] for r in empty["equal_performance"]] == ["best of low", "best of high"]


def test_repeats_have_a_median_and_a_range(member: Callable[..., Member]) -> None:
    seeds = [member(f"s{n}", (100 * n, 0.6), (10_000 * n, 0.8)) for n in (1, 2, 4)]
    report = compared(Contender("seeds", tuple(seeds)), member("one", (100, 0.6), (10_000, 0.8))).as_json(
        [0.7], [1000.0]
    )
    found = row(report, "equal_performance", 0.7)["seeds"]
    assert found["value"] == pytest.approx(2000)
    assert found["range"] == pytest.approx([1000, 4000])
    assert found["reached"] == [3, 3]
    assert report["contenders"][0]["cost_of_best"]["value"] == 20_000
    short = [*seeds[:2], member("short", (100, 0.6), (200, 0.65))]
    some = row(compared(Contender("seeds", tuple(short))).as_json([0.7], [1e3]), "equal_performance", 0.7)[
        "seeds"
    ]
    assert (some["value"], some["reached"]) == (None, [2, 3])
    assert "reached by 2 of 3" in markdown(compared(Contender("seeds", tuple(short))).as_json([0.7], [1e3]))


def test_the_volume_is_of_test_scores(member: Callable[..., Member]) -> None:
    one = member("one", (5_000, 0.6), (10_000, 0.7), validation=[0.8, 0.9])
    volume = compared(one).as_json()["contenders"][0]["hypervolume"]["value"]
    assert volume == pytest.approx(0.1 * 15_000 + 0.1 * 10_000)


def test_latency_limits(member: Callable[..., Member]) -> None:
    one = member("one", (100, 0.6), (200, 0.7), (300, 0.8), latency_ns=[150, 200, 300])
    [about] = compared(one).as_json()["contenders"]
    assert about["latency_ns"]["200"] == {
        "points": [2],
        "best": {"value": 0.7, "bound": None, "interval": None, "range": None, "reached": [1, 1]},
    }
    assert about["latency_ns"]["500"]["best"]["value"] == 0.8
    [late] = compared(member("late", (100, 0.6), latency_ns=[600])).as_json()["contenders"]
    assert late["latency_ns"]["500"] == {
        "points": [0],
        "best": {"value": None, "bound": None, "interval": None, "range": None, "reached": [0, 1]},
    }


def test_students_are_chosen_on_validation(member: Callable[..., Member]) -> None:
    search = member("search", (100, 0.7), (200, 0.6), (300, 0.9), validation=[0.6, 0.7, 0.8])
    today = member("today", (20_000, 0.65), validation=[0.65])
    rows = compared(search, references=[today]).as_json()["students"]
    assert [(r["cost"]["lut"], r["best"]) for r in rows] == [(200, False), (300, True)]
    assert rows[0]["replaces"] == [{"name": "today", "ratio": 0.01, "synthesized": []}]
    assert rows[1]["replaces"] == []
    assert rows[0]["within_ns"] == {"200": True, "500": True}


def test_synthesized_figures_are_held_against_those_of_the_same_tool(member: Callable[..., Member]) -> None:
    def synthesized(of: Member, lut: int, tool: str = "yosys") -> Member:
        result = {
            "tool": tool,
            "version": "0.70",
            "stage": "synthesized",
            "part": "p",
            "lut": lut,
            "ff": 1,
            "dsp": 0,
        }
        students = tuple(replace(s, synthesis=({**result, "wns_ns": None},)) for s in of.students)
        return replace(of, students=students)

    small, large = member("small", (100, 0.8)), member("large", (1000, 0.8))
    for tool, expected in (
        ("yosys", [{"tool": "yosys", "stage": "synthesized", "ratio": 0.11}]),
        ("vivado", []),
    ):
        report = compared(synthesized(large, 1000), synthesized(small, 110, tool)).as_json()
        [_, found] = report["students"]
        assert found["replaces"] == [{"name": "best of large", "ratio": 0.1, "synthesized": expected}]
    assert "1/10 of its LUT" in markdown(report)


def test_the_figure_has_every_front_and_reference(member: Callable[..., Member]) -> None:
    seeds = [member(f"s{n}", (100 * n, 0.6), (10_000 * n, 0.8)) for n in (1, 2)]
    today = member("today", (20_000, 0.7), replicates=[0.1, -0.1])
    report = compared(Contender("seeds", tuple(seeds)), references=[today]).as_json()
    figure = comparison_figure(report)
    assert isinstance(figure, go.Figure)
    assert [list(trace.x) for trace in figure.data] == [[100, 10_000], [200, 20_000], [20_000]]
    assert [trace.showlegend for trace in figure.data] == [True, False, None]
    assert list(figure.data[2].error_y.array) == pytest.approx([0.1])


def test_json_holds_no_infinity(member: Callable[..., Member]) -> None:
    shifts = [-0.3, 0.3, 0.0, 0.0]
    one, other = member("one", (100, 0.6), (200, 0.7), replicates=shifts), member("other", (90, 0.65))
    report = compared(one, other).as_json()
    assert json.loads(json.dumps(report, allow_nan=False)) == report


# ---- real students ------------------------------------------------------------------------------


@pytest.fixture
def make(storage: RDBStorage, sweep_home: Path, students: Any) -> Callable[..., Study]:
    """Makes a study of some of the real students: `which` of them."""

    def study_of(
        name: str, which: Sequence[int] = (0, 1, 2, 3), seconds: float = 30.0, **sections: Any
    ) -> Study:
        content = students.file.model_dump(mode="json") | {"study": name} | sections
        made, _ = create_or_resume(storage, parse_study(content, students.folder / "small.yaml"))
        run = made.optuna.ask()
        for key, value in {"role": "run", "core_seconds": seconds}.items():
            run.set_user_attr(key, value)
        made.optuna.tell(run, values=[0.5, 1.0])
        for about in (students.recorded[n] for n in which):
            values = [about["validation"]["mean_auc"], about["cost"]["lut"]]
            made.optuna.add_trial(
                create_trial(values=values, user_attrs={"role": "point", "parent": 0, **about})
            )
            target = home.students_folder(name) / about["student"]
            shutil.copytree(students.folder / about["student"], target)
        return made

    return study_of


def test_a_study_against_itself(make: Callable[..., Study]) -> None:
    """Paired, there is no doubt that it is the same."""
    report = compare_studies({"a": [make("a")], "b": [make("b")]}, {}, resamplings=60).as_json()
    assert len(report["equal_performance"]) > 2
    for table, key, same in (("equal_performance", "ratio", 1.0), ("equal_resources", "difference", 0.0)):
        for found in report[table]:
            if found["of"] is None and None not in (found["contenders"]["b"]["interval"] or [None]):
                assert found["contenders"]["b"][key]["value"] == pytest.approx(same)
                assert found["contenders"]["b"][key]["interval"] == pytest.approx([same, same])
    low, high = report["contenders"][0]["best"]["interval"]
    assert low < report["contenders"][0]["best"]["value"] < high
    assert not [note for note in report["notes"] if "budgets" in note or "overlap" in note]


def test_intervals_are_as_wide_as_those_recorded(make: Callable[..., Study], students: Any) -> None:
    report = compare_studies({"a": [make("a")]}, {}, resamplings=300).as_json()
    for point in report["contenders"][0]["fronts"][0]:
        [about] = [x for x in students.recorded if x["cost"]["lut"] == point["cost"]]
        low, high = about["test"]["intervals"]["mean_auc"]
        assert point["score"] == about["test"]["mean_auc"]
        assert point["interval"][1] - point["interval"][0] == pytest.approx(high - low, rel=0.35)


def test_an_efficiency_of_few_events_shows_how_little_it_says(
    make: Callable[..., Study], students: Any
) -> None:
    report = compare_studies({"a": [make("a")]}, {}, resamplings=50).as_json()
    for student in report["students"]:
        working, supported = student["efficiencies"]
        assert working["rate_khz"] == report["rate_khz"] == 3.0
        assert working["mean_efficiency"] == student["test"]["mean_efficiency"]
        assert working["expected"] < 1, "there are that few events in this test"
        low, high = working["interval"]
        assert low == 0 < high
        assert supported["expected"] >= 30
        assert 0 < supported["interval"][0] <= supported["mean_efficiency"] <= supported["interval"][1]
    assert "efficiencies there order no students" in "".join(report["notes"])
    head = next(line for line in markdown(report).splitlines() if line.startswith("| AUC |"))
    assert "efficiency at 3 kHz (0." in head
    assert f"efficiency at {supported['rate_khz']:g} kHz (3" in head
    assert f"[{low:.3f}, {high:.3f}]" in markdown(report)


def test_unequal_budgets_are_told(make: Callable[..., Study]) -> None:
    report = compare_studies({"a": [make("a")], "b": [make("b", seconds=40)]}, {}, resamplings=50).as_json()
    assert "budgets differ: core-seconds spent are a 30, b 40" in report["notes"]


def test_without_its_students_a_study_has_no_intervals(make: Callable[..., Study]) -> None:
    a, b = make("a"), make("b")
    shutil.rmtree(home.students_folder("b"))
    report = compare_studies({"a": [a], "b": [b]}, {}, resamplings=50).as_json()
    assert report["contenders"][0]["best"]["interval"] is not None
    assert report["contenders"][1]["best"]["interval"] is None
    assert report["contenders"][1]["best"]["value"] == report["contenders"][0]["best"]["value"]
    assert any(note.startswith("b has no intervals: ") for note in report["notes"])


def test_a_student_that_was_changed_is_found_out(make: Callable[..., Study], students: Any) -> None:
    study = make("a")
    folder = home.students_folder("a")
    shutil.copy(
        folder / students.recorded[0]["student"] / "adder_graph.json.gz",
        folder / students.recorded[3]["student"],
    )
    with pytest.raises(StudyError, match="scores otherwise on the test events than was recorded"):
        compare_studies({"a": [study]}, {}, resamplings=50)


def test_what_cannot_be_compared(make: Callable[..., Study], students: Any) -> None:
    one = make("one")
    content = students.file.model_dump(mode="json")
    other_events = make("other", dataset=content["dataset"] | {"split": {"seed": 7}})
    with pytest.raises(StudyError, match="'other' was scored on other events than 'one'"):
        compare_studies({"one": [one], "other": [other_events]}, {})
    ebops = make("ebops", objectives=["mean_auc", "ebops"])
    with pytest.raises(StudyError, match="lut is no cost that study 'ebops' optimized .it has ebops."):
        compare_studies({"one": [one], "ebops": [ebops]}, {})
    with pytest.raises(StudyError, match="worst_auc is no score that study 'one' optimized"):
        compare_studies({"one": [one]}, {}, score="worst_auc")
    with pytest.raises(StudyError, match="has no feasible point yet to compare"):
        compare_studies({"none": [make("none", which=())]}, {})


# ---- the command line ---------------------------------------------------------------------------


def test_compare_writes_what_it_prints(
    make: Callable[..., Study], sweep: Callable[..., Any], storage_url: str, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        make(name)
    files = [tmp_path / "c.json", tmp_path / "c.md", tmp_path / "c.html"]
    options = ["--resamplings", 50, "--storage", storage_url]
    said = sweep(
        "compare", "a", "--group", "bc=b,c", *options,
        "--json", files[0], "--markdown", files[1], "--plot", files[2],
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "To keep in mind" in said.out
    report = json.loads(files[0].read_text())
    assert [(c["name"], c["studies"]) for c in report["contenders"]] == [("a", ["a"]), ("bc", ["b", "c"])]
    assert files[1].read_text() == markdown(report)
    assert "fronts on test events" in files[2].read_text()
    printed = sweep("compare", "a", "--group", "bc=b,c", *options, "--json", "-")
    assert json.loads(printed.out) == report


def test_compare_refuses_in_one_line(
    make: Callable[..., Study], sweep: Callable[..., Any], storage_url: str, tmp_path: Path
) -> None:
    make("a")
    for wrong, expected in (
        ([], "there is nothing to compare"),
        (["none"], "'none' is not in the database"),
        (["a", "--group", "a=a,b"], "a is given twice"),
        (["--group", "x"], "--group x: give NAME=STUDY,STUDY"),
        (["a", "--markdown", tmp_path / "no" / "c.md", "--resamplings", 50], "cannot be written"),
    ):
        said = sweep("compare", *wrong, "--storage", storage_url)
        assert said.code == 2
        assert said.out == ""
        [line] = [x for x in said.err.splitlines() if not x.startswith("[")]
        assert line.startswith("error: ")
        assert expected in line


def test_groups() -> None:
    assert parse_groups(["a", "b"], ["g=c, d"]) == {"a": ["a"], "b": ["b"], "g": ["c", "d"]}
    assert parse_groups(["granularity"], [])["layer"] == [f"granularity-layer-{seed}" for seed in (1, 2, 3)]
