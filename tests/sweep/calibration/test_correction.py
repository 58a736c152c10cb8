"""What synthesis said, applied to costs: when it is in force, to what, and that all points compare alike."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, create_trial
from pydantic import BaseModel, ConfigDict, model_validator

from objectives.costs.cost import Cost
from sweep.calibration.correction import Correction, Kind, correction_for, corrections, raw_cost
from sweep.calibration.published import PUBLISHED
from sweep.calibration.report import report
from sweep.front import front_of
from sweep.storage import trial_rows
from sweep.storage.database import open_storage
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile, parse_study
from sweep.synthesis.jobs import Candidate, Jobs
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.synthesis.target import Target

#: What synthesis makes of an estimate here: a factor for LUT and one for FF, with a scatter of 1 %.
LUT_LAW, FF_LAW = 1.3, 0.64
SCATTER = (1.01, 0.99, 1.0)

YOSYS = Target()
VIVADO = Target(tool="vivado", stage="routed")
VITIS = Target(tool="vitis")

Law = Callable[[int, dict[str, Any]], StageResult]


def cost_of(lut: float, **changes: Any) -> dict[str, Any]:
    """Return the estimated cost of a student, all of it from its size."""
    figures = {
        "lut": lut,
        "ff": round(0.8 * lut),
        "dsp": 0.0,
        "ebops": round(2 * lut),
        "latency_cycles": 8,
        "latency_ns": 50.0,
        "hls_lut": 9 * lut,
        "hls_dsp": 2.0,
    }
    return Cost(**(figures | changes)).as_json()


def size(number: int) -> float:
    """Return the estimated LUT of the n-th design: sizes of students, none twice."""
    return 400.0 * 1.17**number


def by_law(target: Target, **changes: Any) -> Law:
    """Return a tool that says what the laws make of an estimate, but for some figures."""

    def say(number: int, cost: dict[str, Any]) -> StageResult:
        estimate = cost["hls_lut"] if target.implementation == "hls4ml" else cost["lut"]
        scatter = SCATTER[number % len(SCATTER)]
        said = StageResult(
            target.tool,
            "1.0",
            target.stage,
            target.hardware.part,
            lut=round(estimate * LUT_LAW * scatter),
            ff=round(cost["ff"] * FF_LAW * scatter),
            dsp=0,
            bram=0.0,
        )
        return replace(said, **changes)

    return say


class Queue:
    """A queue of syntheses whose jobs end as a test says, for one trial of a study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.jobs = Jobs(study.storage.engine, "worker of a test")
        number = len(study.trials())
        study.optuna.add_trial(create_trial(values=[0.6, 1.0]))
        self.candidate = Candidate(study.id, study.trials()[number]._trial_id, number, "named", {})
        self.added = 0

    def add(self, target: Target, verdict: Verdict, cost: dict[str, Any]) -> None:
        self.added += 1
        self.jobs.add(self.candidate, f"design-{self.added:04}", target, "nowhere", cost)
        job = self.jobs.claim(self.study.id)
        assert job is not None
        assert self.jobs.finish(job, verdict, {}, 1.0) == "done"

    def fill(self, designs: int, target: Target = YOSYS, law: Law | None = None, first: int = 0) -> None:
        """Let `designs` designs be synthesized for `target`; sizes differ from the `first`-th on."""
        for number in range(first, first + designs):
            cost = cost_of(size(number))
            said = (law or by_law(target))(number, cost)
            self.add(target, Verdict(Outcome.OK, (), (said,)), cost)

    def correction(self, target: Target = YOSYS) -> Correction:
        return correction_for(self.study.storage.engine, target)


@pytest.fixture
def queue(study: Study) -> Queue:
    return Queue(study)


# ---- when it is in force ------------------------------------------------------------------------


@pytest.mark.parametrize("designs", [0, 1, 3, 7])
def test_too_few_designs_correct_nothing(queue: Queue, designs: int) -> None:
    queue.fill(designs)
    correction = queue.correction()
    assert len(correction.own) == designs
    assert correction.fitted == correction.used == {}
    assert correction.apply(cost_of(900.0), 6.25) == cost_of(900.0)


