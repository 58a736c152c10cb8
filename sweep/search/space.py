"""What a study searches: recipes in which any value may be fixed, a range or a list of choices.

The searchable mirror of a configuration model is derived from the model itself, so that a value
added to `Recipe` can be searched without a line here, and every choice and both ends of every
range obey the very constraints of the concrete field::

    student: {family: cicada-v2, hidden: [8, 16]}          # fixed, choices
    training: {learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}}   # range
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial
from pydantic import BaseModel, GetCoreSchemaHandler, PlainValidator, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails

from objectives.config import Config
from objectives.recipe import Recipe
from sweep.errors import SearchSpaceError

Scalar = None | bool | int | float | str

#: Values of an integer range that are checked one by one against the field's own constraints.
MAX_CHECKED_VALUES = 1024
#: Combinations of one model's values that are checked against its cross-field constraints.
MAX_CHECKED_COMBINATIONS = 4096

#: Schedules along which beta changes.
RAMPS = ("log-ramp", "ebops-ramp")
#: Values, and sections of them, that decide nothing unless another value is one of what stands here. They
#: are then neither suggested nor counted, and have their default. `Architecture`, `Quantization` and
#: `Recipe` agree: see their validators.
MATTERS_ONLY_IF: Mapping[str, tuple[str, tuple[Scalar, ...]]] = {
    "student.filters": ("student.family", ("cicada-v2",)),
    "student.kernel": ("student.family", ("cicada-v2",)),
    "student.stride": ("student.family", ("cicada-v2",)),
    "quantization.weights": ("quantization.scheme", ("hgq",)),
    "quantization.data": ("quantization.scheme", ("hgq",)),
    "quantization.score_rounding": ("quantization.scheme", ("hgq",)),
    "quantization.layers": ("quantization.scheme", ("qkeras",)),
    "quantization.layers.conv": ("student.family", ("cicada-v2",)),
    "training.beta": ("quantization.scheme", ("hgq",)),
    "training.beta.initial": ("training.beta.schedule", RAMPS),
    "training.beta.warm_up": ("training.beta.schedule", RAMPS),
    "training.beta.first_ebops": ("training.beta.schedule", ("ebops-ramp",)),
    "training.beta.last_ebops": ("training.beta.schedule", ("ebops-ramp",)),
}

_SCHEME = "quantization.scheme"
_BETA_SCHEDULE = "training.beta.schedule"
_BETA_INITIAL = "training.beta.initial"
_BETA_FINAL = "training.beta.final"


def _conditions(path: str) -> list[tuple[str, tuple[Scalar, ...]]]:
    """Return what must hold for the value at `path` to matter: (another path, its values) pairs."""
    return [needed for part, needed in MATTERS_ONLY_IF.items() if path == part or path.startswith(f"{part}.")]


class Range(Config):
    """All values from `low` to `high`, both included; evenly spaced by `step` where there is one."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(self.low, int) and not isinstance(value, int):
            return False
        if not self.low <= value <= self.high:
            return False
        return self.step is None or _is_multiple(value - self.low, self.step)

    def size(self) -> int | None:
        """Return the number of values, None if it is continuous."""
        if self.step is not None:
            return round((self.high - self.low) / self.step) + 1
        if isinstance(self.low, int) and isinstance(self.high, int):
            return self.high - self.low + 1
        return None

    def distribution(self) -> BaseDistribution:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


#: A value of a searchable configuration: fixed, a range, or two choices or more.
Leaf = Scalar | Range | tuple[Scalar, ...]


def _is_multiple(value: float, step: float) -> bool:
    count = value / step
    return abs(count - round(count)) < 1e-8


# ---- wording ------------------------------------------------------------------------------------

_REASONS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "path_type": "must be a path",
    "missing": "this key is required",
}


def show(value: object) -> str:
    """Return `value` as a study file would spell it, short and on one line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def explain(error: ErrorDetails) -> str:
    """Return one of pydantic's errors as "what is wrong, what is allowed"."""
    kind, value = error["type"], error.get("input")
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    reason = _REASONS.get(kind)
    if reason is None:
        reason = error["msg"].replace("Input should", "must").replace("String should", "must")
    if kind in ("too_short", "too_long"):
        context = error["ctx"]
        bound = context["min_length"] if kind == "too_short" else context["max_length"]
        return f"must list at {'least' if kind == 'too_short' else 'most'} {bound}"
    return reason if kind == "missing" else f"{reason}, not {show(value)}"


# ---- the searchable mirror of a model -----------------------------------------------------------


