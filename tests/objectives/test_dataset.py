"""Parts are disjoint, hold every event once, and follow the split's fractions and seed."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from objectives.data.config import DatasetConfig, H5Source, PythiaSource, Split
from objectives.data.dataset import (
    Dataset,
    Part,
    _divide,
    available_processors,
    dataset_digest,
    is_made,
    load_dataset,
)
from objectives.data.deposits import make_deposits
from objectives.data.h5 import write_regions
from objectives.data.pileup import POOL_PARTS
from objectives.data.pythia import generator_digest
from objectives.errors import DataError

PARTS = ("train", "validation", "test", "synthesis")


def numbered(first: int, count: int) -> NDArray[np.uint16]:
    """Return events that carry their number, `first` and up, in their first two regions."""
    regions = np.zeros((count, 18, 14), np.uint16)
    regions[:, 0, 1], regions[:, 0, 0] = np.divmod(np.arange(first, first + count), 1_000)
    return regions


def numbers(regions: NDArray[np.uint16]) -> list[int]:
    """Return the numbers of such events, in order."""
    return [int(number) for number in regions[:, 0, 1] * 1_000 + regions[:, 0, 0]]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Region files of numbered events that share no number."""
    sizes = {"zero_bias_1": 60, "zero_bias_2": 40, "tt": 50, "higgs": 30, "suep": 40}
    paths = {}
    for index, (name, size) in enumerate(sizes.items()):
        paths[name] = tmp_path / f"{name}.h5"
        write_regions(paths[name], numbered(1_000 * index, size), acceptance=np.arange(size) % 2)
    return paths


def h5_config(files: dict[str, Path], **changes: Any) -> DatasetConfig:
    source: dict[str, Any] = {
        "zero_bias": (files["zero_bias_1"], files["zero_bias_2"]),
        "signals": {"tt": (files["tt"],), "higgs": (files["higgs"],)},
        "exposure": {"suep": (files["suep"],)},
    }
    split, deposits = changes.pop("split", Split()), changes.pop("deposits", 0)
    return DatasetConfig(source=H5Source(**(source | changes)), split=split, deposits=deposits)


def parts(dataset: Dataset) -> list[Part]:
    return [getattr(dataset, name) for name in PARTS]


# ---- the user's own files -----------------------------------------------------------------------


def test_every_event_is_in_one_part(files: dict[str, Path], tmp_path: Path) -> None:
    dataset = load_dataset(h5_config(files), tmp_path / "cache")
    assert [field.name for field in fields(dataset)] == ["digest", *PARTS, "deposits"]
    assert [len(part.zero_bias) for part in parts(dataset)] == [50, 15, 30, 5]
    assert [len(part.exposure["suep"]) for part in parts(dataset)] == [20, 6, 12, 2]
    assert [len(part.signals["tt"]) for part in parts(dataset)[1:]] == [15, 30, 5]
    assert [len(part.signals["higgs"]) for part in parts(dataset)[1:]] == [9, 18, 3]
    assert dataset.train.signals == {}
    assert sorted(n for part in parts(dataset) for n in numbers(part.zero_bias)) == [
        *range(60),
        *range(1000, 1040),
    ]
    assert sorted(n for part in parts(dataset)[1:] for n in numbers(part.signals["tt"])) == [
        *range(2000, 2050)
    ]
    assert sorted(n for part in parts(dataset) for n in numbers(part.exposure["suep"])) == [
        *range(4000, 4040)
    ]
    assert not (tmp_path / "cache").exists()


def test_the_split_is_its_seeds_alone(files: dict[str, Path], tmp_path: Path) -> None:
    first, again = (load_dataset(h5_config(files), tmp_path) for _ in range(2))
    assert first.digest == again.digest
    assert numbers(first.train.zero_bias) == numbers(again.train.zero_bias)
    other = load_dataset(h5_config(files, split=Split(seed=43)), tmp_path)
    assert other.digest != first.digest
    assert numbers(other.train.zero_bias) != numbers(first.train.zero_bias)
    # Without one of the classes, the others stay where they were.
    fewer = load_dataset(h5_config(files, signals={"higgs": (files["higgs"],)}, exposure={}), tmp_path)
    for before, after in zip(parts(first), parts(fewer), strict=True):
        assert numbers(before.zero_bias) == numbers(after.zero_bias)
    assert numbers(first.test.signals["higgs"]) == numbers(fewer.test.signals["higgs"])