@pytest.mark.parametrize("designs", [8, 20])
def test_a_known_law_is_found(queue: Queue, designs: int) -> None:
    queue.fill(designs)
    correction = queue.correction()
    assert set(correction.used) == {"lut", "ff"}, "yosys says nothing of latency"
    cost = cost_of(900.0)
    found = correction.apply(cost, 6.25)
    assert found["source"] == "calibrated"
    assert found["lut"] == pytest.approx(LUT_LAW * 900, rel=0.02)
    assert found["ff"] == pytest.approx(FF_LAW * 720, rel=0.02)
    assert isinstance(found["ff"], int)
    assert found["estimated"] == {"lut": 900.0, "ff": 720}
    for name in ("lut", "ff"):
        low, high = found["intervals"][name]
        assert low < found[name] < high
        assert cost[name] * {"lut": LUT_LAW, "ff": FF_LAW}[name] == pytest.approx((low + high) / 2, rel=0.05)
    assert found["lut_equivalent"] == found["lut"]
    untouched = set(cost) - {"lut", "ff", "lut_equivalent", "source"}
    assert {name: found[name] for name in untouched} == {name: cost[name] for name in untouched}


def test_an_estimate_that_is_right_is_left_alone(queue: Queue) -> None:
    def exact(number: int, cost: dict[str, Any]) -> StageResult:
        return by_law(YOSYS, lut=round(cost["lut"]), ff=round(cost["ff"] * FF_LAW))(number, cost)

    queue.fill(12, law=exact)
    correction = queue.correction()
    assert set(correction.fitted) == {"lut", "ff"}
    assert set(correction.used) == {"ff"}
    found = correction.apply(cost_of(900.0), 6.25)
    assert found["lut"] == 900.0
    assert set(found["estimated"]) == set(found["intervals"]) == {"ff"}


