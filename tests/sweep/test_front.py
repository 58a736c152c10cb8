"""The front: what no feasible point beats, known answers for its volume, and its contract as JSON."""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import ValidationError
from rich.console import Console

from sweep import home
from sweep.errors import StudyError
from sweep.front import Front, front_of
from sweep.study import Study, create_or_resume, load
from sweep.study_file import StudyFile, parse_study
from sweep.synthesis.jobs import Candidate, Jobs
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.tables import print_front, write_csv

MakePoint = Callable[..., FrozenTrial]


def values(front: Front) -> list[list[float]]:
    return [trial.values for trial in front.points]


# ---- known answers ------------------------------------------------------------------------------


def test_a_front_is_feasible_measured_and_beaten_by_none(measured: Study) -> None:
    front = front_of(measured)
    assert [trial.number for trial in front.points] == [6, 4, 1], "cheapest first"
    assert values(front) == [[0.70, 1000.0], [0.80, 2000.0], [0.90, 4000.0]]


def test_the_volume_is_what_a_hand_finds(measured: Study) -> None:
    # Steps against (0.5, 20000), each from its LUT to the reference: the higher AUC adds a slab.
    by_hand = (0.70 - 0.5) * (20000 - 1000) + (0.80 - 0.70) * (20000 - 2000) + (0.90 - 0.80) * (20000 - 4000)
    assert by_hand == pytest.approx(7200)
    assert front_of(measured).hypervolume == pytest.approx(by_hand, rel=1e-12)


def test_a_single_point_spans_a_rectangle(study: Study, point: MakePoint) -> None:
    study.optuna.add_trial(point(0.75, 12_000.0))
    assert front_of(study).hypervolume == pytest.approx(0.25 * 8_000)


def test_the_reference_point_is_the_files(storage: RDBStorage, study_file: Callable[..., StudyFile]) -> None:
    study, _ = create_or_resume(storage, study_file(reference_point=[0.6, 10_000]))
    assert front_of(study).as_json()["reference_point"] == [0.6, 10_000]


def test_three_objectives(
    storage: RDBStorage, study_file: Callable[..., StudyFile], point: MakePoint
) -> None:
    file = study_file(objectives=["mean_auc", "lut", "latency_ns"], reference_point=[0.5, 100, 200])
    study, _ = create_or_resume(storage, file)
    for auc, lut, latency in ((0.75, 60.0, 100.0), (0.6, 60.0, 50.0), (0.75, 60.0, 150.0)):
        study.optuna.add_trial(point(auc, lut, latency_ns=latency, values=(auc, lut, latency)))
    front = front_of(study)
    assert sorted(trial.number for trial in front.points) == [0, 1]
    boxes = 0.25 * 40 * 100 + 0.1 * 40 * 150 - 0.1 * 40 * 100
    assert front.hypervolume == pytest.approx(boxes)


def test_points_behind_the_reference_are_on_the_front_and_add_no_volume(
    study: Study, point: MakePoint
) -> None:
    study.optuna.add_trial(point(0.45, 100.0))
    study.optuna.add_trial(point(0.99, 30_000.0))
    front = front_of(study)
    assert len(front.points) == 2
    assert front.hypervolume == 0


@pytest.mark.parametrize(("beyond", "feasible"), [(-1e-9, True), (0.0, True), (1e-9, False)])
def test_a_point_at_its_limit_is_feasible(
    study: Study, point: MakePoint, beyond: float, feasible: bool
) -> None:
    study.optuna.add_trial(point(0.7, 100.0, latency_ns=200 + beyond))
    assert bool(front_of(study).points) is feasible


def test_an_empty_study_has_an_empty_front(study: Study, contract: Callable[[str], Any]) -> None:
    front = front_of(study)
    assert (front.points, front.hypervolume) == ([], 0.0)
    found = contract(json.dumps(front.as_json()))
    assert (found.study, found.points, found.hypervolume) == ("hand-made", [], 0.0)


def test_what_failed_or_runs_or_is_not_measured_is_not_on_the_front(study: Study, point: MakePoint) -> None:
    study.optuna.ask()
    study.optuna.tell(study.optuna.ask(), state=TrialState.FAIL)
    study.optuna.add_trial(create_trial(values=[0.99, 1.0]))  # told by hand: no cost, no student
    failed = point(0.98, 2.0)
    failed.state, failed.values = TrialState.FAIL, None
    study.optuna.add_trial(failed)
    assert front_of(study).points == []


