"""Study files: one YAML file says everything that a study needs, and is refused if it cannot be.

``load_study_file`` reads one. All that can be wrong with it ends in a `StudyFileError` of one line::

    cicada.yaml: quantization.weights.bits: choice 99: must be less than or equal to 16, not 99

The YAML is YAML 1.2's core: only ``true`` and ``false`` are booleans, ``1e-7`` is a number, and
``010`` is neither eight nor ten. Aliases, tags and keys given twice are refused.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, cast, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from objectives.config import Config
from objectives.costs.config import Hardware
from objectives.data.config import DatasetConfig
from objectives.quantization import Quantization
from objectives.scores import BUNCH_RATE_KHZ, WORKING_POINT_KHZ
from objectives.students.architecture import Architecture
from objectives.teacher_config import TeacherConfig
from objectives.training.config import Training
from sweep.errors import SearchSpaceError, StudyFileError
from sweep.search.space import Searchable, SearchableRecipe, SearchSpace, explain, searchable, show
from sweep.synthesis.target import Stage, Strategy, Target, ToolName

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
#: Keys of a file that holds several studies (`sweep.variants`).
VARIANTS, SEEDS = "variants", "seeds"

Direction = Literal["maximize", "minimize"]

#: What the student of `start_from` brings: its network, and the first bitwidths.
DECIDED_BY_START = (
    *(f"student.{name}" for name in ("family", "filters", "kernel", "stride", "hidden", "hidden_2")),
    *(f"quantization.weights.{name}" for name in ("bits", "integer_bits")),
    *(f"quantization.data.{name}" for name in ("integer_bits", "fractional_bits")),
)

#: Default reference points for the hypervolume. A score counts from what chance reaches. A cost
#: counts below what nobody would deploy: 20,000 LUT is nearly twice the legacy student; the HLS
#: estimates reach past those published; 3600 is every DSP of the default part.
REFERENCE: Mapping[str, float] = {
    "mean_auc": 0.5,
    "worst_auc": 0.5,
    "lut": 20_000,
    "dsp": 3_600,
    "lut_equivalent": 20_000,
    "ff": 20_000,
    "ebops": 200_000,
    "latency_ns": 500,
    "hls_lut": 200_000,
    "hls_dsp": 3_600,
    "hls_lut_equivalent": 250_000,
}
SCORES = ("mean_auc", "worst_auc")
COSTS = tuple(name for name in REFERENCE if name not in SCORES)

_EFFICIENCY = re.compile(r"efficiency@([0-9]+(?:\.[0-9]+)?)kHz")


# ---- the schema ---------------------------------------------------------------------------------


def trigger_rate_khz(metric: str) -> float | None:
    """Return the rate of an ``efficiency@<rate>kHz``, None for another metric.

    >>> trigger_rate_khz("efficiency@3kHz")
    3.0
    """
    found = _EFFICIENCY.fullmatch(metric)
    return float(found[1]) if found else None


def direction_of(metric: str) -> Direction:
    """Scores are maximized, costs minimized."""
    return "minimize" if metric in COSTS else "maximize"


def _metric(name: str) -> str:
    rate = trigger_rate_khz(name)
    if rate is not None:
        spelled = f"efficiency@{rate:g}kHz"
        if not 0 < rate <= BUNCH_RATE_KHZ:
            raise ValueError(f"the rate of {name} must be above 0 and at most {BUNCH_RATE_KHZ:.0f} kHz")
        if name != spelled:
            raise ValueError(f"write {spelled}, not {name}")  # one metric, one name
    elif name not in SCORES and name not in COSTS:
        allowed = [*SCORES, "efficiency@3kHz (or another rate)", *COSTS]
        raise ValueError(
            f"unknown metric {show(name)}{_hint(name, [*SCORES, *COSTS])}, use {_either(allowed)}"
        )
    return name


def _study_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError(
            f"must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit, not {show(name)}"
        )
    return name


Metric = Annotated[str, AfterValidator(_metric)]


def _start(text: str | Path) -> str | Path:
    # A folder that is called like a trial is written ./NAME/NUMBER.
    return str(text) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*/[0-9]+", str(text)) else Path(text)


class Bound(Config):
    """What a student must keep to: `min` for a score, `max` for a cost.

    With `at: upper` a cost is held against the upper end of its calibrated 90 % interval, once
    there is one.
    """

    min: float | None = None
    max: float | None = None
    at: Literal["value", "upper"] = "value"

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("give either min (of a score) or max (of a cost)")
        if self.at == "upper" and self.max is None:
            raise ValueError("at: upper is for a cost's max")
        return self


class Sampler(Config):
    """How Optuna chooses the next student. Each worker's seed is derived from the study's.

    The runs that come `first` have the parameters given there, by their dotted paths; what is not
    given is drawn. The first `startup_trials` are drawn at random by `tpe`; `population` is the
    generation of `nsga2` and `nsga3`. Of the runs that begin anew, a share of `neighbours` tries a
    network of the front with a choice or two drawn anew; `random` knows no front.
    """

    name: Literal["tpe", "nsga2", "nsga3", "random"] = "tpe"
    first: tuple[dict[str, Any], ...] = ()
    startup_trials: int = Field(default=8, ge=1, le=100_000)
    population: int = Field(default=24, ge=2, le=100_000)
    neighbours: float = Field(default=0.75, ge=0, le=1)


class Budget(Config):
    """When a study is done: after `trials` training runs, or `core_hours` of them if given."""

    trials: int = Field(ge=1, le=10_000_000)
    core_hours: float | None = Field(default=None, gt=0)


class Harvest(Config):
    """What a training run gives the study besides its end: at most `points` students.

    With `whole_ramps`, runs that start anew take beta to the high end of its range: a ramp that ends lower
    gives nothing that this one does not pass.
    """

    points: int = Field(default=8, ge=1, le=1000)
    whole_ramps: bool = True


class Continuation(Config):
    """Runs that go on from a point of the front, and their `epochs`.

    `share` is that of all runs while the front is fresh; the more often runs have gone on from it, the
    more begin anew.
    """

    share: float = Field(default=0.75, ge=0, lt=1)
    epochs: int = Field(default=40, ge=1, le=100_000)


class Promotion(Config):
    """Which points of the front become candidates for synthesis, the second stage.

    `hypervolume` takes the `size` points that together cover most of the front's hypervolume,
    `knee` those around its knee, `budget` the best-scoring point under each of `limits` on `cost`
    (default: the first cost objective), `named` the points of the `trials` listed. With `seeds`,
    each candidate is trained again from that many other seeds, to know the spread.
    """

    policy: Literal["hypervolume", "knee", "budget", "named"] = "hypervolume"
    size: int = Field(default=8, ge=1, le=10_000)
    limits: tuple[Annotated[float, Field(gt=0)], ...] = ()
    cost: Metric | None = None
    trials: tuple[Annotated[int, Field(ge=0)], ...] = ()
    seeds: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def _policy_has_what_it_needs(self) -> Self:
        for policy, key in (("budget", "limits"), ("named", "trials")):
            if (self.policy == policy) != bool(getattr(self, key)):
                raise ValueError(f"{key} must be given with policy {policy}, and only with it")
        if self.cost is not None and (self.policy != "budget" or direction_of(self.cost) != "minimize"):
            raise ValueError("cost names the cost that the limits of policy budget are on, such as lut")
        return self


class Synthesis(Config):
    """Tool of the second stage; part and clock are those of `hardware`.

    `timeout_s` is for one candidate, wall-clock; `memory_gib` for all processes of it together.
    `dsp` lets yosys use DSPs; `strategy` is hls4ml's, for vitis. With `calibration`, costs of later
    trials are corrected by what the tool said of earlier ones, once that beats the estimate.
    """

    tool: ToolName = "yosys"
    stage: Stage = "synthesized"
    dsp: bool = False
    strategy: Strategy = "latency"
    timeout_s: float = Field(default=7200.0, gt=0)
    memory_gib: float = Field(default=16.0, gt=0)
    keep_checkpoint: bool = False
    calibration: bool = True

    @model_validator(mode="after")
    def _tool_can_do_it(self) -> Self:
        tools = {"dsp": ("yosys",), "strategy": ("vitis",), "keep_checkpoint": ("vivado", "vitis")}
        for key, meant in tools.items():
            if getattr(self, key) != type(self).model_fields[key].default and self.tool not in meant:
                raise ValueError(f"{key} is for {' and '.join(meant)}, not {self.tool}")
        if self.stage == "routed" and self.tool == "yosys":
            raise ValueError("stage routed needs vivado or vitis: yosys does not place and route")
        return self


class Simulation(Config):
    """Instead of training, pretend to: runs of about `seconds`, each with `points` harvested students.

    For trying out a database, a cluster and launchers before they are trusted with training. Scores and
    costs are those of a formula with a known front (`sweep.testing`); nothing is generated or trained. After
    `runs_of_a_process` runs another process goes on, as it does when training has compiled many graphs.
    """

    seconds: float = Field(default=1.0, ge=0, le=86_400)
    points: int = Field(default=8, ge=0, le=1000)
    runs_of_a_process: int | None = Field(default=None, ge=1)


class StudyFile(Config):
    """A study: what is measured, what is searched, for how long.

    `student`, `quantization` and `training` are the sections of a `Recipe` in which every value
    may be fixed, a list of choices or a range. HGQ students `start_from` another one if it is given: the
    folder of a student, or STUDY/TRIAL. The point of reference for the hypervolume has one
    entry an objective.
    """

    study: Annotated[str, AfterValidator(_study_name)]
    description: str = Field(default="", max_length=10_000)
    dataset: DatasetConfig
    start_from: Annotated[str | Path, AfterValidator(_start)] | None = None
    teacher: TeacherConfig = TeacherConfig()
    student: Annotated[Config, Searchable(Architecture)] = Field(default_factory=searchable(Architecture))
    quantization: Annotated[Config, Searchable(Quantization)] = Field(
        default_factory=searchable(Quantization)
    )
    training: Annotated[Config, Searchable(Training)] = Field(default_factory=searchable(Training))
    objectives: tuple[Metric, ...] = Field(min_length=2, max_length=4)
    constraints: dict[Metric, Bound] = Field(default_factory=dict)
    hardware: Hardware = Hardware()
    sampler: Sampler = Sampler()
    budget: Budget
    harvest: Harvest = Harvest()
    continuation: Continuation = Continuation()
    seed: int = Field(default=0, ge=0, lt=2**31)
    reference_point: tuple[float, ...] | None = None
    promotion: Promotion = Promotion()
    synthesis: Synthesis = Synthesis()
    simulation: Simulation | None = None

    def recipe_space(self) -> SearchSpace:
        """Return what this study searches."""
        sections = {name: getattr(self, name) for name in SearchableRecipe.model_fields}
        return SearchSpace(SearchableRecipe(**sections))

    @property
    def scheme(self) -> str:
        """The quantization scheme of every student of this study."""
        return str(self.recipe_space().fixed["quantization.scheme"])

    @property
    def target(self) -> Target:
        """What candidates are synthesized for."""
        chosen = {key: getattr(self.synthesis, key) for key in ("tool", "stage", "dsp", "strategy")}
        # How long the estimate may take decides nothing about the design.
        patience = {"compile_timeout_s": Hardware().compile_timeout_s}
        return Target(**chosen, hardware=self.hardware.model_copy(update=patience))

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Direction of each objective."""
        return tuple(direction_of(name) for name in self.objectives)

    @property
    def rate_khz(self) -> float:
        """Trigger rate of efficiencies: that of an objective, CICADA's working point without one."""
        return next(self._rates(self.objectives), WORKING_POINT_KHZ)

    @property
    def other_rates_khz(self) -> list[float]:
        """Other trigger rates, at which objectives or constraints want efficiencies."""
        return sorted({*self._rates(self.objectives), *self._rates(self.constraints)} - {self.rate_khz})

    @staticmethod
    def _rates(metrics: Iterable[str]) -> Iterator[float]:
        return (rate for rate in map(trigger_rate_khz, metrics) if rate is not None)

    @property
    def reference(self) -> tuple[float, ...]:
        """Point of reference for the hypervolume, an entry an objective: the file's, or the default."""
        if self.reference_point is not None:
            return self.reference_point
        return tuple(float(REFERENCE.get(name, 0)) for name in self.objectives)  # an efficiency counts from 0

    # Complaints about several keys name their own path, because pydantic knows none for them.

    @model_validator(mode="after")
    def _objectives_make_a_front(self) -> Self:
        for index, name in enumerate(self.objectives):
            if name in self.objectives[:index]:
                raise ValueError(f"objectives: {name} is listed twice")
        if len(set(self.directions)) < 2:
            raise ValueError("objectives: needs at least one score to maximize and one cost to minimize")
        point = self.reference_point
        if point is not None:
            if len(point) != len(self.objectives):
                raise ValueError(
                    f"reference_point: must have {len(self.objectives)} entries, one an objective"
                )
            for name, value in zip(self.objectives, point, strict=True):
                _check_level("reference_point", name, value)
        return self

    @model_validator(mode="after")
    def _constraints_can_be_met(self) -> Self:
        for name, bound in self.constraints.items():
            wanted = "max" if direction_of(name) == "minimize" else "min"
            value = getattr(bound, wanted)
            if value is None:
                raise ValueError(
                    f"constraints.{name}: takes {wanted}, because it is to be {direction_of(name)}d"
                )
            _check_level(f"constraints.{name}.{wanted}", name, value)
        return self

    @model_validator(mode="after")
    def _recipes_can_be(self) -> Self:
        space = self.recipe_space()
        outliers = self.dataset.source.exposure or self.dataset.deposits
        if not outliers and space.fixed.get("training.exposure_fraction") != 0:
            # It would be logged and searched, and applied to nothing.
            raise ValueError(
                "training.exposure_fraction: must be 0 for a dataset without exposure events or deposits"
            )
        if self.start_from is not None:
            if space.fixed["quantization.scheme"] != "hgq":
                raise ValueError("start_from: only students of the scheme hgq can start from another one")
            for path in space.distributions:
                if path in DECIDED_BY_START:
                    raise ValueError(f"{path}: start_from decides it, give it a fixed value")
        for number, params in enumerate(self.sampler.first):
            try:
                space.check_some(params)
            except SearchSpaceError as error:
                raise ValueError(f"sampler.first[{number}].{error}") from None
        return self


