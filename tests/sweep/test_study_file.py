"""A study file is a study or one clear line, whatever stands in it."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from objectives.data.config import H5Source
from objectives.teacher_config import TeacherConfig
from sweep.errors import StudyFileError
from sweep.study_file import (
    COSTS,
    MAX_BYTES,
    REFERENCE,
    SCORES,
    StudyFile,
    direction_of,
    find_study_file,
    load_study_file,
    packaged_studies,
    parse_study,
    read_yaml,
)
from sweep.variants import load_studies

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

HERE = Path("some.yaml")
VALID: dict[str, Any] = {
    "study": "one",
    "description": "two\nlines",
    "dataset": {
        "source": {"kind": "pythia", "zero_bias": 1000, "signals": ["tt"], "pileup": [20, 65.0]},
        "split": {"train": 0.4, "validation": 0.2, "test": 0.3, "synthesis": 0.1},
    },
    "teacher": {"epochs": 2},
    "student": {"family": ["cicada-v1", "cicada-v2"], "hidden": {"low": 8, "high": 16, "step": 4}},
    "quantization": {"weights": {"bits": [4, 6, 8], "granularity": "layer"}},
    "training": {"beta": {"initial": 1e-7, "final": {"low": 1e-7, "high": 1e-2, "log": True}}},
    "objectives": ["mean_auc", "efficiency@3kHz", "lut"],
    "constraints": {"latency_ns": {"max": 200}, "worst_auc": {"min": 0.7}},
    "hardware": {"clock_ns": 5},
    "sampler": {"name": "nsga2", "population": 8, "first": [{"student.hidden": 8}]},
    "continuation": {"share": 0.5},
    "budget": {"trials": 4, "core_hours": None},
    "seed": 3,
    "reference_point": [0.5, 0, 20000],
    "promotion": {"policy": "budget", "limits": [2000, 5000]},
    "synthesis": {"tool": "vivado"},
}


def with_value(path: str, value: Any) -> dict[str, Any]:
    """Return VALID with another value at a dotted path."""
    content = copy.deepcopy(VALID)
    *parents, last = path.split(".")
    branch: Any = content
    for parent in parents:
        branch = branch.setdefault(parent, {})
    branch[last] = value
    return content


def without(path: str) -> dict[str, Any]:
    content = with_value(path, None)
    *parents, last = path.split(".")
    branch: Any = content
    for parent in parents:
        branch = branch[parent]
    del branch[last]
    return content


def complaint_about(content: dict[str, Any]) -> str:
    with pytest.raises(StudyFileError) as refused:
        parse_study(content, HERE)
    assert_one_line(str(refused.value))
    return str(refused.value)


def assert_one_line(message: str) -> None:
    assert message.splitlines() == [message]
    assert message.isprintable()
    assert len(message) < 700
    assert "pydantic" not in message
    assert "Input should" not in message


# ---- what is refused ----------------------------------------------------------------------------

H5 = {"kind": "h5", "zero_bias": ["zb.h5"], "signals": {"tt": ["tt.h5"]}, "exposure": {"suep": ["s.h5"]}}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (without("study"), "study", "this key is required"),
    (without("dataset"), "dataset", "this key is required"),
    (without("objectives"), "objectives", "this key is required"),
    (without("budget"), "budget", "this key is required"),
    (without("budget.trials"), "budget.trials", "this key is required"),
    (with_value("study", "a b"), "study", "letters, digits"),
    (with_value("study", "../etc"), "study", "letters, digits"),
    (with_value("study", "x" * 65), "study", "1 to 64"),
    (with_value("study", 8), "study", "must be text, not 8"),
    (with_value("seed", "8"), "seed", "must be a whole number, not '8'"),
    (with_value("seed", True), "seed", "must be a whole number, not true"),
    (with_value("seed", 8.0), "seed", "must be a whole number, not 8.0"),
    (with_value("seed", -1), "seed", "must be greater than or equal to 0, not -1"),
    (with_value("seed", None), "seed", "must be a whole number, not null"),
    (with_value("colour", 1), "colour", "unknown key, allowed here: study, description"),
    (with_value("objective", ["lut"]), "objective", "(did you mean objectives?), allowed"),
    (with_value("student.filtres", 4), "student.filtres", "did you mean filters?"),
    (with_value("student.family", "cicada-v3"), "student.family", "'cicada-v1' or 'cicada-v2'"),
    (with_value("student", None), "student", "must be a mapping"),
    (with_value("student", [1]), "student", "must be a mapping"),
    (with_value("quantization.weights.bits", [4, 99]), "quantization.weights.bits", "choice 99"),
    (with_value("quantization.bits", 4), "quantization.bits", "allowed here: scheme, weights, data"),
    (with_value("training.beta.initial", 1e-6), "training.beta.initial", "low end, 1e-07, not 1e-06"),
    (with_value("training.beta", {"initial": 1e-2, "final": 1e-3}), "training.beta", "final >= initial"),
    (with_value("training.beta.shedule", "constant"), "training.beta.shedule", "did you mean schedule?"),
    (
        with_value("student", {"family": "cicada-v1", "kernel": [2, 3]}),
        "student.kernel",
        "decides nothing unless student.family is cicada-v2",
    ),
    (with_value("dataset.source.kind", "root"), "dataset.source.kind", "must be pythia or h5"),
    (without("dataset.source.kind"), "dataset.source.kind", "must be pythia or h5"),
    (with_value("dataset.source.zero_bias", 5), "dataset.source.zero_bias", "greater than or equal to 100"),
    (with_value("dataset.source.signals", ["tt", "h"]), "dataset.source.signals[1]", "must be 'tt', "),
    (with_value("dataset.source.signals", []), "dataset.source.signals", "must list at least 1"),
    (with_value("dataset.source.signal", ["tt"]), "dataset.source.signal", "did you mean signals?"),
    (with_value("dataset.source.pileup", [65, 20]), "dataset.source", "pileup must be [low, high]"),
    (with_value("dataset.source", H5 | {"zero_bias": "zb.h5"}), "dataset.source.zero_bias", "must be a list"),
    (
        with_value("dataset.source", H5 | {"signals": {"tt": [1]}}),
        "dataset.source.signals.tt[0]",
        "must be text",
    ),
    (with_value("dataset.source", H5 | {"h5": 1}), "dataset.source.h5", "unknown key"),
    (with_value("dataset.split.train", 0.5), "dataset.split", "must be 1, not 1.1"),
    (with_value("dataset.source", H5 | {"exposure": {}}), "training.exposure_fraction", "must be 0"),
    (with_value("dataset.deposits", -1), "dataset.deposits", "greater than or equal to 0, not -1"),
    (with_value("dataset.deposits", 10_000_001), "dataset.deposits", "less than or equal to 10000000, not"),
    (with_value("dataset.deposits", 3.5), "dataset.deposits", "must be a whole number, not 3.5"),
    (with_value("dataset.deposits", True), "dataset.deposits", "must be a whole number, not true"),
    (with_value("dataset.deposits", [0, 9]), "dataset.deposits", "must be a whole number"),
    (with_value("dataset.deposit", 9), "dataset.deposit", "did you mean deposits?"),
    (
        with_value("dataset", {"source": H5 | {"exposure": {"deposits": ["s.h5"]}}, "deposits": 9}),
        "dataset",
        "source.exposure.deposits has the name of the events that `deposits: 9` makes; give that class",
    ),
    (with_value("objectives", "lut"), "objectives", "must be a list"),
    (with_value("objectives", ["lut"]), "objectives", "must list at least 2"),
    (with_value("objectives", ["lut", "dsp"]), "objectives", "at least one score"),
    (with_value("objectives", ["mean_auc", "worst_auc"]), "objectives", "one cost"),
    (with_value("objectives", ["lut", "mean_auc", "lut"]), "objectives", "lut is listed twice"),
    (with_value("objectives", ["mean_acu", "lut"]), "objectives[0]", "did you mean mean_auc?"),
    (with_value("objectives", ["efficiency@3.0kHz", "lut"]), "objectives[0]", "write efficiency@3kHz"),
    (with_value("objectives", ["efficiency@0kHz", "lut"]), "objectives[0]", "above 0"),
    (with_value("objectives", ["efficiency@99999kHz", "lut"]), "objectives[0]", "at most 28607 kHz"),
    (with_value("objectives", ["efficiency", "lut"]), "objectives[0]", "unknown metric 'efficiency'"),
    (with_value("constraints.area", {"max": 1}), "constraints.area", "unknown metric 'area'"),
    (with_value("constraints.lut", {"min": 1}), "constraints.lut", "takes max"),
    (with_value("constraints.mean_auc", {"max": 0.9}), "constraints.mean_auc", "takes min"),
    (with_value("constraints.lut", {}), "constraints.lut", "either min (of a score) or max"),
    (with_value("constraints.lut", {"max": 0}), "constraints.lut.max", "above 0"),
    (with_value("constraints.lut", {"max": "9"}), "constraints.lut.max", "must be a number"),
    (with_value("constraints.lut", {"maxx": 9}), "constraints.lut.maxx", "did you mean max?"),
    (with_value("constraints.mean_auc", {"min": 1.5}), "constraints.mean_auc.min", "0 to below 1"),
    (with_value("reference_point", [0.5, 100]), "reference_point", "must have 3 entries"),
    (with_value("reference_point", [20000, 0, 0.5]), "reference_point", "mean_auc is a score"),
    (with_value("hardware.clock_ns", 0), "hardware.clock_ns", "must be greater than 0"),
    (with_value("hardware.part", "x; exec rm"), "hardware.part", "must match pattern"),
    (with_value("sampler.name", "gp"), "sampler.name", "'tpe', 'nsga2', 'nsga3' or 'random'"),
    (with_value("sampler.first", {}), "sampler.first", "must be a list, not a mapping"),
    (with_value("sampler.first", [8]), "sampler.first[0]", "must be a mapping of keys to values, not 8"),
    (
        with_value("sampler.first", [{}, {"student.hiden": 8}]),
        "sampler.first[1].student.hiden",
        "this study does not search it",
    ),
    (
        with_value("sampler.first", [{"training.epochs": 80}]),  # the study's own value, and fixed
        "sampler.first[0].training.epochs",
        "this study does not search it",
    ),
    (
        with_value("sampler.first", [{"student": {"hidden": 8}}]),
        "sampler.first[0].student",
        "this study does not search it",
    ),
    *(
        (
            with_value("sampler.first", [{"student.hidden": value}]),
            "sampler.first[0].student.hidden",
            f"{shown} is outside 8..16",
        )
        for value, shown in [(9, "9"), (20, "20"), (8.0, "8.0"), ("8", "'8'"), (None, "null"), ([8], "[8]")]
    ),
    *(
        (
            with_value("sampler.first", [{"quantization.weights.bits": value}]),
            "sampler.first[0].quantization.weights.bits",
            f"{shown} is outside [4, 6, 8]",
        )
        for value, shown in [(5, "5"), (True, "true"), ({"low": 4, "high": 6}, "a mapping")]
    ),
    (with_value("continuation", 0.5), "continuation", "must be a mapping of keys to values, not 0.5"),
    (with_value("continuation.share", 1), "continuation.share", "must be less than 1, not 1"),
    (with_value("continuation.share", -0.1), "continuation.share", "greater than or equal to 0, not -0.1"),
    (with_value("continuation.share", [0, 0.5]), "continuation.share", "must be a number"),
    (with_value("continuation.share", True), "continuation.share", "must be a number, not true"),
    (with_value("continuation.epochs", 0), "continuation.epochs", "greater than or equal to 1, not 0"),
    (with_value("continuation.epochs", 2.5), "continuation.epochs", "must be a whole number, not 2.5"),
    (with_value("continuation.epoch", 40), "continuation.epoch", "did you mean epochs?"),
    (with_value("budget.trials", 0), "budget.trials", "greater than or equal to 1"),
    (with_value("promotion", {"policy": "budget"}), "promotion", "limits must be given with policy budget"),
    (with_value("promotion", {"trials": [1]}), "promotion", "trials must be given with policy named"),
    (
        with_value("promotion", {"policy": "knee", "cost": "lut"}),
        "promotion",
        "cost names the cost that the limits of policy budget are on",
    ),
    (with_value("promotion.cost", "mean_auc"), "promotion", "cost names the cost"),
    (with_value("promotion.cost", "efficiency@3kHz"), "promotion", "cost names the cost"),
    (with_value("promotion.cost", "luts"), "promotion.cost", "did you mean lut?"),
    (with_value("promotion.cost", 3), "promotion.cost", "must be text"),
    (with_value("promotion.limits", [2000, 0]), "promotion.limits[1]", "must be greater than 0"),
    (with_value("promotion.limits", 2000), "promotion.limits", "must be a list"),
    (with_value("promotion", {"policy": "named", "trials": [-1]}), "promotion.trials[0]", "equal to 0"),
    (with_value("promotion", {"policy": "named", "trials": [1.5]}), "promotion.trials[0]", "whole number"),
    (with_value("promotion.seeds", -1), "promotion.seeds", "greater than or equal to 0, not -1"),
    (with_value("promotion.seeds", 101), "promotion.seeds", "less than or equal to 100, not 101"),
    (with_value("promotion.seeds", True), "promotion.seeds", "must be a whole number"),
    (with_value("promotion.seed", 1), "promotion.seed", "did you mean seeds?"),
    (with_value("synthesis.tool", "quartus"), "synthesis.tool", "'yosys', 'vivado' or 'vitis'"),
    (with_value("synthesis.stage", "placed"), "synthesis.stage", "'synthesized' or 'routed'"),
    (with_value("synthesis", {"stage": "routed"}), "synthesis", "yosys does not place and route"),
    (with_value("synthesis.dsp", True), "synthesis", "dsp is for yosys, not vivado"),
    (with_value("synthesis", {"dsp": 1}), "synthesis.dsp", "must be true or false"),
    (
        with_value("synthesis.strategy", "distributed_arithmetic"),
        "synthesis",
        "strategy is for vitis, not vivado",
    ),
    (
        with_value("synthesis", {"tool": "vitis", "strategy": "resource"}),
        "synthesis.strategy",
        "'latency' or 'distributed_arithmetic'",
    ),
    (with_value("synthesis.memory_gib", 0), "synthesis.memory_gib", "must be greater than 0"),
    (with_value("synthesis.memory_gib", "16G"), "synthesis.memory_gib", "must be a number"),
    (with_value("synthesis.timeout_s", 0), "synthesis.timeout_s", "must be greater than 0"),
    (with_value("synthesis", {"keep_checkpoint": True}), "synthesis", "keep_checkpoint is for"),
    (with_value("synthesis.calibration", "no"), "synthesis.calibration", "must be true or false"),
    (with_value("synthesis.calibrate", False), "synthesis.calibrate", "did you mean calibration?"),
    (with_value("constraints.lut", {"max": 9, "at": "top"}), "constraints.lut.at", "'value' or 'upper'"),
    (
        with_value("constraints.worst_auc", {"min": 0.7, "at": "upper"}),
        "constraints.worst_auc",
        "at: upper is for a cost's max",
    ),
    (with_value("constraints.lut", {"at": "upper"}), "constraints.lut", "either min (of a score) or max"),
    (with_value("teacher.file", 3), "teacher.file", "must be text, not 3"),
    (with_value("line\nbreak\x1b[2J", 3), '"line\\nbreak\\u001b[2J"', "unknown key"),
]


@pytest.mark.parametrize(("content", "path", "what"), REFUSED, ids=[path for _, path, _ in REFUSED])
def test_refused(content: dict[str, Any], path: str, what: str) -> None:
    message = complaint_about(content)
    assert message.startswith(f"some.yaml: {path}: ")
    assert what in message


def test_the_first_complaint_counts_the_others() -> None:
    content = with_value("seed", -1) | {"sede": 1, "study": ""}
    assert "more" not in complaint_about(with_value("objectives", ["mean_acu", "lut"]))
    assert complaint_about(content).startswith("some.yaml: sede: unknown key (did you mean seed?), ")
    assert complaint_about(content).endswith(" (and 2 more)")


YAML_REFUSED = [
    (b"", "is empty"),
    (b"# nothing\n", "is empty"),
    (b"- a\n- b\n", "line 1: a study file is a mapping"),
    (b"study", "line 1: a study file is a mapping"),
    (b"a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
    (b"a: {b: 1, b: 2}\n", "line 1: the key 'b' is given twice"),
    (b"a:\n\tb: 1\n", "line 2: is indented with a tab, use spaces"),
    (b"a: [1, 2\n", "is not YAML"),
    (b"a: 'x\n", "is not YAML"),
    (b"a: 1\n---\nb: 2\n", "is not YAML"),
    (b"a: \xff\n", "is not UTF-8 text, see byte 3"),
    ("a: 1\n".encode("utf-16"), "is not UTF-8"),
    (b"a: &x [1]\nb: *x\n", "line 2: an alias"),
    (b"a: &x {b: *x}\n", "line 1: an alias"),
    (b"a: " + b"[" * 2000, "nested deeper than 32 levels"),
    (b"- " * 2000, "nested deeper than 32 levels"),
    (b"a: !!python/object/apply:os.system [ls]\n", "line 1: the tag"),
    (b"a: !!binary aGk=\n", "line 1: the tag"),
    (b"a: !!int x\n", "line 1: 'x' is not a number"),
    (b"a: !!bool maybe\n", "neither true nor false"),
    (b"1: a\n", "the key 1 is not text"),
    (b"? [a]\n: b\n", "is not text"),
    (b"? {a: b}\n: b\n", "is not text"),
    (b"a: .nan\n", ".nan is not a finite number"),
    (b"a: -.inf\n", "-.inf is not a finite number"),
    (b"a: 1e999\n", "not a finite number"),
    (b"a: " + b"9" * 5000, "is not a number"),
    (b"a: 9223372036854775808\n", "beyond 64 bits"),
    (b'a: "\\0"\n', "control characters"),
    (b'a: "\\uD800"\n', "control characters"),
    (b'a: "\\UFFFFFFFF"\n', "is not YAML"),
    (b"a: \x07\n", "is not YAML"),
    (b"%YAML 9.9\n---\na: 1\n", "is not YAML"),
]


@pytest.mark.parametrize(("text", "what"), YAML_REFUSED, ids=range(len(YAML_REFUSED)))
def test_yaml_refused(text: bytes, what: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(text)
    with pytest.raises(StudyFileError) as refused:
        load_study_file(file)
    assert_one_line(str(refused.value))
    assert str(refused.value).startswith(f"{file}: ")
    assert what in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (MAX_BYTES + 1))
    for path, what in (
        (big, "is larger than"),
        (tmp_path, "directory"),
        (tmp_path / "none.yaml", "No such file"),
        (Path("a\0b"), "is not the name of a file"),
        (Path("new\nline"), "No such file"),
    ):
        with pytest.raises(StudyFileError, match=what) as refused:
            load_study_file(path)
        assert_one_line(str(refused.value))


# ---- what YAML means here -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-7", 1e-7),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("1.5", 1.5),
        ("60_000", 60000),
        ("-12", -12),
        ("0x1F", 31),
        ("0", 0),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2026-11-05", "2026-11-05"),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ('"1e-7"', "1e-7"),
        ("'true'", "true"),
        ("e5", "e5"),
        (".", "."),
        ("<<", "<<"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = read_yaml(f"a: {text}\n".encode(), "file")["a"]
    assert found == value
    assert type(found) is type(value)


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read_yaml("\ufeffa: 1".encode(), "file") == {"a": 1}


@quick
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back(value: float) -> None:
    for text in (repr(value), f"{value:.17e}", f"{value:.17E}"):
        assert read_yaml(f"a: {text}".encode(), "file") == {"a": value}


# ---- nothing but StudyFileError -----------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["cicada-v1", "parameter", "lut", "mean_auc", "~", "~x/y", "h5", "kind"])
)
KEYS = st.text(max_size=5) | st.sampled_from(
    ["low", "high", "log", "step", "kind", "final", "max", "lut", "h5"]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def read(content: bytes) -> StudyFile | None:
    """Return the study of `content`, None if it is refused as it should be."""
    try:
        return parse_study(read_yaml(content, "some.yaml"), HERE)
    except StudyFileError as refused:
        assert_one_line(str(refused))
        assert str(refused).startswith("some.yaml: ")
        return None


def places(content: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in `content`."""
    if not isinstance(content, dict | list):
        return []
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    return [(content, key) for key in keys] + [place for key in keys for place in places(content[key])]