def test_test_scores_decide_nothing(study: Study, point: MakePoint) -> None:
    study.optuna.add_trial(point(0.80, 1000.0, test_auc=0.55))
    study.optuna.add_trial(point(0.79, 1001.0, test_auc=0.99))
    assert [trial.number for trial in front_of(study).points] == [0]


# ---- any points, against the definition ---------------------------------------------------------

STEPS = 6
cells = st.tuples(st.integers(0, STEPS), st.integers(0, STEPS), st.booleans())


@settings(max_examples=60, deadline=None)
@given(grid=st.lists(cells, max_size=12))
def test_any_points(grid: list[tuple[int, int, bool]], memory_study: Callable[[], Study]) -> None:
    study = memory_study()
    for score, cost, feasible in grid:
        study.optuna.add_trial(study_point(0.5 + score / 16, 1000.0 * cost, feasible))
    front = front_of(study)
    feasible_cells = {(score, cost) for score, cost, feasible in grid if feasible}
    expected = {
        (score, cost)
        for score, cost in feasible_cells
        if not any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in feasible_cells)
    }
    found = [(round((auc - 0.5) * 16), round(lut / 1000)) for auc, lut in values(front)]
    assert sorted(found) == sorted(expected), "each once, however often it was found"
    assert found == sorted(found, key=lambda cell: cell[1])
    covered = sum(
        any(s > score and c <= cost for s, c in feasible_cells)
        for score, cost in itertools.product(range(STEPS), range(20))  # to the reference, 20000 LUT
    )
    assert front.hypervolume == pytest.approx(covered * 1000 / 16)


@pytest.fixture(scope="module")
def memory_study() -> Callable[[], Study]:
    content = {
        "study": "grid",
        "dataset": {"source": {"kind": "pythia"}},
        "training": {"epochs": [1, 2]},
        "objectives": ["mean_auc", "lut"],
        "constraints": {"latency_ns": {"max": 200}},
        "budget": {"trials": 1},
        "synthesis": {"calibration": False},  # or the front would ask a database for jobs
    }
    file = parse_study(content, Path("grid.yaml"))

    def make() -> Study:
        made = optuna.create_study(directions=["maximize", "minimize"], sampler=RandomSampler())
        return Study(file, made, made._storage)

    return make


def study_point(auc: float, lut: float, feasible: bool) -> FrozenTrial:
    cost = {"lut": lut, "dsp": 0.0, "hls_lut": lut, "hls_dsp": 0.0, "latency_ns": 50.0 if feasible else 300.0}
    return create_trial(values=[auc, lut], user_attrs={"validation": {"mean_auc": auc}, "cost": cost})


# ---- the contract -------------------------------------------------------------------------------


def test_the_front_keeps_its_contract(measured: Study, contract: Callable[[str], Any]) -> None:
    front = front_of(measured)
    found = contract(json.dumps(front.as_json(), allow_nan=False))
    assert found.study == "hand-made"
    assert [(o.name, o.direction) for o in found.objectives] == [
        ("mean_auc", "maximize"),
        ("lut", "minimize"),
    ]
    assert found.reference_point == [0.5, 20_000]
    assert found.hypervolume == front.hypervolume
    assert [point.trial for point in found.points] == [6, 4, 1]
    first, second, third = found.points
    assert (first.parent, first.epoch, first.synthesis) == (0, 5, [])
    assert first.values == {"mean_auc": 0.70, "lut": 1000.0}
    assert (second.validation.mean_auc, second.test.mean_auc) == (0.80, 0.80)
    assert (third.validation.mean_auc, third.test.mean_auc) == (0.90, 0.60)
    assert second.cost.lut == 2000.0
    assert second.student == str(home.students_folder("hand-made") / "0-3-0123456789abcdef")