def _scalar_types(annotation: Any) -> set[type]:
    """Return the types that a leaf of this annotation may have; empty if it is no leaf."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _scalar_types(get_args(annotation)[0])
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (Union, UnionType):
        parts = [_scalar_types(part) for part in get_args(annotation)]
        return set().union(*parts) if all(parts) else set()
    return {annotation} if annotation in (bool, int, float, str, NoneType) else set()


def _is_literal(annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return True
    return any(_is_literal(part) for part in get_args(annotation) if get_origin(annotation) is not Literal)


class _LeafReader:
    """Reads what a study file says about one value of a concrete model."""

    def __init__(self, model: type[BaseModel], name: str, field: FieldInfo) -> None:
        self.model, self.name = model, name
        self.types = _scalar_types(field.annotation)
        if not self.types:
            # A list-valued field could not be told from a list of choices.
            raise TypeError(f"{model.__name__}.{name} cannot be searched: its type is {field.annotation}")
        numeric = self.types - {NoneType}
        self.range_type: type | None = None
        if not _is_literal(field.annotation) and numeric in ({int}, {float}):
            self.range_type = numeric.pop()

    def __call__(self, raw: object) -> Leaf:
        if isinstance(raw, Range):
            raw = raw.model_dump()
        if isinstance(raw, Mapping):
            return self._range(raw)
        if isinstance(raw, list | tuple):
            return self._choices(raw)
        return self._fixed(raw)

    def _fixed(self, value: object, called: str = "") -> Scalar:
        # The concrete model is asked, not the bare type: it has validators of its own. Complaints
        # about other fields do not count here, nor those about combinations: SearchSpace has them.
        try:
            self.model.model_validate({self.name: value}, strict=True)
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False):
                if error["loc"][:1] == (self.name,):
                    raise ValueError(called + explain(error)) from None
        if isinstance(value, int) and not isinstance(value, bool) and int not in self.types:
            return float(value)
        return cast(Scalar, value)

    def _choices(self, raw: Iterable[object]) -> Leaf:
        choices = tuple(self._fixed(value, f"choice {show(value)}: ") for value in raw)
        if not choices:
            raise ValueError("a list of choices needs at least one")
        for index, value in enumerate(choices):
            if value in choices[:index]:
                raise ValueError(f"choice {show(value)} is listed twice")
        return choices[0] if len(choices) == 1 else choices

    def _range(self, raw: Mapping[Any, object]) -> Leaf:
        if self.range_type is None:
            raise ValueError("a range is for numbers only, give a fixed value or a list of choices")
        for key in raw:
            if key not in Range.model_fields:
                raise ValueError(f"unknown key {show(key)} in a range, a range is {{low, high, log, step}}")
        for key in ("low", "high"):
            if key not in raw:
                raise ValueError(f"this range has no {key}, a range is {{low, high, log, step}}")
        low, high = (self._number(raw[key], key) for key in ("low", "high"))
        if low > high:
            raise ValueError(f"low {show(low)} is above high {show(high)}")
        log, step = raw.get("log", False), raw.get("step")
        if log is not True and log is not False:
            raise ValueError(f"log of a range must be true or false, not {show(log)}")
        if log and low <= 0:
            raise ValueError(f"a range with log needs low above 0, not {show(low)}")
        if step is not None:
            if log:
                raise ValueError("a range has log or step, not both")
            step = self._step(step, low, high)
        if low == high:
            return low
        found = Range(low=low, high=high, log=log, step=step)
        self._check_inside(found)
        return found

    def _number(self, value: object, called: str) -> int | float:
        number = self._fixed(value, f"{called}: ")
        if number is None:  # allowed as a fixed value, of a field that may be null
            raise ValueError(f"{called}: must be a number, not null")
        return cast(int | float, number)

    def _step(self, value: object, low: float, high: float) -> int | float:
        allowed = (int,) if self.range_type is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed) or not 0 < value < math.inf:
            kind = "whole number" if self.range_type is int else "number"
            raise ValueError(f"step of this range must be a {kind} above 0, not {show(value)}")
        # As decimals, because (0.3 - 0.1) / 0.1 is not 2 in binary.
        if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(value)) != 0:
            raise ValueError(f"step {show(value)} does not lead from {show(low)} to {show(high)}")
        return value if self.range_type is int else float(value)

    def _check_inside(self, found: Range) -> None:
        # Both ends are allowed, yet something between them may not be (powers of two only).
        size = found.size()
        if self.range_type is not int or size is None:
            return
        step = int(found.step or 1)
        for index in range(min(size, MAX_CHECKED_VALUES)):
            at = index if size <= MAX_CHECKED_VALUES else index * (size - 1) // (MAX_CHECKED_VALUES - 1)
            value = int(found.low) + at * step
            self._fixed(value, f"the range holds {value}, which is not allowed: ")


@functools.cache
def searchable(model: type[BaseModel]) -> type[Config]:
    """Derive the mirror of `model` whose values may be fixed, choices or ranges.

    >>> from objectives.training.config import Training
    >>> searchable(Training).model_validate({"epochs": [10, 20]}).epochs
    (10, 20)
    """
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            mirror = searchable(kind)
            default = field.get_default(call_default_factory=True)
            given = mirror.model_validate(default.model_dump()) if isinstance(default, kind) else ...
            fields[name] = (mirror, given)
        else:
            leaf = Annotated[Any, PlainValidator(_LeafReader(model, name, field))]
            fields[name] = (
                leaf,
                ... if field.is_required() else field.get_default(call_default_factory=True),
            )
    return create_model(f"Searchable{model.__name__}", __base__=Config, __doc__=model.__doc__, **fields)


class Searchable:
    """Annotation of a model's field that holds the searchable mirror of `concrete`."""

    def __init__(self, concrete: type[BaseModel]) -> None:
        self.mirror = searchable(concrete)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(self.mirror)