@quick
@given(JSON | st.dictionaries(st.sampled_from(sorted(StudyFile.model_fields)), JSON))
def test_any_structure(content: Any) -> None:
    read(yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass"))


@quick
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(content: bytes) -> None:
    read(content)


@quick
@given(st.data())
def test_any_change_of_a_value(data: st.DataObject) -> None:
    content = copy.deepcopy(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(content)))
        match data.draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                container[key] = data.draw(JSON)
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[data.draw(KEYS)] = data.draw(JSON)
            case _:
                container.append(data.draw(JSON))
        if not places(content):
            break
    study = read(json.dumps(content).encode())
    if study is not None:
        assert StudyFile.model_validate_json(study.model_dump_json(), strict=True) == study


@quick
@given(st.data())
def test_any_change_of_the_text(data: st.DataObject) -> None:
    text = packaged_studies()["quickstart"].read_bytes()
    at = data.draw(st.integers(0, len(text)))
    gone = data.draw(st.integers(0, 12))
    read(
        text[:at]
        + data.draw(st.binary(max_size=6) | st.sampled_from([b"\t", b"*", b"&", b"{", b": "]))
        + text[at + gone :]
    )


# ---- what is read -------------------------------------------------------------------------------


def test_what_is_read() -> None:
    study = parse_study(VALID, HERE)
    assert study.directions == ("maximize", "maximize", "minimize")
    assert study.reference == (0.5, 0.0, 20000.0)
    assert study.hardware.clock_ns == 5.0
    space = study.recipe_space()
    assert space.fixed["quantization.weights.granularity"] == "layer"
    assert set(space.distributions) == {
        "student.family",
        "student.hidden",
        "quantization.weights.bits",
        "training.beta.final",
    }
    assert StudyFile.model_validate_json(study.model_dump_json(), strict=True) == study