def test_scatter_without_bias_is_no_reason_to_correct(queue: Queue) -> None:
    """Pairs of designs of nearly one size, one 20 % above its estimate and one below."""

    def scattered(number: int, cost: dict[str, Any]) -> StageResult:
        sign = 1 if (number // 2 + number) % 2 else -1
        return by_law(YOSYS, lut=round(cost["lut"] * (1 + 0.2 * sign)))(number, cost)

    queue.fill(16, law=scattered)
    assert not queue.correction().in_force("lut")


def test_a_gain_that_may_be_luck_is_no_reason_to_correct(queue: Queue) -> None:
    """The mean error falls from 6.6 to 5.3 %, by less than the gain's standard error."""
    ratios = (1.06, 1.1, 1.06, 0.93, 1.11, 1.07, 0.99, 1.08)
    queue.fill(8, law=lambda n, cost: by_law(YOSYS, lut=round(cost["lut"] * ratios[n]))(n, cost))
    correction = queue.correction()
    assert correction.fitted["lut"].error < 0.9 * correction.fitted["lut"].raw_error
    assert not correction.in_force("lut")


# ---- what is a design, and of which kind --------------------------------------------------------


def test_what_says_nothing_is_left_out(queue: Queue) -> None:
    queue.fill(6)
    nothing = by_law(YOSYS, lut=0)(0, cost_of(3000.0))
    queue.add(YOSYS, Verdict(Outcome.OK, (), (nothing,)), cost_of(3000.0))
    for outcome in (Outcome.DESIGN_FAILED, Outcome.TIMED_OUT, Outcome.KILLED):
        # With figures, as of a tool that was killed on its last steps.
        said = by_law(YOSYS)(0, cost_of(4000.0))
        queue.add(YOSYS, Verdict(outcome, ("why",), (said,)), cost_of(4000.0))
    without_logic = cost_of(0.0, ff=0, latency_cycles=0, latency_ns=0.0)
    queue.add(YOSYS, Verdict(Outcome.OK, (), (by_law(YOSYS, lut=3, ff=1)(0, without_logic),)), without_logic)
    other_stage = by_law(YOSYS, stage="elaborated")(0, cost_of(5000.0))
    queue.add(YOSYS, Verdict(Outcome.OK, (), (other_stage,)), cost_of(5000.0))
    assert len(queue.correction().own) == 6
    queue.fill(2, first=6)
    assert set(queue.correction().used) == {"lut", "ff"}


def test_jobs_that_are_not_done_say_nothing(queue: Queue) -> None:
    queue.fill(7)
    queue.jobs.add(queue.candidate, "waiting", YOSYS, "nowhere", cost_of(9000.0))
    assert len(queue.correction().own) == 7


KINDS: dict[str, tuple[Target, Target]] = {
    "part": (YOSYS, Target.model_validate({"hardware": {"part": "xcvu13p-flga2577-2-e"}})),
    "tool": (YOSYS, Target(tool="vivado")),
    "stage": (Target(tool="vitis"), Target(tool="vitis", stage="routed")),
    "strategy": (VITIS, Target(tool="vitis", strategy="distributed_arithmetic")),
    "DSPs": (YOSYS, Target(dsp=True)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_do_not_mix(queue: Queue, kind: str) -> None:
    one, other = KINDS[kind]
    queue.fill(7, one)
    queue.fill(7, other, first=7)
    assert Kind.of(one) != Kind.of(other)
    assert queue.correction(one).used == queue.correction(other).used == {}
    queue.fill(1, one, first=20)
    assert queue.correction(one).used
    assert not queue.correction(other).used
    assert {kind: len(found.own) for kind, found in corrections(queue.study.storage.engine).items()} == {
        Kind.of(one): 8,
        Kind.of(other): 7,
    }


def test_clocks_are_one_kind(queue: Queue) -> None:
    """How a pipeline was cut is in the estimate; designs of one clock speak for another."""
    fast = Target.model_validate({"hardware": {"clock_ns": 4.0}})
    queue.fill(4)
    queue.fill(4, fast, first=4)
    assert Kind.of(fast) == Kind.of(YOSYS)
    assert set(queue.correction(fast).used) == {"lut", "ff"}


def test_hls4ml_corrects_its_own_estimate_only(queue: Queue) -> None:
    queue.fill(8, VITIS)
    cost = cost_of(900.0)
    found = queue.correction(VITIS).apply(cost, 6.25)
    assert found["hls_lut"] == pytest.approx(LUT_LAW * 8100, rel=0.02)
    assert found["hls_lut_equivalent"] == pytest.approx(found["hls_lut"] + 110)
    assert set(found["estimated"]) == {"hls_lut"}
    low, high = found["intervals"]["hls_lut"]
    assert found["intervals"]["hls_lut_equivalent"] == [low + 110, high + 110]
    changed = {name for name in cost if found[name] != cost[name]}
    assert changed == {"hls_lut", "hls_lut_equivalent", "source"}


# ---- latency ------------------------------------------------------------------------------------


def test_latency_is_cycles_at_the_clock_that_was_achieved(queue: Queue) -> None:
    clock = VIVADO.hardware.clock_ns
    for number, slack in enumerate((-1.25, 0.0, 2.0)):
        cost = cost_of(size(number))
        said = by_law(VIVADO, wns_ns=slack, latency_cycles=8)(number, cost)
        queue.add(VIVADO, Verdict(Outcome.OK, (), (said,)), cost)
    unknown = by_law(VIVADO, latency_cycles=8)(3, cost_of(size(3)))
    queue.add(VIVADO, Verdict(Outcome.OK, (), (unknown,)), cost_of(size(3)))
    latencies = [design.latency_ns for design in queue.correction(VIVADO).own]
    assert latencies == [8 * (clock + 1.25), 8 * clock, 8 * clock, None], "slack to spare is not speed"


def test_designs_that_miss_their_clock_correct_the_latency(queue: Queue) -> None:
    queue.fill(10, VIVADO, by_law(VIVADO, wns_ns=-1.25, latency_cycles=8))
    correction = queue.correction(VIVADO)
    assert "latency_ns" in correction.used
    found = correction.apply(cost_of(900.0), 6.25)
    assert found["latency_ns"] == pytest.approx(60, rel=0.01)
    assert found["latency_cycles"] == 8
    assert found["estimated"]["latency_ns"] == 50.0


# ---- published designs --------------------------------------------------------------------------


def test_published_designs_correct_nothing_alone(queue: Queue) -> None:
    alone = queue.correction(VIVADO)
    assert alone.designs("lut") == PUBLISHED
    assert alone.fitted["lut"].beats_raw
    assert alone.used == {}


@pytest.mark.parametrize(("own", "used"), [(1, set()), (2, set()), (3, {"lut"}), (4, {"lut"})])
def test_published_designs_are_where_routed_lut_starts(queue: Queue, own: int, used: set[str]) -> None:
    queue.fill(own, VIVADO)
    correction = queue.correction(VIVADO)
    assert len(correction.designs("lut")) == own + len(PUBLISHED)
    assert len(correction.designs("ff")) == len(correction.designs("latency_ns")) == own
    assert set(correction.used) == used


def test_published_designs_are_no_reason_to_spoil_better_estimates_of_ours(queue: Queue) -> None:
    """The fit beats the raw estimates of all designs, most of which are not ours, but not of ours."""
    for number in range(3):
        cost = cost_of(20_000 * 1.2**number)
        said = by_law(VIVADO, lut=round(1.02 * cost["lut"]))(number, cost)
        queue.add(VIVADO, Verdict(Outcome.OK, (), (said,)), cost)
    correction = queue.correction(VIVADO)
    assert correction.fitted["lut"].beats_raw
    assert not correction.in_force("lut")


@pytest.mark.parametrize("target", [YOSYS, Target(tool="vivado"), Target(tool="vitis", stage="routed")])
def test_published_designs_are_of_vivado_routed(queue: Queue, target: Target) -> None:
    queue.fill(4, target)
    assert len(queue.correction(target).designs("lut")) == 4


# ---- costs, back and forth ----------------------------------------------------------------------

COSTS = st.builds(
    lambda **figures: Cost(**figures).as_json(),
    lut=st.floats(0, 1e6),
    ff=st.integers(0, 10**6),
    dsp=st.floats(0, 100),
    ebops=st.integers(0, 10**6),
    latency_cycles=st.integers(0, 100),
    latency_ns=st.floats(0, 1000),
    hls_lut=st.floats(0, 1e6),
    hls_dsp=st.floats(0, 1000),
)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """A database in which routed LUT, FF and latency, and hls4ml's LUT, are corrected."""
    storage = open_storage(f"sqlite:///{tmp_path_factory.mktemp('calibrated') / 'sweep.db'}")
    queue = Queue(create_or_resume(storage, file_for(VIVADO))[0])
    queue.fill(12, VIVADO, by_law(VIVADO, wns_ns=-1.25, latency_cycles=8))
    queue.fill(12, VITIS)
    yield queue
    storage.engine.dispose()


def file_for(target: Target, **sections: Any) -> StudyFile:
    content = {
        "study": "calibrated",
        "dataset": {},
        "training": {"epochs": [1, 2]},
        "objectives": ["mean_auc", "lut"],
        "budget": {"trials": 1},
        "synthesis": {"tool": target.tool, "stage": target.stage},
    }
    return parse_study(content | sections, Path("calibrated.yaml"))


@pytest.mark.parametrize("target", [VIVADO, VITIS], ids=["vivado", "vitis"])
@settings(max_examples=100, deadline=None)
@given(cost=COSTS)
def test_what_was_corrected_can_be_taken_back(
    calibrated: Queue, target: Target, cost: dict[str, Any]
) -> None:
    correction = calibrated.correction(target)
    kept = json.loads(json.dumps(cost))
    found = correction.apply(cost, 6.25)
    assert cost == kept, "the estimate is not changed"
    assert raw_cost(found) == cost
    assert correction.apply(found, 6.25) == found, "a correction is not corrected"
    again = json.loads(json.dumps(found, allow_nan=False))
    assert raw_cost(again) == cost, "nor by way of the database"
    for name, (low, high) in found.get("intervals", {}).items():
        assert low - 0.5 <= found[name] <= high + 0.5
    for name in ("lut", "hls_lut"):
        dsp = found[name.replace("lut", "dsp")]
        assert found[f"{name}_equivalent"] == pytest.approx(found[name] + 55 * dsp)


# ---- the front ----------------------------------------------------------------------------------


def study_with(calibrated: Queue, file: StudyFile, points: list[tuple[float, dict[str, Any]]]) -> Study:
    """Return a study of (AUC, cost as recorded), whose database knows the syntheses."""
    storage = calibrated.study.storage
    made = optuna.create_study(
        storage=storage, directions=["maximize", "minimize"], sampler=RandomSampler(), study_name=uuid4().hex
    )
    study = Study(file, made, storage)
    trials = [
        create_trial(values=[auc, cost["lut"]], user_attrs={"validation": {"mean_auc": auc}, "cost": cost})
        for auc, cost in points
    ]
    with storage.engine.begin() as connection:
        trial_rows.insert(connection, study.id, trials)
    return study


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 60), st.sampled_from(["before", "after", "older"])),
        max_size=8,
    )
)
def test_old_and_new_points_compare_alike(calibrated: Queue, points: list[tuple[int, int, str]]) -> None:
    """Whenever a point was recorded, and whatever corrected it then, its cost is what it is today."""
    file = file_for(VIVADO, constraints={"lut": {"max": 12_000}})
    correction = calibrated.correction(VIVADO)

    def recorded(lut: float, when: str) -> dict[str, Any]:
        cost = cost_of(lut)
        if when == "after":
            return correction.apply(cost, 6.25)
        if when == "older":  # another correction than today's
            kept = {"lut": cost["lut"]}
            return cost | {"lut": 7 * lut, "source": "calibrated", "estimated": kept, "intervals": {}}
        return cost

    mixed = [(0.5 + auc / 50, recorded(200.0 * lut, when)) for auc, lut, when in points]
    front = front_of(study_with(calibrated, file, mixed))
    fresh = front_of(study_with(calibrated, file, [(auc, raw_cost(cost)) for auc, cost in mixed]))
    assert [t.number for t in front.points] == [t.number for t in fresh.points]
    assert front.hypervolume == fresh.hypervolume
    for trial in front.points:
        assert front.cost(trial) == fresh.cost(trial)
        assert front.values(trial)[1] == front.cost(trial)["lut"]
        assert front.cost(trial)["source"] == "calibrated"
    luts = [front.values(trial)[1] for trial in front.points]
    aucs = [front.values(trial)[0] for trial in front.points]
    assert luts == sorted(luts)
    assert all(less < more for less, more in itertools.pairwise(aucs)), "none dominates another"
    assert all(lut <= 12_000 for lut in luts), "constraints hold for what is shown"