def test_classes_are_shuffled_each_in_its_own_way() -> None:
    events = numbered(0, 100)
    one, two = (numbers(_divide(name, events, [1, 1], Split(), 1)[0]) for name in ("tt", "higgs"))
    assert sorted(one) != one
    assert one != two


def test_only_accepted_is_for_signals(files: dict[str, Path], tmp_path: Path) -> None:
    dataset = load_dataset(h5_config(files, only_accepted=True), tmp_path)
    kept = sorted(n for part in parts(dataset)[1:] for n in numbers(part.signals["tt"]))
    assert kept == [*range(2001, 2050, 2)]
    assert sum(len(part.zero_bias) for part in parts(dataset)) == 100
    assert sum(len(part.exposure["suep"]) for part in parts(dataset)) == 40
    assert dataset.digest != load_dataset(h5_config(files), tmp_path).digest


def test_digest_is_of_content_not_of_paths(files: dict[str, Path], tmp_path: Path) -> None:
    before = dataset_digest(h5_config(files))
    moved = files["tt"].rename(tmp_path / "moved.h5")
    assert dataset_digest(h5_config(files | {"tt": moved})) == before
    write_regions(moved, numbered(9_000, 50))
    assert dataset_digest(h5_config(files | {"tt": moved})) != before


def test_a_class_that_is_too_small_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    write_regions(files["suep"], numbered(4_000, 5))
    with pytest.raises(DataError, match="'suep' has 5 events, too few"):
        load_dataset(h5_config(files), tmp_path)