ACCEPTED: list[tuple[dict[str, Any], str, Any]] = [
    (with_value("promotion.cost", "dsp"), "promotion.cost", "dsp"),
    (without("promotion.limits") | {"promotion": {}}, "promotion.cost", None),
    (with_value("promotion.seeds", 3), "promotion.seeds", 3),
    (with_value("promotion", {"policy": "knee", "seeds": 0}), "promotion.seeds", 0),
    (with_value("synthesis.stage", "routed"), "synthesis.stage", "routed"),
    (with_value("synthesis", {"tool": "vitis", "stage": "routed"}), "target.stage", "routed"),
    (with_value("synthesis", {}), "target.stage", "synthesized"),
    (with_value("synthesis", {"dsp": True}), "target.dsp", True),
    (with_value("synthesis.dsp", False), "target.dsp", False),
    (
        with_value("synthesis", {"tool": "vitis", "strategy": "distributed_arithmetic"}),
        "target.strategy",
        "distributed_arithmetic",
    ),
    (with_value("synthesis.memory_gib", 0.5), "synthesis.memory_gib", 0.5),
    (with_value("synthesis.keep_checkpoint", True), "synthesis.keep_checkpoint", True),
    (with_value("synthesis.calibration", False), "synthesis.calibration", False),
    (with_value("synthesis", {}), "synthesis.calibration", True),
]