def test_without_calibration_costs_are_as_estimated(calibrated: Queue) -> None:
    corrected = calibrated.correction(VIVADO).apply(cost_of(900.0), 6.25)
    points = [(0.7, corrected), (0.8, cost_of(1000.0))]
    raw = file_for(VIVADO, synthesis={"tool": "vivado", "stage": "routed", "calibration": False})
    front = front_of(study_with(calibrated, raw, points))
    assert [front.values(t) for t in front.points] == [[0.7, 900.0], [0.8, 1000.0]]
    assert front.cost(front.points[0]) == cost_of(900.0)
    today = front_of(study_with(calibrated, file_for(VIVADO), points))
    assert today.values(today.points[0])[1] == pytest.approx(LUT_LAW * 900, rel=0.02)


@pytest.mark.parametrize("name", ["lut", "lut_equivalent", "ff", "latency_ns"])
def test_a_constraint_at_the_upper_end(calibrated: Queue, name: str) -> None:
    cost = cost_of(900.0, dsp=3.0)
    found = calibrated.correction(VIVADO).apply(cost, 6.25)
    value, (low, high) = found[name], found["intervals"][name]
    assert low < value < high

    def feasible(limit: float, at: str) -> bool:
        file = file_for(VIVADO, constraints={name: {"max": limit, "at": at}})
        return bool(front_of(study_with(calibrated, file, [(0.7, cost)])).points)

    between = (value + high) / 2
    assert feasible(between, "value")
    assert not feasible(between, "upper")
    assert feasible(high, "upper")
    assert not feasible(value * 0.999, "value")