def test_the_end_of_a_run_has_no_parent(
    study: Study, point: MakePoint, contract: Callable[[str], Any]
) -> None:
    end = point(0.8, 1000.0, role="run")
    del end.user_attrs["parent"]
    study.optuna.add_trial(end)
    assert contract(json.dumps(front_of(study).as_json())).points[0].parent is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda front: front.update(extra=1),
        lambda front: front.pop("hypervolume"),
        lambda front: front["points"][0].pop("parent"),
        lambda front: front["points"][0].update(trial="6"),
        lambda front: front["points"][0]["cost"].pop("lut"),
        lambda front: front["points"][0]["cost"].update(ebops=1.5),
        lambda front: front["points"][0]["test"].pop("intervals"),
        lambda front: front["points"][0]["values"].pop("lut"),
        lambda front: front["objectives"][0].update(direction="up"),
        lambda front: front["points"][0].update(synthesis=[{"tool": "yosys"}]),
        lambda front: front["points"][0]["cost"].update(estimated={"lut": 1.0}),
        lambda front: front["points"][0]["cost"].update(source="calibrated"),
        lambda front: front["points"][0]["cost"].update(source="guessed"),
    ],
)
def test_the_contract_notices(
    damage: Callable[[dict[str, Any]], Any], measured: Study, contract: Callable[[str], Any]
) -> None:
    content = json.loads(json.dumps(front_of(measured).as_json()))
    contract(json.dumps(content))
    damage(content)
    with pytest.raises(ValidationError):
        contract(json.dumps(content))


# ---- the second stage -----------------------------------------------------------------------------

ROUTED = StageResult(
    "vivado", "2024.1", "routed", "xc7vx690tffg1927-2", 812, 640, 0, 0.5, 33, -0.125, None, 1.75, 8
)


def test_a_synthesized_point_shows_what_the_tools_said(
    measured: Study, contract: Callable[[str], Any]
) -> None:
    target = measured.file.target
    jobs = Jobs(measured.storage.engine, "worker of a test")
    synthesized = StageResult("yosys", "0.70", "synthesized", "xc7vx690tffg1927-2", 900, 700, 0, 0.0)
    verdicts = {
        target: Verdict(Outcome.OK, (), (synthesized,)),
        target.model_copy(update={"tool": "vivado", "stage": "routed"}): Verdict(
            Outcome.OK, (), (replace(ROUTED, stage="synthesized", wns_ns=None), ROUTED)
        ),
    }
    trial = measured.trials()[6]
    candidate = Candidate(measured.id, trial._trial_id, 6, "named", trial.user_attrs["test"])
    for wanted, verdict in verdicts.items():
        jobs.add(candidate, "0123456789abcdef", wanted, "nowhere", trial.user_attrs["cost"])
        job = jobs.claim(measured.id)
        assert job is not None
        jobs.finish(job, verdict, {}, 2.0)

    front = front_of(load(measured.storage, measured.name))
    first, second, third = contract(json.dumps(front.as_json(), allow_nan=False)).points
    assert [entry.model_dump() for entry in first.synthesis] == [
        result.as_json() for verdict in verdicts.values() for result in verdict.results
    ]
    last = first.synthesis[-1]
    assert (last.tool, last.stage, last.part) == ("vivado", "routed", "xc7vx690tffg1927-2")
    assert (last.lut, last.wns_ns, last.power_w, last.latency_cycles) == (812, -0.125, 1.75, 8)
    assert second.synthesis == third.synthesis == []
    assert {point.cost.source for point in (first, second, third)} == {"estimated"}, (
        "one design is not enough"
    )


def test_a_synthesis_that_failed_shows_nothing(measured: Study, contract: Callable[[str], Any]) -> None:
    trial = measured.trials()[6]
    jobs = Jobs(measured.storage.engine, "worker of a test")
    candidate = Candidate(measured.id, trial._trial_id, 6, "named", trial.user_attrs["test"])
    jobs.add(candidate, "0123456789abcdef", measured.file.target, "nowhere", trial.user_attrs["cost"])
    job = jobs.claim(measured.id)
    assert job is not None
    jobs.finish(job, Verdict(Outcome.DESIGN_FAILED, ("ERROR: no",)), {}, 2.0)
    front = front_of(load(measured.storage, measured.name))
    assert [point.synthesis for point in contract(json.dumps(front.as_json())).points] == [[], [], []]


# ---- CSV ----------------------------------------------------------------------------------------