@pytest.mark.parametrize(("content", "path", "value"), ACCEPTED, ids=[path for _, path, _ in ACCEPTED])
def test_the_second_stage_is_read(content: dict[str, Any], path: str, value: Any) -> None:
    found: Any = parse_study(content, HERE)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_what_comes_first_and_how_it_goes_on_is_read() -> None:
    first = [{"student.family": "cicada-v1", "student.hidden": 12}, {"training.beta.final": 1e-3}, {}]
    content = with_value("sampler.first", first) | {"continuation": {"share": 0, "epochs": 7}}
    study = parse_study(content, HERE)
    assert study.sampler.first == tuple(first)
    assert (study.continuation.share, study.continuation.epochs) == (0, 7)
    assert StudyFile.model_validate_json(study.model_dump_json(), strict=True) == study
    assert parse_study(without("sampler.first"), HERE).sampler.first == ()


def test_a_bound_is_on_the_value_or_on_the_upper_end() -> None:
    study = parse_study(with_value("constraints.lut", {"max": 900, "at": "upper"}), HERE)
    assert study.constraints["lut"].at == "upper"
    assert study.constraints["latency_ns"].at == study.constraints["worst_auc"].at == "value"


def test_what_decides_no_figure_is_no_part_of_a_target() -> None:
    """Else a design would be synthesized again for another time limit."""
    target = parse_study(VALID, HERE).target
    for path, value in (
        ("synthesis.timeout_s", 60),
        ("synthesis.memory_gib", 2),
        ("synthesis.keep_checkpoint", True),
        ("synthesis.calibration", False),
        ("hardware.compile_timeout_s", 5),
        ("seed", 9),
        ("promotion.seeds", 2),
    ):
        assert parse_study(with_value(path, value), HERE).target.digest() == target.digest(), path
    for path, value in (
        ("synthesis.tool", "yosys"),
        ("synthesis.stage", "routed"),
        ("hardware.clock_ns", 4),
        ("hardware.part", "xcvu13p-flga2577-2-e"),
    ):
        assert parse_study(with_value(path, value), HERE).target.digest() != target.digest(), path