def test_the_upper_end_of_what_is_not_corrected_is_its_estimate(queue: Queue, point: Any) -> None:
    file = file_for(YOSYS, study="plain", constraints={"ebops": {"max": 100, "at": "upper"}})
    study, _ = create_or_resume(queue.study.storage, file)
    study.optuna.add_trial(point(0.7, 1000.0))
    assert len(front_of(study).points) == 1


def test_the_front_of_corrected_points_keeps_its_contract(
    storage: RDBStorage,
    study_file: Callable[..., StudyFile],
    point: Callable[..., FrozenTrial],
    contract: Callable[[str], Any],
    sweep: Callable[..., Any],
    storage_url: str,
) -> None:
    study, _ = create_or_resume(storage, study_file())
    Queue(study).fill(8)
    for auc, lut in ((0.7, 900.0), (0.8, 1500.0)):
        trial = point(auc, lut)
        trial.user_attrs["cost"] = cost_of(lut)
        study.optuna.add_trial(trial)
    said = sweep("front", "hand-made", "--json", "--storage", storage_url)
    cheap, dear = contract(said.out).points
    for found, lut in ((cheap, 900.0), (dear, 1500.0)):
        assert found.cost.source == "calibrated"
        assert found.cost.estimated == {"lut": lut, "ff": round(0.8 * lut)}
        assert found.values["lut"] == found.cost.lut == pytest.approx(LUT_LAW * lut, rel=0.02)
        low, high = found.cost.intervals["lut"]
        assert low < LUT_LAW * lut < high
    table = sweep("front", "hand-made", "--storage", storage_url).out
    assert "(ff, lut corrected by what synthesis said)" in table
    dry = sweep("promote", "hand-made", "--dry-run", "--storage", storage_url).out
    assert f"{cheap.cost.lut:,.0f}" in dry, "what the choice was made by"


