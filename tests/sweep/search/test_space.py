"""Every space that can be written draws valid recipes; parameters and recipes are two views of one."""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from objectives.config import Config
from objectives.recipe import Recipe
from objectives.students.architecture import Architecture
from sweep.errors import SearchSpaceError
from sweep.search.space import MATTERS_ONLY_IF, SearchableRecipe, SearchSpace, searchable
from sweep.study_file import StudyFile

optuna.logging.set_verbosity(optuna.logging.WARNING)
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# ---- spaces to try ------------------------------------------------------------------------------
# Written down here, not derived: these are what a user may believe from the models' docstrings.

POWERS = [0, *(2**n for n in range(1, 10))]


def choices(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=4, unique=True)


@st.composite
def int_ranges(draw: st.DrawFn, low: int, high: int) -> dict[str, Any]:
    start = draw(st.integers(low, high))
    step = draw(st.none() | st.integers(1, 5))
    end = start + (step or 1) * draw(st.integers(0, (high - start) // (step or 1)))
    log = step is None and start > 0 and draw(st.booleans())
    return {"low": start, "high": end, "step": step, "log": log}


@st.composite
def float_ranges(draw: st.DrawFn, low: float, high: float) -> dict[str, Any]:
    if draw(st.booleans()):  # tenths of a hundredth, because steps must add up as they are written
        step = draw(st.integers(1, 50))
        start = draw(st.integers(math.ceil(low * 1000), math.floor(high * 1000)))
        end = start + step * draw(st.integers(0, (math.floor(high * 1000) - start) // step))
        return {"low": start / 1000, "high": end / 1000, "step": step / 1000}
    ends = sorted(draw(st.tuples(st.floats(low, high), st.floats(low, high))))
    return {"low": ends[0], "high": ends[1], "log": ends[0] > 0 and draw(st.booleans())}


def ints(low: int, high: int) -> st.SearchStrategy[Any]:
    return st.integers(low, high) | choices(st.integers(low, high)) | int_ranges(low, high)


def floats(low: float, high: float) -> st.SearchStrategy[Any]:
    return st.floats(low, high) | choices(st.floats(low, high)) | float_ranges(low, high)


def words(*allowed: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(allowed) | choices(st.sampled_from(allowed))


def section(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


@st.composite
def students(draw: st.DrawFn) -> dict[str, Any]:
    found = draw(
        section(
            family=words("cicada-v1", "cicada-v2"),
            hidden=ints(1, 128),
            hidden_2=ints(0, 128),
            batch_norm=words(True, False),
            input_clip=words(*POWERS),
        )
    )
    if found.get("family") not in ("cicada-v1", ["cicada-v1"]):
        found |= draw(section(filters=ints(1, 32), kernel=ints(1, 7), stride=ints(1, 7)))
    return found


@st.composite
def betas(draw: st.DrawFn) -> dict[str, Any]:
    schedule = draw(words("constant", "log-ramp", "ebops-ramp"))
    found: dict[str, Any] = {"schedule": schedule, "final": draw(floats(1e-3, 1))}
    if schedule in ("constant", ["constant"]):
        return found
    found |= draw(section(warm_up=floats(0, 0.9)))
    if schedule not in ("log-ramp", ["log-ramp"]) and "ebops-ramp" in schedule:
        found |= draw(section(first_ebops=floats(1e3, 1e5), last_ebops=floats(1, 1e3)))
    if isinstance(found["final"], dict):
        return found | {"initial": found["final"]["low"]}
    smallest = min(found["final"]) if isinstance(found["final"], list) else found["final"]
    return found | draw(section(initial=floats(1e-3, smallest)))


OVERFLOW, ROUNDING = words("WRAP", "SAT", "SAT_SYM"), words("RND", "RND_CONV", "TRN")
GRANULARITY = words("parameter", "channel", "layer")
SPACES = section(
    student=students(),
    quantization=section(
        weights=section(
            granularity=GRANULARITY,
            bits=ints(1, 16),
            integer_bits=ints(-8, 8),
            overflow=OVERFLOW,
            rounding=ROUNDING,
        ),
        data=section(
            granularity=GRANULARITY,
            integer_bits=ints(-8, 12),
            fractional_bits=ints(-8, 16),
            overflow=OVERFLOW,
            rounding=ROUNDING,
        ),
    ),
    training=st.builds(
        lambda training, beta: training | {"beta": beta},
        section(
            epochs=ints(1, 100_000),
            batch=ints(1, 65_536),
            learning_rate=floats(0.001, 1),
            restarts=ints(1, 1000),
            loss=words("mae", "mse"),
            exposure_fraction=floats(0, 0.9),
        ),
        betas(),
    ),
)

SMALL = {
    "student": {"family": ["cicada-v1", "cicada-v2"], "filters": [2, 4], "hidden": {"low": 8, "high": 16}},
    "training": {"beta": {"initial": 1e-7, "final": {"low": 1e-7, "high": 1e-2, "log": True}}},
}


def space_of(content: dict[str, Any]) -> SearchSpace:
    return SearchSpace.parse(content)


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return a space in which one value alone is given."""
    content: Any = value
    for part in reversed(path.split(".")):
        content = {part: content}
    return dict(content)


# ---- properties ---------------------------------------------------------------------------------


@quick
@given(SPACES, st.integers(0, 2**31))
def test_what_is_drawn_is_a_recipe_and_comes_back(content: dict[str, Any], seed: int) -> None:
    space = space_of(content)
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns where it quietly changes a range
        for _ in range(3):
            trial = study.ask()
            recipe = space.suggest(trial)
            assert space.params_of(recipe) == trial.params
            assert space.resolve(trial.params) == recipe
            assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
            for name, distribution in trial.distributions.items():
                assert distribution == space.distributions[name]


@quick
@given(SPACES)
def test_a_space_survives_writing(content: dict[str, Any]) -> None:
    mirror = SearchableRecipe.model_validate(content)
    again = SearchableRecipe.model_validate_json(mirror.model_dump_json(), strict=True)
    assert again == mirror
    assert again.digest() == mirror.digest()
    assert SearchSpace(again).distributions == space_of(content).distributions


@quick
@given(SPACES, st.data())
def test_points_of_a_ramp_are_points_of_the_space(content: dict[str, Any], data: st.DataObject) -> None:
    space = space_of(content)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=data.draw(st.integers(0, 2**31))))
    trial = study.ask()
    beta = space.suggest(trial).training.beta
    at = data.draw(st.floats(0, 1))
    reached = math.exp((1 - at) * math.log(beta.initial) + at * math.log(beta.final))
    if beta.schedule == "constant":
        reached = beta.final
    params = space.params_at_beta(trial.params, reached)
    final = space.distributions.get("training.beta.final")
    continuous = isinstance(final, optuna.distributions.FloatDistribution) and final.step is None
    if continuous or reached == beta.final:
        assert params is not None
    if params is not None:
        found = space.resolve(params)
        assert math.isclose(found.training.beta.final, reached, rel_tol=1e-4)
        optuna.trial.create_trial(  # Optuna, too, has to take it
            params=params, distributions={name: space.distributions[name] for name in params}, value=0
        )


# ---- what a value may be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("quantization.weights.bits", [4, 99], "choice 99"),
        ("quantization.weights.bits", {"low": 0, "high": 8}, "low: must be greater than or equal to 1"),
        ("quantization.weights.bits", {"low": 4, "high": 99}, "high: must be less than or equal to 16"),
        ("quantization.weights.bits", {"low": 8, "high": 4}, "low 8 is above high 4"),
        ("quantization.weights.bits", {"low": 4, "high": 8, "step": 3}, "does not lead from 4 to 8"),
        ("quantization.weights.bits", {"low": 4, "high": 8, "step": 0}, "step of this range must be a whole"),
        ("quantization.weights.bits", {"low": 4, "high": 8, "step": 0.5}, "whole number above 0"),
        ("quantization.weights.bits", {"low": 4, "high": 8, "step": True}, "whole number above 0"),
        ("quantization.weights.bits", {"low": 4.0, "high": 8}, "low: must be a whole number"),
        ("quantization.weights.bits", {"low": 4}, "has no high"),
        ("quantization.weights.bits", {"low": 4, "hi": 8}, "unknown key 'hi'"),
        (
            "quantization.weights.bits",
            {"low": 4, "high": 8, "log": 1},
            "log of a range must be true or false",
        ),
        ("quantization.weights.bits", [4, 4], "listed twice"),
        ("quantization.weights.bits", [], "at least one"),
        ("quantization.weights.bits", "8", "must be a whole number"),
        ("quantization.weights.bits", True, "must be a whole number"),
        ("quantization.weights.bits", None, "must be a whole number"),
        ("quantization.weights.bits", [[4]], "choice [4]"),
        ("quantization.weights.integer_bits", {"low": 0, "high": 4, "log": True}, "low above 0"),
        ("student.input_clip", {"low": 2, "high": 512}, "the range holds 3"),
        ("student.input_clip", 3, "power of two"),
        ("student.batch_norm", 1, "must be true or false"),
        ("student.batch_norm", {"low": 0, "high": 1}, "for numbers only"),
        ("student.family", {"low": 1, "high": 2}, "for numbers only"),
        ("student.family", "cicada-v3", "'cicada-v1' or 'cicada-v2'"),
        ("training.learning_rate", [0.1, 0.1], "listed twice"),
        ("training.learning_rate", "1e-3", "must be a number"),
        ("training.learning_rate", {"low": 0.1, "high": 0.3, "step": -0.1}, "must be a number above 0"),
        ("training.learning_rate", {"low": 0.1, "high": 0.3, "log": True, "step": 0.1}, "not both"),
        ("training.learning_rate", math.inf, "must be"),
        ("training.beta", {"initial": 1e-3, "final": 1e-5}, "final >= initial"),
        ("training.beta", {"initial": [1e-7, 1e-4], "final": [1e-5, 1e-2]}, "may draw"),
        ("training.beta.final", {"low": 1e-6, "high": 1e-2}, "training.beta.initial: "),
        ("training.beta.final", {"low": 1e-8, "high": 1e-2}, "training.beta.initial: "),
        ("training.beta", {"schedule": "constant", "initial": [1e-7, 1e-6]}, "decides nothing unless"),
        ("training.beta", {"schedule": "log-ramp", "last_ebops": [50, 100]}, "schedule is ebops-ramp"),
        ("training.beta", {"schedule": "ebops-ramp", "first_ebops": 50}, "first_ebops >= last_ebops"),
        (
            "training.beta",
            {"schedule": "ebops-ramp", "final": {"low": 1e-6, "high": 1e-2}},
            "with schedule ebops-ramp and a range",
        ),
        ("student", {"family": "cicada-v1", "filters": [2, 4]}, "decides nothing unless"),
    ],
)
def test_refused(path: str, value: Any, complaint: str) -> None:
    with pytest.raises(SearchSpaceError) as refused:
        space_of(changed(path, value))
    assert path.rsplit(".", 1)[0] in str(refused.value)
    assert complaint in str(refused.value)


def test_steps_add_up_in_decimals() -> None:
    space = space_of(changed("training.learning_rate", {"low": 0.1, "high": 0.3, "step": 0.1}))
    assert space.size() == 3


@pytest.mark.parametrize("value", [8, [8], {"low": 8, "high": 8}])
def test_one_value_is_fixed(value: Any) -> None:
    space = space_of(changed("student.hidden", value))
    assert not space.distributions
    assert space.fixed["student.hidden"] == 8
    assert space.size() == 1
    assert space.suggest(FixedTrial({})) == Recipe.model_validate({"student": {"hidden": 8}})


def test_a_whole_number_is_good_for_a_float() -> None:
    value = space_of(changed("training.learning_rate", 1)).fixed["training.learning_rate"]
    assert type(value) is float


def test_distributions() -> None:
    space = space_of(SMALL | {"quantization": {"weights": {"granularity": ["layer", "channel"]}}})
    assert space.distributions == {
        "student.family": optuna.distributions.CategoricalDistribution(("cicada-v1", "cicada-v2")),
        "student.filters": optuna.distributions.CategoricalDistribution((2, 4)),
        "student.hidden": optuna.distributions.IntDistribution(8, 16),
        "quantization.weights.granularity": optuna.distributions.CategoricalDistribution(
            ("layer", "channel")
        ),
        "training.beta.final": optuna.distributions.FloatDistribution(1e-7, 1e-2, log=True),
    }


def test_all_of_a_recipe_is_either_fixed_or_searched() -> None:
    space = space_of(SMALL)
    plain = SearchSpace(SearchableRecipe())
    assert set(space.fixed) | set(space.distributions) == set(plain.fixed)
    assert plain.suggest(FixedTrial({})) == Recipe()


def test_a_study_file_has_every_section_of_a_recipe() -> None:
    assert set(Recipe.model_fields) <= set(StudyFile.model_fields)


def test_a_value_that_could_not_be_told_from_choices_cannot_be_searched() -> None:
    class Listed(Config):
        layers: tuple[int, ...] = (1, 2)

    with pytest.raises(TypeError, match=r"Listed\.layers cannot be searched"):
        searchable(Listed)


def test_optional_and_required_values_can_be_searched() -> None:
    class Odd(Config):
        needed: int
        maybe: float | None = None
        some: Literal[1, 2] | None = None

    mirror = searchable(Odd)
    found: Any = mirror.model_validate({"needed": [1, 2], "maybe": [None, 1], "some": [1, None]})
    assert (found.needed, found.maybe, found.some) == ((1, 2), (None, 1.0), (1, None))
    with pytest.raises(ValueError, match="needed"):
        mirror.model_validate({})
    with pytest.raises(ValueError, match="must be a number, not null"):
        mirror.model_validate({"needed": 1, "maybe": {"low": None, "high": 1}})


# ---- what decides nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in MATTERS_ONLY_IF if path.startswith("student.")])
def test_the_table_of_what_matters_agrees_with_the_architecture(path: str) -> None:
    name, (decider, needed) = path.removeprefix("student."), MATTERS_ONLY_IF[path]
    for family in ("cicada-v1", "cicada-v2"):
        default = Architecture.model_fields[name].default
        built = Architecture.model_validate({decider.removeprefix("student."): family, name: default + 1})
        assert (getattr(built, name) != default) == (family in needed)


def test_what_the_family_ignores_is_not_suggested() -> None:
    space = space_of(SMALL)
    v1: dict[str, Any] = {"student.family": "cicada-v1", "student.hidden": 8, "training.beta.final": 1e-3}
    v2 = v1 | {"student.family": "cicada-v2", "student.filters": 2}
    assert space.params_of(space.suggest(FixedTrial(v2 | {"student.family": "cicada-v1"}))) == v1
    assert space.resolve(v2).student.filters == 2
    with pytest.raises(SearchSpaceError, match=r"student\.filters: it decides nothing unless"):
        space.resolve(v1 | {"student.filters": 2})
    with pytest.raises(SearchSpaceError, match=r"student\.filters: a value is missing"):
        space.resolve(v1 | {"student.family": "cicada-v2"})


def test_size_counts_what_matters() -> None:
    content = {
        "student": {
            "family": ["cicada-v1", "cicada-v2"],
            "filters": [2, 4, 6],
            "hidden": {"low": 1, "high": 5},
        },
        "training": {
            "epochs": {"low": 10, "high": 30, "step": 10},
            "beta": {"schedule": ["constant", "log-ramp"], "warm_up": [0.1, 0.2], "final": [1e-3, 1e-2]},
        },
    }
    assert space_of(content).size() == (1 + 3) * 5 * 3 * (1 + 2) * 2
    assert space_of(SMALL).size() is None


# ---- parameters and recipes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda params: params.pop("student.hidden"), "student.hidden: a value is missing"),
        (lambda params: params.pop("student.family"), "student.family: a value is missing"),
        (lambda params: params.update({"student.hidden": 17}), "student.hidden: 17 is outside 8..16"),
        (lambda params: params.update({"student.hidden": 8.0}), "student.hidden: 8.0 is outside"),
        (lambda params: params.update({"student.hidden": True}), "student.hidden: true is outside"),
        (lambda params: params.update({"student.filters": 3}), "student.filters: 3 is outside [2, 4]"),
        (
            lambda params: params.update({"training.beta.final": math.nan}),
            "training.beta.final: nan is outside",
        ),
        (
            lambda params: params.update({"student.kernel": 2}),
            "student.kernel: this study does not search it",
        ),
    ],
)
def test_parameters_of_another_study(change: Callable[[dict[str, Any]], object], complaint: str) -> None:
    params = {
        "student.family": "cicada-v2",
        "student.filters": 2,
        "student.hidden": 8,
        "training.beta.final": 1e-3,
    }
    change(params)
    with pytest.raises(SearchSpaceError) as refused:
        space_of(SMALL).resolve(params)
    assert complaint in str(refused.value)


def test_a_recipe_of_another_study() -> None:
    with pytest.raises(SearchSpaceError, match=r"student\.kernel: 3 is not this study's 2"):
        space_of(SMALL).params_of(Recipe.model_validate({"student": {"filters": 2, "kernel": 3}}))


def test_beta_that_cannot_be_said() -> None:
    fixed = space_of({})
    assert fixed.params_at_beta({}, 1e-3) == {}
    assert fixed.params_at_beta({}, 2e-3) is None
    listed = space_of(changed("training.beta.final", [1e-3, 1e-2]))
    assert listed.params_at_beta({"training.beta.final": 1e-2}, 1e-3) == {"training.beta.final": 1e-3}
    assert listed.params_at_beta({"training.beta.final": 1e-2}, 5e-3) is None
    ranged = space_of({"training": SMALL["training"]})
    for beta in (1e-8, 2e-2, math.nan, math.inf, 0.0, -1.0):
        assert ranged.params_at_beta({"training.beta.final": 1e-3}, beta) is None


def test_beta_in_single_precision_is_taken_back_into_the_range() -> None:
    ranged = space_of({"training": SMALL["training"]})
    assert ranged.params_at_beta({}, 0.9999999e-7) == {"training.beta.final": 1e-7}
    assert ranged.params_at_beta({}, 1.0000001e-2) == {"training.beta.final": 1e-2}
    stepped = space_of(
        {"training": {"beta": {"initial": 0.1, "final": {"low": 0.1, "high": 0.3, "step": 0.1}}}}
    )
    assert stepped.params_at_beta({}, 0.30000001) == {"training.beta.final": 0.3}
    assert stepped.params_at_beta({}, 0.25) is None


def test_each_combination_that_could_be_drawn_is_looked_at() -> None:
    # Past the bound on combinations the extremes are still tried with each other.
    many = {
        "schedule": "log-ramp",
        "initial": [1e-7 * n for n in range(1, 40)],
        "final": [1e-5 * n for n in range(1, 40)],
        "warm_up": [n / 100 for n in range(40)],
    }
    assert len(space_of({"training": {"beta": many}}).distributions) == 3
    many["initial"] = [2e-4, *(1e-7 * n for n in range(1, 40))]
    with pytest.raises(SearchSpaceError, match="may draw initial 0.0002, final 1e-05"):
        space_of({"training": {"beta": many}})
