"""Costs that a worker records and tells the sampler, before and after synthesis has spoken."""

from typing import Any

import pytest

from objectives.costs.cost import Cost
from objectives.measurement import Point
from objectives.scores import AtRate, Scores
from sweep import records
from sweep.calibration.correction import correction_for
from sweep.search.history import History
from sweep.study import Study, create_or_resume
from sweep.synthesis.jobs import Candidate, Jobs
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.worker.runs import Measured

#: What synthesis counts here for each LUT that is estimated.
LAW = 0.8


def cost(lut: float) -> Cost:
    return Cost(
        lut=lut,
        ff=round(lut),
        dsp=0.0,
        ebops=1000,
        latency_cycles=4,
        latency_ns=25.0,
        hls_lut=9 * lut,
        hls_dsp=0.0,
    )


def synthesize(study: Study, designs: int) -> None:
    """Let `designs` designs of different size be synthesized, each to LAW of its estimate within 1 %."""
    jobs = Jobs(study.storage.engine, "worker of a test")
    for number in range(designs):
        estimate = cost(500 * 1.2**number)
        candidate = Candidate(study.id, 1, 0, "named", {})
        job, _ = jobs.add(candidate, f"design-{number}", study.file.target, "nowhere", estimate.as_json())
        lut = round(LAW * estimate.lut * (1.01, 0.99)[number % 2])
        said = StageResult("yosys", "1", "synthesized", "xc7", lut, estimate.ff, 0, 0.0)
        job = jobs.claim(study.id) or job
        assert jobs.finish(job, Verdict(Outcome.OK, (), (said,)), {}, 1.0) == "done"


@pytest.mark.parametrize(
    ("designs", "calibration", "source"),
    [(7, True, "estimated"), (10, True, "calibrated"), (10, False, "estimated")],
)
def test_a_worker_corrects_the_cost_of_later_trials(
    storage: Any, study_file: Any, designs: int, calibration: bool, source: str
) -> None:
    from sweep.worker.training_run import TrainingRuns  # brings TensorFlow

    file = study_file(
        constraints={"lut": {"max": 1700, "at": "upper"}}, synthesis={"calibration": calibration}
    )
    study = create_or_resume(storage, file)[0]
    study.optuna.ask()
    synthesize(study, designs)
    runs = TrainingRuns(study, History(study), lambda message: None, "worker of a test")
    scores = Scores({"tt": 0.9}, AtRate(3.0, 1.9, 2, {"tt": 0.1}))
    point = Point(scores, scores, cost(2000.0))
    found = runs._corrected(correction_for(storage.engine, file.target), point)
    assert found["source"] == source
    about = records.point_attributes(
        point, found, epoch=1, beta=1e-5, loss=1.0, adder_bits=1.0, design="d", student="s"
    )
    measured = Measured.of(file, about)
    auc, lut = measured.values or ()
    assert auc == pytest.approx(0.9)
    if source == "estimated":
        assert (lut, found) == (2000.0, point.cost.as_json())
        assert measured.constraints == {"lut": 300.0}
    else:
        assert lut == pytest.approx(LAW * 2000, rel=0.02)
        assert found["estimated"]["lut"] == 2000.0
        low, high = found["intervals"]["lut"]
        assert low < lut < high
        assert measured.constraints == {"lut": pytest.approx(high - 1700)}