# ---- `sweep calibration` ------------------------------------------------------------------------


class Exact(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class ContractDesign(Exact):
    design: str
    source: str
    estimated: float
    synthesized: float
    predicted: float | None
    low: float | None
    high: float | None

    @model_validator(mode="after")
    def _ordered(self) -> "ContractDesign":
        if self.predicted is None or self.low is None or self.high is None:
            assert self.predicted is self.low is self.high is None
        else:
            assert self.low <= self.predicted <= self.high
        return self


class ContractQuantity(Exact):
    quantity: str
    designs: int
    designs_needed: int
    raw_error: float | None
    error: float | None
    coverage: float | None
    in_force: bool
    points: list[ContractDesign]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "ContractQuantity":
        assert self.quantity in ("lut", "ff", "latency_ns")
        assert self.designs <= len(self.points)
        fitted = self.designs >= self.designs_needed
        assert fitted == (self.raw_error is not None) == (self.error is not None)
        assert fitted == (self.coverage is not None)
        assert all((point.predicted is not None) == fitted for point in self.points)
        assert fitted or not self.in_force
        return self


class ContractKind(Exact):
    tool: str
    stage: str
    part: str
    implementation: str
    strategy: str | None
    dsp: bool
    quantities: list[ContractQuantity]


class ContractCalibration(Exact):
    kinds: list[ContractKind]


def told(sweep: Callable[..., Any], *arguments: str) -> list[ContractKind]:
    said = sweep("calibration", *arguments, "--json")
    assert (said.code, said.err) == (0, "")
    return ContractCalibration.model_validate_json(f'{{"kinds": {said.out}}}').kinds


def test_estimates_stand_beside_what_synthesis_said(
    queue: Queue, sweep: Callable[..., Any], storage_url: str
) -> None:
    queue.fill(9)
    queue.fill(3, VITIS, first=9)
    at = ("--storage", storage_url)
    yosys, vitis = told(sweep, *at)
    assert (yosys.tool, yosys.stage, yosys.implementation, yosys.strategy) == (
        "yosys",
        "synthesized",
        "adder_graph",
        None,
    )
    lut, ff, latency = yosys.quantities
    assert [(q.quantity, q.designs, q.in_force) for q in (lut, ff, latency)] == [
        ("lut", 9, True),
        ("ff", 9, True),
        ("latency_ns", 0, False),
    ]
    for number, point in enumerate(lut.points):
        assert point.design == f"design-{number + 1:04}"
        assert point.source == "yosys 1.0"
        assert point.estimated == size(number)
        assert point.synthesized == round(size(number) * LUT_LAW * SCATTER[number % 3])
        assert point.predicted == pytest.approx(point.synthesized, rel=0.03)
    assert lut.raw_error == pytest.approx(1 - 1 / LUT_LAW, rel=0.05)
    assert lut.error is not None
    assert lut.error < 0.03
    assert (vitis.implementation, vitis.strategy) == ("hls4ml", "latency")
    assert [(q.quantity, q.designs, q.error) for q in vitis.quantities] == [("lut", 3, None)]
    assert vitis.quantities[0].points[0].estimated == 9 * size(9)

    (of_study,) = told(sweep, "hand-made", *at)
    assert of_study == yosys


def test_calibration_is_readable(queue: Queue, sweep: Callable[..., Any], storage_url: str) -> None:
    queue.fill(9)
    queue.fill(3, VITIS, first=9)
    said = sweep("calibration", "--storage", storage_url)
    assert (said.code, said.err) == (0, "")
    for part in (
        "yosys, synthesized, xc7vx690tffg1927-2, adder_graph\n",
        "vitis, synthesized, xc7vx690tffg1927-2, hls4ml, latency\n",
        "design-0003",
        "lut of 9 designs",
        "corrects the cost of students",
        "latency_ns: the tool says nothing of it",
        "lut: 3 of the 8 different designs that a calibration needs",
    ):
        assert part in said.out


def test_a_database_without_syntheses(sweep: Callable[..., Any], study: Study, storage_url: str) -> None:
    at = ("--storage", storage_url)
    assert told(sweep, *at) == []
    assert "No design was synthesized yet" in sweep("calibration", *at).out
    (kind,) = told(sweep, "hand-made", *at)
    assert [q.points for q in kind.quantities] == [[], [], []]
    assert sweep("calibration", "hand-made", *at).code == 0


def test_designs_of_one_estimate_and_figure_count_once_and_all_are_shown(queue: Queue) -> None:
    """Students that differ in names only: the ninth design that a fit would not notice."""
    queue.fill(8)
    queue.fill(1)
    (kind,) = report(queue.study.storage.engine, YOSYS)
    lut = ContractQuantity.model_validate(kind["quantities"][0])
    assert (lut.designs, len(lut.points)) == (8, 9)
    assert lut.points[0].predicted == lut.points[8].predicted
    assert lut.points[0].design != lut.points[8].design


def test_the_published_designs_are_shown_with_their_source(queue: Queue) -> None:
    queue.fill(3, VIVADO)
    (kind,) = report(queue.study.storage.engine, VIVADO)
    lut, ff, latency = (ContractQuantity.model_validate(q) for q in kind["quantities"])
    assert lut.designs == 3 + len(PUBLISHED)
    assert sorted({p.source for p in lut.points}) == ["arXiv:2508.15468", "vivado 1.0"]
    assert (ff.designs, latency.designs) == (3, 0)
