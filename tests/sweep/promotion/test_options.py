"""`sweep promote` on a small real study: what its options mean together, and what they cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.errors import StudyError
from sweep.promotion.options import with_options
from sweep.study import Study
from sweep.study_file import Promotion, Synthesis
from sweep.synthesis.jobs import Jobs

Sweep = Callable[..., Any]
Dump = Callable[[], list[str]]


def jobs_of(study: Study) -> list[Any]:
    return Jobs(study.storage.engine, "test").of_study(study.id)


# ---- what options say of a study file -----------------------------------------------------------


def promotion_with(study: Study, **options: Any) -> Promotion:
    return with_options(study, options, {}).file.promotion


def synthesis_with(study: Study, **options: Any) -> Synthesis:
    return with_options(study, {}, options).file.synthesis


def test_without_options_the_file_stands(make_small: Callable[..., Study]) -> None:
    promotion = {"policy": "budget", "limits": [100, 500], "cost": "ff", "seeds": 2}
    synthesis = {"tool": "vivado", "stage": "routed", "keep_checkpoint": True, "memory_gib": 4}
    study = make_small(promotion=promotion, synthesis=synthesis)
    nothing = dict.fromkeys(("policy", "size", "limits", "cost", "trials", "seeds"))
    same = with_options(study, nothing, {"tool": None, "stage": None})
    assert same.file == study.file
    assert same.file.target == study.file.target


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limits": [5.0, 3.0]}, {"policy": "budget", "limits": (5.0, 3.0)}),
        ({"limits": [5.0], "cost": "dsp"}, {"policy": "budget", "limits": (5.0,), "cost": "dsp"}),
        ({"trials": [4, 2]}, {"policy": "named", "trials": (4, 2)}),
        ({"trials": [0]}, {"policy": "named", "trials": (0,)}),
        ({"size": 3}, {"policy": "hypervolume", "size": 3}),
        ({"policy": "knee"}, {"policy": "knee", "size": 5}),
        ({"policy": "knee", "size": 2}, {"policy": "knee", "size": 2}),
        ({"seeds": 3}, {"policy": "hypervolume", "size": 5, "seeds": 3}),
        ({"seeds": 0}, {"seeds": 0}),
    ],
    ids=str,
)
def test_options_go_before_the_file(
    make_small: Callable[..., Study], options: dict[str, Any], expected: dict[str, Any]
) -> None:
    study = make_small(promotion={"size": 5, "seeds": 1})
    found = promotion_with(study, **options)
    assert {key: getattr(found, key) for key in expected} == expected
    assert found.seeds == options.get("seeds", 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": 3}, {"policy": "hypervolume", "size": 3, "limits": (), "cost": None}),
        ({"policy": "knee"}, {"policy": "knee", "limits": (), "cost": None}),
        ({"limits": [7.0]}, {"policy": "budget", "limits": (7.0,), "cost": None}),
        ({"trials": [1]}, {"policy": "named", "trials": (1,), "limits": (), "cost": None}),
        ({"policy": "budget"}, {"policy": "budget", "limits": (500.0,), "cost": "ff"}),
        ({"cost": "dsp"}, {"policy": "budget", "limits": (500.0,), "cost": "dsp"}),
        ({"seeds": 1}, {"policy": "budget", "limits": (500.0,), "cost": "ff", "seeds": 1}),
    ],
    ids=str,
)
def test_another_policy_takes_nothing_from_the_files(
    make_small: Callable[..., Study], options: dict[str, Any], expected: dict[str, Any]
) -> None:
    study = make_small(promotion={"policy": "budget", "limits": [500], "cost": "ff"})
    found = promotion_with(study, **options)
    assert {key: getattr(found, key) for key in expected} == expected


def test_another_tool_takes_nothing_that_is_not_its_own(make_small: Callable[..., Study]) -> None:
    study = make_small(
        synthesis={"tool": "yosys", "dsp": True, "timeout_s": 60, "memory_gib": 2, "calibration": False}
    )
    assert synthesis_with(study, tool="yosys").dsp
    vivado = synthesis_with(study, tool="vivado", stage="routed")
    assert (vivado.tool, vivado.stage, vivado.dsp) == ("vivado", "routed", False)
    assert (vivado.timeout_s, vivado.memory_gib, vivado.calibration) == (60, 2, False)


def test_the_stage_is_the_files_for_a_tool_that_has_it(make_small: Callable[..., Study]) -> None:
    study = make_small(synthesis={"tool": "vitis", "stage": "routed", "strategy": "distributed_arithmetic"})
    assert synthesis_with(study, tool="vivado").stage == "routed"
    assert synthesis_with(study, tool="vivado", stage="synthesized").stage == "synthesized"
    assert synthesis_with(study, tool="yosys").stage == "synthesized"
    assert synthesis_with(study, stage="synthesized").strategy == "distributed_arithmetic"


OPTION_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "policy": st.none() | st.sampled_from(["hypervolume", "knee", "budget", "named"]) | st.text(max_size=5),
    "size": st.none() | st.integers(-2, 20_000),
    "limits": st.none() | st.lists(st.floats(), max_size=3),
    "cost": st.none() | st.sampled_from(["lut", "ff", "mean_auc", "efficiency@3kHz", "area"]),
    "trials": st.none() | st.lists(st.integers(), max_size=3),
    "seeds": st.none() | st.integers(-1, 200),
}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    promotion=st.fixed_dictionaries(OPTION_VALUES),
    synthesis=st.fixed_dictionaries(
        {
            "tool": st.none() | st.sampled_from(["yosys", "vivado", "vitis", "quartus"]),
            "stage": st.none() | st.sampled_from(["synthesized", "routed", "placed"]),
        }
    ),
)
def test_any_options_are_a_choice_or_one_line(
    small: Study, promotion: dict[str, Any], synthesis: dict[str, Any]
) -> None:
    try:
        found = with_options(small, promotion, synthesis).file
    except StudyError as refused:
        assert str(refused).startswith("promotion of 'small': ")
        assert len(str(refused).splitlines()) == 1
        assert "Input should" not in str(refused)
        return
    for key, value in promotion.items():
        if value is not None and value != []:
            said = getattr(found.promotion, key)
            assert (list(said) if isinstance(said, tuple) else said) == value, "what is given is used"
    for key, value in synthesis.items():
        assert value is None or getattr(found.synthesis, key) == value


# ---- the command line ---------------------------------------------------------------------------


def trials(said: Any) -> list[int]:
    assert said.code == 0, said.err
    return [entry["trial"] for entry in json.loads(said.out)]


def luts(study: Study) -> list[float]:
    return [trial.user_attrs["cost"]["lut"] for trial in study.points()]


@pytest.fixture
def at(small: Study, storage_url: str) -> list[str]:
    return ["small", "--storage", storage_url]


def test_every_option_in_a_dry_run(sweep: Sweep, small: Study, at: list[str], database: Dump) -> None:
    before = database()
    first, second, third, _ = luts(small)

    def dry(*options: object) -> list[int]:
        return trials(sweep("promote", *at, "--dry-run", "--json", *options))

    assert sorted(dry()) == [1, 2, 3, 4]
    assert dry("--top", 2) == dry()[:2]
    assert len(dry("--policy", "knee", "--top", 1)) == 1
    assert dry("--under", first) == [1]
    assert dry("--under", second, "--under", third) == [2, 3]
    assert dry("--policy", "budget", "--under", third + 1, "--cost", "lut") == [3]
    ffs = [trial.user_attrs["cost"]["ff"] for trial in small.points()]
    assert dry("--under", min(ffs), "--cost", "ff") == [1 + ffs.index(min(ffs))]
    assert dry("--trial", 3, "--trial", 1, "--trial", 3) == [3, 1]
    assert dry("--policy", "named", "--trial", 2, "--seeds", 2) == [2]
    assert dry("--tool", "vivado", "--stage", "routed", "--top", 1) == dry("--top", 1)
    assert dry("--tool", "vitis", "--retry", "--top", 1) == dry("--top", 1)
    assert database() == before, "a dry run writes nothing"


def test_a_dry_run_tells_why_and_for_what(sweep: Sweep, small: Study, at: list[str], database: Dump) -> None:
    before = database()
    said = sweep("promote", *at, "--dry-run", "--top", 2, "--tool", "vivado", "--stage", "routed")
    assert (said.code, said.err) == (0, "")
    for part in ("2 points", "of the front's hypervolume", "vivado (routed) on xc7vx690tffg1927-2"):
        assert part in said.out
    assert "Nothing was queued" in said.out
    entries = json.loads(sweep("promote", *at, "--dry-run", "--json", "--trial", 2).out)
    assert entries == [{"trial": 2, "reason": "named"}]
    assert database() == before


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--policy", "best"], "policy: must be 'hypervolume', 'knee', 'budget' or 'named', not 'best'"),
        (["--policy", "named"], "trials must be given with policy named"),
        (["--policy", "budget"], "limits must be given with policy budget"),
        (["--policy", "knee", "--under", "500"], "limits must be given with policy budget"),
        (["--under", "500", "--trial", "1"], "trials must be given with policy named"),
        (["--under", "0"], "limits[0]: must be greater than 0"),
        (["--under", "500", "--under", "-1"], "limits[1]: must be greater than 0"),
        (["--under", "nan"], "limits[0]: must be"),
        (["--under", "inf"], "limits[0]: must be"),
        (["--under", "1e-3"], "no point of the front has lut under any of them"),
        (["--under", "5", "--cost", "area"], "cost: unknown metric 'area'"),
        (["--under", "5", "--cost", "mean_auc"], "cost names the cost"),
        (["--cost", "lut"], "cost names the cost that the limits of policy budget are on"),
        (["--trial", "0"], "trial 0 of study 'small' holds no student"),
        (["--trial", "99"], "trial 99 of study 'small' holds no student"),
        (["--trial", "-1"], "trials[0]: must be greater than or equal to 0"),
        (["--seeds", "101"], "seeds: must be less than or equal to 100"),
        (["--top", "10001"], "size: must be less than or equal to 10000"),
        (["--stage", "routed"], "stage routed needs vivado or vitis"),
        (["--tool", "yosys", "--stage", "routed"], "stage routed needs vivado or vitis"),
        (["--stage", "placed"], "stage: must be 'synthesized' or 'routed', not 'placed'"),
        (["--tool", "quartus"], "tool: must be 'yosys', 'vivado' or 'vitis', not 'quartus'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_are_refused_in_one_line(
    options: list[str], part: str, sweep: Sweep, at: list[str], database: Dump
) -> None:
    before = database()
    for dry in ([], ["--dry-run"]):
        said = sweep("promote", *at, *options, *dry, "--json")
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert part in said.err
    assert database() == before, "nothing was queued"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--top", "0"], "--top"),
        (["--top", "many"], "--top"),
        (["--under", "cheap"], "--under"),
        (["--trial", "1.5"], "--trial"),
        (["--seeds", "-1"], "--seeds"),
        (["--polcy", "knee"], "No such option"),
        (["more"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_are_none(
    options: list[str], part: str, sweep: Sweep, at: list[str], database: Dump
) -> None:
    before = database()
    said = sweep("promote", *at, *options)
    assert (said.code, said.out) == (2, "")
    assert part in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert database() == before


@pytest.mark.parametrize("command", ["promote", "synthesize", "calibration"])
def test_a_study_that_is_not_there(command: str, sweep: Sweep, at: list[str], database: Dump) -> None:
    before = database()
    said = sweep(command, "smal", *at[1:])
    assert (said.code, said.out) == (2, "")
    assert said.err == ("error: study 'smal' is not in the database (there: small); `sweep run` makes one\n")
    assert database() == before


@pytest.mark.parametrize("command", ["promote", "synthesize", "calibration"])
def test_a_database_that_is_not_there(command: str, sweep: Sweep, tmp_path: Path) -> None:
    said = sweep(command, "small", "--storage", f"sqlite:///{tmp_path / 'none.db'}")
    assert (said.code, said.out) == (2, "")
    assert "there is no such database yet" in said.err
    assert not (tmp_path / "none.db").exists()


def test_an_empty_study_has_nothing_to_promote(sweep: Sweep, study: Study, storage_url: str) -> None:
    said = sweep("promote", "hand-made", "--storage", storage_url)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: study 'hand-made' has no feasible point yet to promote")
    assert jobs_of(study) == []


def test_a_study_may_be_named_by_its_file(
    sweep: Sweep, small: Study, at: list[str], tmp_path: Path, database: Dump
) -> None:
    """A dry run shows what promotion by that file would do, and still writes nothing."""
    content = small.file.model_dump(mode="json") | {"promotion": {"policy": "named", "trials": [3]}}
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump(content))
    before = database()
    assert trials(sweep("promote", file, *at[1:], "--dry-run", "--json")) == [3]
    assert database() == before
    assert trials(sweep("promote", file, *at[1:], "--json")) == [3]