def _check_level(path: str, metric: str, value: float) -> None:
    if direction_of(metric) == "minimize" and value <= 0:
        raise ValueError(f"{path}: {metric} is a cost, its level must be above 0, not {show(value)}")
    if direction_of(metric) == "maximize" and not 0 <= value < 1:
        raise ValueError(
            f"{path}: {metric} is a score, its level must be from 0 to below 1, not {show(value)}"
        )


# ---- finding and reading ------------------------------------------------------------------------


def _study_folders() -> list[Path]:
    # In a wheel the study files are inside the package; in the repository they lie beside it.
    here = Path(__file__).resolve().parent
    return [here / "_studies", here.parent / "studies"]


def packaged_studies() -> dict[str, Path]:
    """Return the study files that come with the package, by name."""
    for folder in _study_folders():
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def find_study_file(name_or_path: str | Path) -> Path:
    """Return the file of a path, or of the name of a study that comes with the package."""
    text = str(name_or_path)
    packaged = packaged_studies()
    is_path = isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml"))
    if not is_path and text in packaged:
        return packaged[text]
    try:
        if Path(text).is_file():
            return Path(text)
    except (ValueError, OSError):  # a null byte; a name too long
        pass
    names = f"the studies that come with sweep are {', '.join(packaged)}" if packaged else "give a path"
    raise StudyFileError(
        _one_line(f"{text}: there is no such study file{_hint(text, list(packaged))}, {names}")
    )