def test_metrics() -> None:
    assert {direction_of(name) for name in COSTS} == {"minimize"}
    assert {direction_of(name) for name in (*SCORES, "efficiency@3kHz")} == {"maximize"}
    assert set(REFERENCE) == {*SCORES, *COSTS}
    for score in (*SCORES, "efficiency@0.5kHz"):
        for cost in COSTS:
            study = parse_study(without("reference_point") | {"objectives": [cost, score]}, HERE)
            assert study.reference == (REFERENCE[cost], REFERENCE.get(score, 0))


def test_the_digest_is_of_what_is_meant_not_of_how_it_is_written() -> None:
    study = parse_study(VALID, HERE)
    same = with_value("teacher", {"epochs": 2, "batch": 512, "learning_rate": 0.001})
    same["student"] = {"hidden": {"step": 4, "high": 16, "low": 8}, "family": ["cicada-v1", "cicada-v2"]}
    same["training"] |= {"epochs": [80], "restarts": {"low": 0, "high": 0}}
    same["synthesis"] = {"tool": "vivado", "timeout_s": 7200}
    assert parse_study(same, Path("elsewhere/other.yaml")).digest() == study.digest()
    assert parse_study(with_value("seed", 4), HERE).digest() != study.digest()


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    content = with_value("dataset.source", H5 | {"zero_bias": ["zb.h5", "/data/zb.h5", "~/zb.h5"]})
    content["teacher"] = {"file": "../teacher.keras"}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path.parent)
    study = load_study_file(Path(os.path.relpath(file)))
    assert isinstance(study.dataset.source, H5Source)
    assert study.dataset.source.zero_bias == (
        tmp_path / "zb.h5",
        Path("/data/zb.h5"),
        Path("/home/someone/zb.h5"),
    )
    assert study.dataset.source.signals == {"tt": (tmp_path / "tt.h5",)}
    assert study.teacher == TeacherConfig(file=tmp_path / "../teacher.keras")