#: The mirror of `Recipe`.
SearchableRecipe = searchable(Recipe)


# ---- the space ----------------------------------------------------------------------------------


class SearchSpace:
    """The recipes that a study may try, and their names and distributions in Optuna.

    A parameter's name is its dotted path in the recipe. Parameters that decide nothing in a given
    recipe (`filters` of a `cicada-v1`) are not suggested for it.

    >>> space = SearchSpace.parse({"student": {"hidden": [8, 16]}})
    >>> space.resolve({"student.hidden": 8}).student.hidden
    8
    """

    def __init__(self, recipe: Config) -> None:
        """Take an instance of `SearchableRecipe`; refuse it if some combination cannot be."""
        leaves = dict(_leaves(recipe))
        self._searched: dict[str, Range | tuple[Scalar, ...]] = {}
        self.fixed: dict[str, Scalar] = {}
        for path, leaf in leaves.items():
            if isinstance(leaf, Range | tuple):
                self._searched[path] = leaf
            else:
                self.fixed[path] = leaf
        # What others depend on is suggested first.
        deciders = {decider for decider, _ in MATTERS_ONLY_IF.values()}
        self._searched = dict(sorted(self._searched.items(), key=lambda item: item[0] not in deciders))
        self.distributions: dict[str, BaseDistribution] = {
            path: domain.distribution() if isinstance(domain, Range) else CategoricalDistribution(domain)
            for path, domain in self._searched.items()
        }
        self._defaults = dict(_leaves(Recipe()))
        if _SCHEME in self._searched:
            raise SearchSpaceError(
                f"{_SCHEME}: must be fixed; make a study for each scheme, and compare them"
            )
        self._check_that_all_matter()
        self._check_beta()
        for path, model in _models(Recipe):
            self._check_combinations(path, model)
        for end in (0, -1):
            self._build({path: _extremes(domain)[end] for path, domain in self._searched.items()})

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "SearchSpace":
        """Return the space of the sections `student`, `quantization` and `training`."""
        try:
            return cls(SearchableRecipe.model_validate(content))
        except ValidationError as invalid:
            error = invalid.errors(include_url=False)[0]
            path = ".".join(map(str, error["loc"]))
            raise SearchSpaceError(f"{path}: {explain(error)}") from None

    def suggest(self, trial: BaseTrial) -> Recipe:
        """Draw a recipe; the trial then holds exactly ``params_of(recipe)``."""
        params: dict[str, Scalar] = {}
        for path, domain in self._searched.items():
            if not self._matters(path, params):
                continue
            if isinstance(domain, tuple):
                params[path] = trial.suggest_categorical(path, domain)
            elif isinstance(domain.low, int) and isinstance(domain.high, int):
                step = int(domain.step or 1)
                params[path] = trial.suggest_int(path, domain.low, domain.high, step=step, log=domain.log)
            else:
                params[path] = trial.suggest_float(
                    path, domain.low, domain.high, step=domain.step, log=domain.log
                )
        return self.resolve(params)

    def resolve(self, params: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a trial's parameters: all of them, no others, each inside its domain."""
        for path in params:
            if path not in self._searched:
                raise SearchSpaceError(f"{path}: this study does not search it")
        for path, domain in self._searched.items():
            if not self._matters(path, params):
                if path in params:
                    raise SearchSpaceError(f"{path}: {self._why_it_does_not_matter(path)}")
            elif path not in params:
                raise SearchSpaceError(f"{path}: a value is missing")
            elif not _holds(domain, params[path]):
                raise SearchSpaceError(f"{path}: {show(params[path])} is outside {_show_domain(domain)}")
        return self._build(params)

    def check_some(self, params: Mapping[str, Any]) -> None:
        """Raise SearchSpaceError unless these parameters are searched, each value in its domain."""
        for path, value in params.items():
            domain = self._searched.get(path)
            if domain is None:
                raise SearchSpaceError(f"{path}: this study does not search it")
            if not _holds(domain, value):
                raise SearchSpaceError(f"{path}: {show(value)} is outside {_show_domain(domain)}")

    def params_of(self, recipe: Recipe) -> dict[str, Any]:
        """Return the parameters that `resolve` turns into `recipe`, which must be of this space."""
        values = dict(_leaves(recipe))
        params = {path: values[path] for path in self._searched if self._matters(path, values)}
        if self.resolve(params) != recipe:
            built = dict(_leaves(self._build(params)))
            path = next(path for path in values if values[path] != built[path])
            raise SearchSpaceError(f"{path}: {show(values[path])} is not this study's {show(built[path])}")
        return params

    def params_at_beta(self, params: Mapping[str, Any], beta: float) -> dict[str, Any] | None:
        """Return the parameters of a point harvested where its trajectory had this `beta`.

        They are those of the trajectory with `training.beta.final` = `beta`; None if the study
        cannot express that beta, because it is fixed or not among the choices.
        """

        # Rounding on the way up, and in a single-precision variable, moves no point out of the range.
        def near(value: Scalar) -> bool:
            return isinstance(value, float) and math.isclose(value, beta, rel_tol=1e-5)

        if not self._matters(_BETA_FINAL, params):
            return dict(params)
        domain = self._searched.get(_BETA_FINAL)
        if domain is None:
            return dict(params) if near(self.fixed[_BETA_FINAL]) else None
        if isinstance(domain, Range):
            candidates: Iterable[Scalar] = (domain.low, domain.high, beta)
            if domain.step is not None:
                steps = round((beta - domain.low) / domain.step) if math.isfinite(beta) else 0
                candidates = (min(domain.low + steps * domain.step, domain.high),)
        else:
            candidates = domain
        for value in candidates:
            if near(value) and value in domain:
                return {**params, _BETA_FINAL: value}
        return None

    def beta_range(self) -> Range | None:
        """Return the range of the last epoch's beta, None if it is fixed or one of some choices."""
        domain = self._searched.get(_BETA_FINAL)
        return domain if isinstance(domain, Range) else None

    def whole_ramp(self) -> dict[str, Any]:
        """Return the parameter by which beta ramps through all that is searched; none without such a ramp."""
        final = self.beta_range()
        return {_BETA_FINAL: final.high} if final and "constant" not in self.beta_schedules() else {}

    def beta_schedules(self) -> tuple[Scalar, ...]:
        """Return the schedules of beta that runs may have."""
        searched = self._searched.get(_BETA_SCHEDULE, (self.fixed.get(_BETA_SCHEDULE),))
        return cast(tuple[Scalar, ...], searched)

    def example(self) -> Recipe:
        """Return one of the recipes: fixed values are all the same in every other."""
        return self._build({path: _extremes(domain)[0] for path, domain in self._searched.items()})

    def network_params(self) -> frozenset[str]:
        """Return the paths of all that is searched of architecture and granularities."""
        return frozenset(p for p in self._searched if p.startswith("student.") or p.endswith(".granularity"))

    def networks(self) -> int | None:
        """Return how many architectures and granularities there are, at most; None if they are countless."""
        domains = [self._searched[path] for path in self.network_params()]
        sizes = [domain.size() if isinstance(domain, Range) else len(domain) for domain in domains]
        return None if None in sizes else math.prod(size or 1 for size in sizes)

    def size(self) -> int | None:
        """Return the number of different recipes, None if a continuous range makes them countless."""
        deciders = sorted(
            {decider for path in self._searched for decider, _ in _conditions(path)} & self._searched.keys()
        )
        total = 0
        for values in itertools.product(
            *(cast(tuple[Scalar, ...], self._searched[path]) for path in deciders)
        ):
            chosen = dict(zip(deciders, values, strict=True))
            count = 1
            for path, domain in self._searched.items():
                if path in deciders or not self._matters(path, chosen):
                    continue
                size = domain.size() if isinstance(domain, Range) else len(domain)
                if size is None:
                    return None
                count *= size
            total += count
        return total

    def _matters(self, path: str, values: Mapping[str, Any]) -> bool:
        return all(
            values.get(decider, self.fixed.get(decider)) in needed for decider, needed in _conditions(path)
        )

    def _why_it_does_not_matter(self, path: str) -> str:
        needs = [f"{decider} is {' or '.join(map(str, needed))}" for decider, needed in _conditions(path)]
        return f"it decides nothing unless {' and '.join(needs)}"

    def _build(self, params: Mapping[str, Any]) -> Recipe:
        values: dict[str, Any] = self.fixed | dict(params)
        for path in self._searched:
            values.setdefault(path, self._defaults[path])
        try:
            return Recipe.model_validate(_nested(values), strict=True)
        except ValidationError as invalid:
            error = invalid.errors(include_url=False)[0]
            raise SearchSpaceError(f"{'.'.join(map(str, error['loc']))}: {explain(error)}") from None

    def _check_that_all_matter(self) -> None:
        for path in self._searched:
            for decider, needed in _conditions(path):
                found = self._searched.get(decider, (self.fixed.get(decider),))
                if not any(value in found for value in needed):
                    raise SearchSpaceError(
                        f"{path}: {self._why_it_does_not_matter(path)}, give it a fixed value"
                    )

    def _check_beta(self) -> None:
        """See that every beta on every ramp is a value of `training.beta.final`.

        A point harvested on the way up enters the study as a trial whose final beta is the beta
        of its epoch. So each ramp must start where the range of final betas starts.
        """
        final = self._searched.get(_BETA_FINAL)
        ramp = next((ramp for ramp in RAMPS if ramp in self.beta_schedules()), None)
        if not isinstance(final, Range) or ramp is None:
            return
        if self.fixed.get(_BETA_INITIAL) != final.low:
            found = self.fixed.get(_BETA_INITIAL, self._searched.get(_BETA_INITIAL))
            raise SearchSpaceError(
                f"{_BETA_INITIAL}: with schedule {ramp} and a range of {_BETA_FINAL} it must be fixed at that"
                f" range's low end, {show(final.low)}, not {_show_domain(found)}: points on the ramp become"
                " trials with the beta they were found at"
            )

    def _check_combinations(self, path: str, model: type[BaseModel]) -> None:
        """Refuse a space from which a combination could be drawn that `model` itself refuses.

        The extremes of each range are tried with each other and with all choices: exact for
        constraints that only compare values, which is what cross-field constraints do here.
        """
        names = [name for name in model.model_fields if f"{path}{name}" in self._defaults]
        searched = [name for name in names if f"{path}{name}" in self._searched]
        extremes = [_extremes(self._searched[f"{path}{name}"]) for name in searched]
        if math.prod(map(len, extremes)) > MAX_CHECKED_COMBINATIONS:
            extremes = [(values[0], values[-1]) for values in extremes]
        for combination in itertools.islice(itertools.product(*extremes), MAX_CHECKED_COMBINATIONS):
            drawn = dict(zip(searched, combination, strict=True))
            absolute = {f"{path}{name}": value for name, value in drawn.items()}
            drawn = {name: value for name, value in drawn.items() if self._matters(f"{path}{name}", absolute)}
            values = {
                name: self.fixed.get(f"{path}{name}", self._defaults[f"{path}{name}"]) for name in names
            }
            try:
                model.model_validate(values | drawn, strict=True)
            except ValidationError as invalid:
                reason = explain(invalid.errors(include_url=False)[0])
                example = ", ".join(f"{name} {show(value)}" for name, value in drawn.items())
                raise SearchSpaceError(
                    f"{path.rstrip('.')}: {reason}" + (f", but this may draw {example}" if example else "")
                ) from None


def _leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel) and not isinstance(value, Range):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _models(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield f"{prefix}{name}.", kind
            yield from _models(kind, f"{prefix}{name}.")


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[name] = value
    return tree


def _extremes(domain: Range | tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    if isinstance(domain, Range):
        return (domain.low, domain.high)
    numbers = [value for value in domain if isinstance(value, int | float) and not isinstance(value, bool)]
    return tuple(sorted(numbers)) if len(numbers) == len(domain) else domain


def _holds(domain: Range | tuple[Scalar, ...], value: object) -> bool:
    if isinstance(domain, Range):
        return value in domain
    # For Python true is 1, for a study it is not.
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in domain)


def _show_domain(domain: Leaf) -> str:
    if isinstance(domain, Range):
        return f"{show(domain.low)}..{show(domain.high)}"
    return show(domain)