def load_study_file(path: Path) -> StudyFile:
    """Return the study of a YAML file; paths in it are relative to its folder."""
    content = read_study_content(path)
    if VARIANTS in content or SEEDS in content:
        raise StudyFileError(
            f"{path}: holds several studies ({VARIANTS}, {SEEDS}); `sweep run` makes them, `sweep compare`"
            " compares them, anything else takes the name of one that was made"
        )
    return parse_study(content, path)


def read_study_content(path: Path) -> dict[str, Any]:
    """Return what a study file holds, before anything is made of it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StudyFileError(_one_line(f"{path}: cannot be read: {error.strerror or error}")) from None
    except ValueError:
        raise StudyFileError(_one_line(f"{path}: is not the name of a file")) from None
    return read_yaml(content, str(path))


def parse_study(content: Mapping[str, Any], file: Path) -> StudyFile:
    """Return the study of plain `content` (what JSON can hold), said to come from `file`."""
    try:
        # As JSON, because there a list is a tuple and text a path, while "8" still is not 8.
        study = StudyFile.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as invalid:
        # A misspelt key explains a missing one, not the other way round.
        errors = sorted(_worth_telling(invalid), key=lambda error: error["type"] != "extra_forbidden")
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise StudyFileError(_one_line(f"{file}: {_describe(errors[0])}") + more) from None
    try:
        return cast(StudyFile, _with_absolute_paths(study, file.parent.resolve()))
    except RuntimeError as error:  # ~somebody who has no home
        raise StudyFileError(_one_line(f"{file}: {error}")) from None


def _with_absolute_paths(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, tuple):
        return tuple(_with_absolute_paths(part, folder) for part in value)
    if isinstance(value, dict):
        return {key: _with_absolute_paths(part, folder) for key, part in value.items()}
    if isinstance(value, BaseModel):
        parts = {name: getattr(value, name) for name in type(value).model_fields}
        return value.model_copy(
            update={name: _with_absolute_paths(part, folder) for name, part in parts.items()}
        )
    return value


# ---- YAML ---------------------------------------------------------------------------------------


class _Refused(Exception):
    """Something in the YAML that a study file may not hold."""

    def __init__(self, node: Any, what: str) -> None:
        super().__init__(f"line {node.start_mark.line + 1}: {what}")


class _Loader(yaml.SafeLoader):
    """Composes nodes of YAML 1.2's core types; depth is bounded and aliases are refused."""

    depth = 0

    def compose_node(self, parent: "yaml.Node | None", index: Any) -> "yaml.Node | None":
        if self.check_event(yaml.AliasEvent):
            # Nested aliases can stand for more than fits in memory.
            raise _Refused(self._here(), "an alias (*name), write the value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(self._here(), f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _here(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]


_Loader.yaml_implicit_resolvers = {}  # not YAML 1.1's, where 1e-7 is text and 1:30 is 90
_DIGITS = r"[0-9][0-9_]*"
_SPECIAL = r"\.(?:inf|Inf|INF|nan|NaN|NAN)"
for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        rf"[-+]?(?:(?:{_DIGITS}\.[0-9_]*|\.{_DIGITS})(?:[eE][-+]?[0-9]+)?|{_DIGITS}[eE][-+]?[0-9]+|{_SPECIAL})",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_yaml(content: bytes, name: str) -> dict[str, Any]:
    """Return the mapping that YAML `content` holds, as JSON could; `name` is for messages.

    >>> read_yaml(b"beta: {low: 1e-7, high: 1e-2, log: true}", "file")
    {'beta': {'low': 1e-07, 'high': 0.01, 'log': True}}
    """
    if len(content) > MAX_BYTES:
        raise StudyFileError(_one_line(f"{name}: is larger than {MAX_BYTES} bytes, which no study file is"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudyFileError(_one_line(f"{name}: is not UTF-8 text, see byte {error.start}")) from None
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        if node is None:
            raise StudyFileError(_one_line(f"{name}: is empty"))
        if not isinstance(node, yaml.MappingNode):
            raise _Refused(node, "a study file is a mapping of keys to values, such as 'study: my-study'")
        return cast(dict[str, Any], _plain(node))
    except _Refused as refused:
        raise StudyFileError(_one_line(f"{name}: {refused}")) from None
    except yaml.MarkedYAMLError as error:
        raise StudyFileError(_one_line(f"{name}: {_yaml_problem(error, text)}")) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ReaderError for control characters; the others for escapes of characters that are none.
        raise StudyFileError(_one_line(f"{name}: is not YAML: {error}")) from None


def _yaml_problem(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"is not YAML: {error.problem or error.context}"
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"line {mark.line + 1}: is indented with a tab, use spaces"
    return f"line {mark.line + 1}: is not YAML: {error.problem or error.context}"


def _plain(node: yaml.Node) -> Any:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if isinstance(node, yaml.MappingNode) and kind == "map":
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _plain(key_node)
            if not isinstance(key, str):
                raise _Refused(key_node, f"the key {show(key)} is not text, put it in quotes")
            if key in found:
                raise _Refused(key_node, f"the key {show(key)} is given twice")
            found[key] = _plain(value_node)
        return found
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_plain(part) for part in node.value]
    if isinstance(node, yaml.ScalarNode) and kind in ("null", "bool", "int", "float", "str"):
        return _scalar(node, kind)
    raise _Refused(node, f"the tag {node.tag} is not known here")


def _scalar(node: yaml.ScalarNode, kind: str) -> bool | int | float | str | None:
    text = cast(str, node.value)
    try:
        if kind == "int":
            number = int(text.replace("_", ""), 16 if "0x" in text else 10)
            if abs(number) >= 2**63:
                raise _Refused(node, "a number beyond 64 bits")
            return number
        if kind == "float":
            value = float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
            if not math.isfinite(value):
                raise _Refused(node, f"{text} is not a finite number")
            return value
    except ValueError:
        raise _Refused(node, f"{show(text)} is not a number") from None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise _Refused(node, f"{show(text)} is neither true nor false")
        return text.lower() == "true"
    if kind == "null":
        return None
    if any(not character.isprintable() and character not in "\n\t " for character in text):
        raise _Refused(node, "text with control characters")
    return text


# ---- messages -----------------------------------------------------------------------------------


def _worth_telling(invalid: ValidationError) -> list[ErrorDetails]:
    errors = invalid.errors(include_url=False)
    # A list with a bad entry is called too short as well, for want of that entry.
    inside = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in inside]


def _describe(error: ErrorDetails) -> str:
    path, allowed = _locate(error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        key = str(error["loc"][-1])
        return f"{path}: unknown key{_hint(key, allowed)}, allowed here: {', '.join(allowed)}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return f"{path}.kind: must be {_either(allowed)}"
    reason = explain(error)
    # Validators of the whole file, and the search space, write the path themselves.
    return f"{path}: {reason}" if path else reason


def _locate(location: Sequence[int | str]) -> tuple[str, list[str]]:
    """Return a location as the file spells it, and what may stand there: keys, or kinds of a union."""
    path, kind = "", cast(Any, StudyFile)
    allowed: list[str] = []
    for part in location:
        if part == "[key]":
            continue  # pydantic's mark for "the key, not its value"
        union = _union(kind)
        if part in union:
            kind = union[str(part)]  # pydantic names the kind, the file does not
            continue
        path += f"[{part}]" if isinstance(part, int) else ("." if path else "") + _key(part)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            allowed = list(kind.model_fields)
            field = kind.model_fields.get(str(part))
            mirrors = (
                [extra.mirror for extra in field.metadata if isinstance(extra, Searchable)] if field else []
            )
            kind = mirrors[0] if mirrors else field.annotation if field else None
        else:
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0] if get_args(kind) else None
    return path, list(_union(kind)) or allowed


def _union(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return the models of a union by their `kind`; nothing for another annotation."""
    if get_origin(annotation) not in (Union, UnionType):
        return {}
    parts = [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return {str(part.model_fields["kind"].default): part for part in parts if "kind" in part.model_fields}


def _key(key: object) -> str:
    text = str(key)
    text = text if re.fullmatch(r"[A-Za-z0-9_@-][A-Za-z0-9_.@-]*", text) else json.dumps(text)
    return text if len(text) <= 60 else text[:57] + "..."


def _hint(word: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(word[:100], allowed, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _either(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1]


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(printable.split())
    return line if len(line) <= 600 else line[:597] + "..."