def test_without_exposure_the_fraction_is_zero() -> None:
    content = with_value("dataset.source", H5 | {"exposure": {}})
    content["training"]["exposure_fraction"] = 0
    parse_study(content, HERE)
    content["training"]["exposure_fraction"] = [0, 0.1]
    assert "training.exposure_fraction: must be 0" in complaint_about(content)


@pytest.mark.parametrize("source", [H5 | {"exposure": {}}, {"kind": "pythia", "exposure": []}])
@pytest.mark.parametrize("fraction", [0.3, [0, 0.1], {"low": 0.1, "high": 0.4}])
def test_deposits_are_exposure(source: dict[str, Any], fraction: Any) -> None:
    content = with_value("dataset", {"source": source, "deposits": 10_000_000})
    content["training"]["exposure_fraction"] = fraction
    assert parse_study(content, HERE).dataset.deposits == 10_000_000
    content["dataset"]["deposits"] = 0
    assert "without exposure events or deposits" in complaint_about(content)


# ---- studies that come with the package ---------------------------------------------------------


@pytest.mark.parametrize("name", packaged_studies())
def test_packaged_studies(name: str) -> None:
    studies = load_studies(find_study_file(name))
    assert all(variant.file.study.startswith(name) for variant in studies)
    # Of several studies in one file, which have one budget, one may be there to compare with.
    searched = [bool(variant.file.recipe_space().distributions) for variant in studies]
    assert any(searched) or studies[0].file.budget.trials == 1


