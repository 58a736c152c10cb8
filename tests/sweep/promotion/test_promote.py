"""Promotion of real students: measured again, queued once, refused when they are not what was recorded."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.data.h5 import write_regions
from objectives.errors import CostError
from objectives.progress import silent
from sweep import home
from sweep.errors import StudyError, SynthesisError
from sweep.front import front_of
from sweep.promotion.choice import Chosen, choose
from sweep.promotion.promote import Promoted, promote
from sweep.study import Study, load
from sweep.study_file import Promotion
from sweep.synthesis.jobs import DONE, WAITING, Jobs
from sweep.synthesis.result import Outcome, StageResult, Verdict

Sweep = Callable[..., Any]


def jobs(study: Study) -> Jobs:
    return Jobs(study.storage.engine, "worker of a test")


def promote_all(study: Study) -> list[Promoted]:
    return promote(study, choose(front_of(study), Promotion()), silent)


def chosen(study: Study, *numbers: int) -> list[Chosen]:
    return choose(front_of(study), Promotion(policy="named", trials=numbers))


def folder_of(study: Study, number: int) -> Path:
    return home.students_folder(study.name) / study.trials()[number].user_attrs["student"]


def finish(study: Study, verdict: Verdict) -> None:
    job = jobs(study).claim(study.id)
    assert job is not None
    jobs(study).finish(job, verdict, {}, 1.5)


def said(lut: int) -> Verdict:
    result = StageResult("yosys", "0.70", "synthesized", "xc7vx690tffg1927-2", lut, 30, 0, 0.0)
    return Verdict(Outcome.OK, (), (result,))


# ---- measured again -----------------------------------------------------------------------------


def test_what_is_measured_again_is_what_was_recorded(small: Study) -> None:
    promoted = promote_all(small)
    assert len(promoted) == 4
    for each in promoted:
        about = small.trials()[each.candidate.number].user_attrs
        assert each.candidate.test == about["test"], "intervals, too, on this machine"
        assert each.job.estimate == about["cost"]
        assert each.job.design == about["design"]
        assert Path(each.job.student) == folder_of(small, each.candidate.number)
        assert (each.new, each.job.state, each.job.outcome) == (True, WAITING, None)
        assert each.candidate.spread is None
    assert json.loads(json.dumps([p.as_json() for p in promoted]))[0]["reason"].startswith("adds ")


def test_candidates_are_in_the_database(small: Study) -> None:
    promoted = promote_all(small)
    stored = {candidate.number: (candidate, job) for candidate, job in jobs(small).candidates(small.id)}
    assert stored == {p.candidate.number: (p.candidate, p.job.id) for p in promoted}


def test_the_estimate_of_a_corrected_point_is_the_estimate(small: Study) -> None:
    """A calibration must never be fitted to what it made itself."""
    trial = small.trials()[2]
    cost = trial.user_attrs["cost"]
    about = cost | {
        "lut": 2 * cost["lut"],
        "lut_equivalent": 2 * cost["lut"],
        "source": "calibrated",
        "estimated": {"lut": cost["lut"]},
        "intervals": {"lut": [cost["lut"], 3 * cost["lut"]]},
    }
    trial.user_attrs["cost"] = about
    (promoted,) = promote(small, [Chosen(trial, "corrected")], silent)
    assert promoted.job.estimate == cost


# ---- not what was recorded ----------------------------------------------------------------------


def another_student(study: Study, number: int) -> None:
    other = folder_of(study, number % 4 + 1)
    shutil.copy(other / "adder_graph.json.gz", folder_of(study, number))


def recorded_otherwise(change: Callable[[dict[str, Any]], None]) -> Callable[[Study, int], None]:
    def make(study: Study, number: int) -> None:
        change(study.trials()[number].user_attrs["test"])

    return make


def a_shade(test: dict[str, Any]) -> None:
    test["auc"]["hard"] = float(np.nextafter(test["auc"]["hard"], 0))


CHANGES: dict[str, tuple[Callable[[Study, int], None], str]] = {
    "another student": (another_student, "auc"),
    "an AUC in its last bit": (recorded_otherwise(a_shade), "auc"),
    "the mean AUC": (recorded_otherwise(lambda test: test.update(mean_auc=0.99)), "(mean_auc)"),
    "an efficiency": (
        recorded_otherwise(lambda test: test["efficiency"].update(soft=0.5)),
        "(efficiency)",
    ),
    "passing": (recorded_otherwise(lambda test: test.update(passing=77)), "(passing)"),
    "another rate": (recorded_otherwise(lambda test: test.update(rate_khz=5.0)), "(rate_khz)"),
    "a signal less": (recorded_otherwise(lambda test: test["auc"].pop("soft")), "(auc)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_student_that_is_not_what_was_recorded_is_refused(
    change: str, small: Study, database: Callable[[], list[str]]
) -> None:
    make, part = CHANGES[change]
    candidates = chosen(small, 1, 3, 2)
    before = database()
    make(small, 3)
    with pytest.raises(StudyError, match="trial 3: the saved student scores otherwise") as refused:
        promote(small, candidates, silent)
    assert len(str(refused.value).splitlines()) == 1
    assert part in str(refused.value)
    assert database() == before, "not even trial 1 was queued"


def test_other_events_are_told_from_those_of_the_study(
    make_small: Callable[..., Study], students: Any, tmp_path: Path
) -> None:
    source = students.file.model_dump(mode="json")["dataset"]["source"]
    louder = np.random.default_rng(0).poisson(3.0, (150, 18, 14)).astype(np.uint16)
    write_regions(tmp_path / "soft.h5", louder)
    signals = source["signals"] | {"soft": [str(tmp_path / "soft.h5")]}
    study = make_small(dataset={"source": source | {"signals": signals}})
    with pytest.raises(StudyError, match=r"scores otherwise on the test events .*\(mean_auc"):
        promote_all(study)
    assert jobs(study).of_study(study.id) == []


def test_a_student_that_is_gone_is_refused(small: Study, database: Callable[[], list[str]]) -> None:
    before = database()
    shutil.rmtree(folder_of(small, 2))
    with pytest.raises(SynthesisError, match="trial 2: its student is not in ") as refused:
        promote(small, chosen(small, 1, 2), silent)
    assert str(folder_of(small, 2)) in str(refused.value)
    assert database() == before


@pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"{}")], ids=["empty", "text", "nothing"])
def test_a_damaged_student_is_refused(
    content: bytes, small: Study, database: Callable[[], list[str]]
) -> None:
    before = database()
    (folder_of(small, 2) / "adder_graph.json.gz").write_bytes(content)
    with pytest.raises(CostError, match="is no adder graph") as refused:
        promote(small, chosen(small, 1, 2), silent)
    assert len(str(refused.value).splitlines()) == 1
    assert database() == before


def test_a_target_that_the_tool_cannot_have_is_refused(
    make_small: Callable[..., Study], database: Callable[[], list[str]]
) -> None:
    study = make_small(hardware={"part": "10CX220YF780E5G"})
    before = database()
    with pytest.raises(SynthesisError, match="hardware.part 10CX220YF780E5G"):
        promote_all(study)
    assert database() == before


def test_the_command_line_names_the_trial_and_queues_nothing(
    sweep: Sweep, small: Study, storage_url: str, database: Callable[[], list[str]]
) -> None:
    another_student(small, 3)
    before = database()
    told = sweep("promote", "small", "--storage", storage_url, "--trial", 1, "--trial", 3, "--json")
    assert (told.code, told.out) == (2, "")
    *progress, error = told.err.splitlines()
    assert error.startswith("error: trial 3: the saved student scores otherwise")
    assert all(line.startswith("[") for line in progress)
    assert database() == before


# ---- queued once --------------------------------------------------------------------------------


def test_promoting_twice_queues_nothing_new(small: Study) -> None:
    first, again = promote_all(small), promote_all(small)
    assert [p.new for p in again] == [False] * 4
    assert [p.job for p in again] == [p.job for p in first]
    assert len(jobs(small).of_study(small.id)) == len(jobs(small).candidates(small.id)) == 4


def test_another_target_is_another_job(small: Study, make_small: Callable[..., Study]) -> None:
    promote_all(small)
    file = small.file.model_copy(
        update={"synthesis": small.file.synthesis.model_copy(update={"tool": "vivado"})}
    )
    promoted = promote(replace(small, file=file), chosen(small, 1), silent)
    assert promoted[0].new
    assert len(jobs(small).of_study(small.id)) == 5


def test_promoting_again_shows_what_came_of_it(
    sweep: Sweep, small: Study, storage_url: str, contract: Callable[[str], Any]
) -> None:
    at = ["small", "--storage", storage_url]
    assert "2 queued for yosys" in sweep("promote", *at, "--trial", 1, "--trial", 2).out
    finish(small, said(83))
    finish(small, Verdict(Outcome.DESIGN_FAILED, ("ERROR: no such cell",)))

    entries = json.loads(sweep("promote", *at, "--trial", 1, "--trial", 2, "--trial", 3, "--json").out)
    assert [(e["trial"], e["new"], e["state"], e["outcome"]) for e in entries] == [
        (1, False, DONE, "ok"),
        (2, False, DONE, "design failed"),
        (3, True, WAITING, None),
    ]
    assert entries[0]["results"][0]["lut"] == 83
    assert entries[1]["evidence"] == ["ERROR: no such cell"]
    table = sweep("promote", *at, "--trial", 1, "--trial", 2)
    for part in ("1, ok", "2, design failed", "0 queued", "2 were in the queue before", "named"):
        assert part in table.out

    points = {p.trial: p for p in contract(sweep("front", *at, "--json").out).points}
    assert [(s.tool, s.lut, s.ff) for s in points[1].synthesis] == [("yosys", 83, 30)]
    assert points[2].synthesis == points[3].synthesis == []
    shown = sweep("status", *at).out
    assert "Syntheses: 1 ok, 1 design failed, 1 waiting." in shown
    assert "ERROR: no such cell" in shown


def test_retry_queues_what_ended_badly_and_says_so(sweep: Sweep, small: Study, storage_url: str) -> None:
    at = ["small", "--storage", storage_url, "--trial", 1, "--trial", 2, "--trial", 3, "--json"]
    sweep("promote", *at)
    finish(small, said(83))
    finish(small, Verdict(Outcome.TIMED_OUT, ("no end in 7200 s",)))
    finish(small, Verdict(Outcome.DESIGN_FAILED, ("ERROR: no such cell",)))
    states = {e["trial"]: e["state"] for e in json.loads(sweep("promote", *at).out)}
    assert states == {1: DONE, 2: DONE, 3: DONE}
    again = {e["trial"]: (e["state"], e["outcome"]) for e in json.loads(sweep("promote", *at, "--retry").out)}
    assert again == {1: (DONE, "ok"), 2: (WAITING, None), 3: (DONE, "design failed")}


def test_two_studies_share_the_job_of_a_design(small: Study, make_small: Callable[..., Study]) -> None:
    other = make_small("other")
    first = promote(small, chosen(small, 1, 2), silent)
    second = promote(other, chosen(other, 2, 3), silent)
    assert [p.new for p in second] == [False, True]
    assert second[0].job.id == first[1].job.id
    assert [len(jobs(s).of_study(s.id)) for s in (small, other)] == [2, 2]

    finish(other, said(200))  # the oldest of its jobs: the one that both wait for
    for study, number in ((small, 2), (other, 2)):
        (result,) = load(study.storage, study.name).trials()[number].user_attrs["synthesis"]
        assert result["lut"] == 200
    late = promote(other, chosen(other, 2), silent)
    assert (late[0].new, late[0].job.outcome) == (False, Outcome.OK)


def test_a_trial_that_comes_late_has_the_results_at_once(
    small: Study, make_small: Callable[..., Study]
) -> None:
    other = make_small("other")
    promote(small, chosen(small, 4), silent)
    finish(small, said(900))
    promote(other, chosen(other, 4), silent)
    (result,) = load(other.storage, "other").trials()[4].user_attrs["synthesis"]
    assert result["lut"] == 900


def test_a_spread_survives_a_promotion_without_seeds(small: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """To train it again takes hours; to name the candidate once more, nothing."""
    spread = {"seeds": [1], "mean_auc": [0.7], "lut": [80.0], "failed": {}}
    seeded = replace(
        small,
        file=small.file.model_copy(
            update={"promotion": small.file.promotion.model_copy(update={"seeds": 1})}
        ),
    )
    with monkeypatch.context() as patch:
        patch.setattr("sweep.promotion.promote._spreads", lambda *_: [spread])
        assert promote(seeded, chosen(small, 1), silent)[0].candidate.spread == spread
    again = promote(small, chosen(small, 1, 2), silent)
    assert [p.candidate.spread for p in again] == [spread, None]
    stored = {c.number: c.spread for c, _ in jobs(small).candidates(small.id)}
    assert stored == {1: spread, 2: None}