def test_csv_says_the_same(measured: Study) -> None:
    stream = io.StringIO()
    front = front_of(measured)
    write_csv(stream, front)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    points = front.as_json()["points"]
    assert [int(row["trial"]) for row in rows] == [point["trial"] for point in points]
    for row, point in zip(rows, points, strict=True):
        assert float(row["validation_mean_auc"]) == point["validation"]["mean_auc"]
        assert float(row["test_mean_auc"]) == point["test"]["mean_auc"]
        assert {name: float(row[f"test_auc_{name}"]) for name in ("tt", "ggh_bb")} == point["test"]["auc"]
        assert [float(row[name]) for name in ("lut", "ff", "ebops", "latency_ns")] == [
            point["cost"][name] for name in ("lut", "ff", "ebops", "latency_ns")
        ]
        assert row["student"] == point["student"]


def test_csv_of_an_empty_front_is_its_header(study: Study) -> None:
    stream = io.StringIO()
    write_csv(stream, front_of(study))
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().startswith("trial,")


# ---- efficiencies at trigger rates --------------------------------------------------------------


def without_rates(trial: FrozenTrial) -> FrozenTrial:
    """Return a point as versions before 0.4 left it: with its efficiency at one rate."""
    for part in ("validation", "test"):
        del trial.user_attrs[part]["at_other_rates"], trial.user_attrs[part]["expected"]
    return trial


@pytest.mark.parametrize(("least", "kept"), [(0.3, True), (0.5, False)])
def test_a_constraint_is_on_the_efficiency_at_its_own_rate(
    storage: RDBStorage, study_file: Callable[..., StudyFile], point: MakePoint, least: float, kept: bool
) -> None:
    file = study_file(constraints={"efficiency@48kHz": {"min": least}})
    assert (file.rate_khz, file.other_rates_khz) == (3.0, [48.0])
    study, _ = create_or_resume(storage, file)
    study.optuna.add_trial(point(0.75, 12_000.0))
    assert bool(front_of(study).points) is kept, "0.4 at 48 kHz, 0.1 at 3 kHz"


def test_objectives_at_two_rates_are_two_objectives(
    storage: RDBStorage, study_file: Callable[..., StudyFile], point: MakePoint
) -> None:
    objectives = ["efficiency@48kHz", "efficiency@3kHz", "lut"]
    study, _ = create_or_resume(storage, study_file(objectives=objectives, constraints={}))
    assert (study.file.rate_khz, study.file.other_rates_khz) == (48.0, [3.0])
    study.optuna.add_trial(point(0.75, 12_000.0, values=(0.4, 0.1, 12_000.0)))
    (found,) = front_of(study).as_json()["points"]
    assert found["values"] == {"efficiency@48kHz": 0.4, "efficiency@3kHz": 0.1, "lut": 12_000.0}


def test_an_efficiency_that_was_not_recorded_is_no_other(
    storage: RDBStorage, study_file: Callable[..., StudyFile], point: MakePoint
) -> None:
    study, _ = create_or_resume(storage, study_file(constraints={"efficiency@48kHz": {"min": 0.3}}))
    study.optuna.add_trial(without_rates(point(0.75, 12_000.0)))
    with pytest.raises(StudyError, match="efficiency@48kHz was not recorded of all students"):
        front_of(study)


def printed(front: Front, width: int = 80) -> str:
    stream = io.StringIO()
    print_front(Console(file=stream, width=width), front)
    return stream.getvalue()


def test_the_table_shows_the_lowest_rate_that_the_events_know(measured: Study) -> None:
    shown = printed(front_of(measured))
    assert re.search(r"test mean AUC . at 48 kHz .\n", shown)
    assert len(re.findall(r". 0\.400 .\n", shown)) == 3
    assert "the lowest rate that these know; at 3 kHz the threshold rests on 2" in " ".join(shown.split())


def test_older_points_have_their_table_without_it(study: Study, point: MakePoint) -> None:
    study.optuna.add_trial(without_rates(point(0.75, 12_000.0)))
    shown = printed(front_of(study))
    assert " kHz " not in shown.partition("LUT, FF and latency")[0]
    assert "At 3 kHz the threshold rests on 2 zero-bias test events or fewer." in " ".join(shown.split())


def test_csv_has_every_rate(measured: Study) -> None:
    stream = io.StringIO()
    write_csv(stream, front_of(measured))
    rows = list(csv.DictReader(stream.getvalue().splitlines()))
    assert {(row["test_efficiency_3khz"], row["test_efficiency_48khz"]) for row in rows} == {("0.1", "0.4")}