def test_quickstart_is_among_them() -> None:
    assert {"quickstart", "cicada-v1-hgq", "cicada-v2-hgq"} <= set(packaged_studies())


def test_what_the_full_study_calls_a_default_is_one() -> None:
    """`cicada-v2-hgq` says of its fixed values that they are the defaults."""
    study = load_study_file(find_study_file("cicada-v2-hgq"))
    bare = parse_study(
        {"study": "bare", "dataset": {}, "objectives": ["mean_auc", "lut"], "budget": {"trials": 1}}, HERE
    )
    assert study.hardware == bare.hardware
    assert study.synthesis == bare.synthesis
    assert study.reference == bare.reference
    assert study.continuation == bare.continuation
    assert study.sampler.first == bare.sampler.first
    assert study.dataset.split == bare.dataset.split
    defaults, fixed = bare.recipe_space().fixed, study.recipe_space().fixed
    assert {path: defaults[path] for path in fixed} == fixed


def test_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "bare").write_text("")
    assert find_study_file("quickstart") == packaged_studies()["quickstart"]
    assert find_study_file("mine.yaml") == Path("mine.yaml")
    assert find_study_file("./mine.yaml") == Path("mine.yaml")
    assert find_study_file("bare") == Path("bare")
    assert find_study_file(tmp_path / "mine.yaml") == tmp_path / "mine.yaml"
    for name in ("quikstart", "quickstart.yaml", "mine", "", "a\0b", "no\nsuch"):
        with pytest.raises(StudyFileError, match="there is no such study file") as refused:
            find_study_file(name)
        assert_one_line(str(refused.value))
    with pytest.raises(StudyFileError, match=r"did you mean quickstart\?"):
        find_study_file("quikstart")