def test_exposure_is_never_scored(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'tt' is both a signal and exposure"):
        load_dataset(h5_config(files, exposure={"tt": (files["suep"],)}), tmp_path)
    with pytest.raises(DataError, match=r"under 'exposure\.other', has the same events .* 'signals\.tt'"):
        load_dataset(h5_config(files, exposure={"other": (files["tt"],)}), tmp_path)
    with pytest.raises(DataError, match=r"'signals\.tt', has the same events .* 'zero_bias'"):
        load_dataset(h5_config(files, signals={"tt": (files["zero_bias_2"],)}), tmp_path)
    with pytest.raises(DataError, match=r"'exposure\.suep' lists no file"):
        load_dataset(h5_config(files, exposure={"suep": ()}), tmp_path)


# ---- deposits -----------------------------------------------------------------------------------


def test_deposits_are_trained_on_and_nothing_else_changes(files: dict[str, Path], tmp_path: Path) -> None:
    without = load_dataset(h5_config(files), tmp_path)
    dataset = load_dataset(h5_config(files, deposits=300), tmp_path)
    assert (without.deposits, dataset.deposits) == (0, 300)
    assert dataset.digest == without.digest, "the teacher is the same"
    assert list(dataset.train.exposure) == ["suep", "deposits"]
    assert "deposits" not in without.train.exposure
    assert dataset.train.exposure.pop("deposits").shape == (300, 18, 14)
    for before, after in zip(parts(without), parts(dataset), strict=True):
        assert numbers(after.zero_bias) == numbers(before.zero_bias)
        for kind in ("signals", "exposure"):
            old, new = ({n: numbers(x) for n, x in getattr(part, kind).items()} for part in (before, after))
            assert old == new


def test_deposits_are_of_the_training_part_and_the_splits_seed(
    files: dict[str, Path], tmp_path: Path
) -> None:
    dataset = load_dataset(h5_config(files, deposits=300, split=Split(seed=7)), tmp_path)
    events = dataset.train.exposure["deposits"]
    assert np.array_equal(events, make_deposits(dataset.train.zero_bias, 300, 7))
    # Of 300 events, most have nothing on top of their number.
    assert len({*numbers(events)} & {*numbers(dataset.train.zero_bias)}) > 45
    others = [number for part in parts(dataset)[1:] for number in numbers(part.zero_bias)]
    assert len({*numbers(events)} & {*others}) < 5
    other = load_dataset(h5_config(files, deposits=300, split=Split(seed=8)), tmp_path)
    assert not np.array_equal(other.train.exposure["deposits"], events)


def test_deposits_may_be_all_exposure(files: dict[str, Path], tmp_path: Path) -> None:
    dataset = load_dataset(h5_config(files, exposure={}, deposits=3), tmp_path)
    assert [list(part.exposure) for part in parts(dataset)] == [["deposits"], [], [], []]


@pytest.mark.parametrize("key", ["signals", "exposure"])
def test_a_class_of_that_name_is_another(key: str, files: dict[str, Path], tmp_path: Path) -> None:
    classes = {key: {"deposits": (files["tt"],)}}
    with pytest.raises(ValidationError, match=rf"source\.{key}\.deposits has the name of the events that"):
        h5_config(files, deposits=1, **classes)
    if key == "signals":
        classes["exposure"] = {}
    else:
        classes["signals"] = {"higgs": (files["higgs"],)}
    dataset = load_dataset(h5_config(files, **classes), tmp_path)
    assert sum(len(getattr(part, key).get("deposits", ())) for part in parts(dataset)) == 50
    assert dataset.deposits == 0


# ---- how events are divided ---------------------------------------------------------------------


@given(
    st.integers(0, 3_000),
    st.lists(st.integers(1, 100), min_size=1, max_size=4),
    st.sampled_from([1, POOL_PARTS]),
    st.integers(0, 2**31 - 1),
)
def test_division_loses_nothing_and_keeps_proportions(
    count: int, shares: list[int], pool_parts: int, seed: int
) -> None:
    try:
        pieces = _divide(
            "x", numbered(0, count), [float(share) for share in shares], Split(seed=seed), pool_parts
        )
    except DataError:
        assert min(shares) / sum(shares) * count <= 1
        return
    assert sorted(n for piece in pieces for n in numbers(piece)) == [*range(count)]
    for piece, share in zip(pieces, shares, strict=True):
        assert abs(len(piece) - count * share / sum(shares)) <= 1


@given(st.integers(1, 30), st.permutations([10, 3, 6, 1]), st.integers(0, 2**31 - 1))
def test_parts_share_no_pile_up(events_each: int, twentieths: list[int], seed: int) -> None:
    events = numbered(0, events_each * POOL_PARTS)
    pieces = _divide("x", events, [share / 20 for share in twentieths], Split(seed=seed), POOL_PARTS)
    used = [{number % POOL_PARTS for number in numbers(piece)} for piece in pieces]
    assert [len(pool_parts) for pool_parts in used] == twentieths
    assert set.union(*used) == set(range(POOL_PARTS))


# ---- generated events ---------------------------------------------------------------------------

SMALL = PythiaSource(zero_bias=200, signal_events=40, signals=("tt",), pool=100)


def test_generated_events_are_cached_and_divided(tmp_path: Path) -> None:
    said = []
    config = DatasetConfig(source=SMALL)
    assert not is_made(config, tmp_path)
    dataset = load_dataset(config, tmp_path, processes=1, progress=lambda what, *_: said.append(what))
    assert [len(part.zero_bias) for part in parts(dataset)] == [100, 30, 60, 10]
    assert [len(part.signals.get("tt", ())) for part in parts(dataset)] == [0, 12, 24, 4]
    assert [len(part.exposure["hidden_valley"]) for part in parts(dataset)] == [20, 6, 12, 2]
    assert "generating tt" in said
    assert [path.name for path in tmp_path.iterdir()] == [f"pythia-v1-{generator_digest(SMALL)}"]

    said.clear()
    assert is_made(config, tmp_path)
    # The folder also serves a configuration that asks for less.
    fewer = DatasetConfig(source=SMALL.model_copy(update={"exposure": ()}))
    again = load_dataset(fewer, tmp_path, progress=lambda what, *_: said.append(what))
    assert set(said) <= {"reading zero_bias.h5", "reading tt.h5"}
    assert np.array_equal(again.train.zero_bias, dataset.train.zero_bias)
    assert np.array_equal(again.test.signals["tt"], dataset.test.signals["tt"])
    assert again.digest != dataset.digest
    assert {**again.train.exposure, **again.test.exposure} == {}

    more = load_dataset(fewer.model_copy(update={"deposits": 30}), tmp_path)
    assert more.digest == again.digest
    assert {name: len(events) for name, events in more.train.exposure.items()} == {"deposits": 30}
    assert more.test.exposure == {}


def test_digest_changes_with_everything_that_decides_a_dataset() -> None:
    configs = [
        DatasetConfig(),
        DatasetConfig(source=PythiaSource(seed=1)),
        DatasetConfig(source=PythiaSource(zero_bias=50_000)),
        DatasetConfig(source=PythiaSource(signals=("tt",))),
        DatasetConfig(source=PythiaSource(exposure=())),
        DatasetConfig(split=Split(seed=1)),
        DatasetConfig(split=Split(train=0.5, validation=0.1, test=0.35, synthesis=0.05)),
    ]
    digests = [dataset_digest(config) for config in configs]
    assert len(set(digests)) == len(configs)
    assert digests == [dataset_digest(config) for config in configs]


def test_available_processors() -> None:
    assert available_processors() >= 1
