"""Datasets: from a configuration to the four disjoint parts that everything else works with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from objectives.config import content_digest
from objectives.data.config import DatasetConfig, H5Source, PythiaSource, Split
from objectives.data.deposits import DEPOSITS, make_deposits
from objectives.data.h5 import file_digest, read_named, read_regions
from objectives.data.pileup import POOL_PARTS
from objectives.data.pythia import GENERATOR_VERSION, generate, generator_digest
from objectives.errors import DataError
from objectives.progress import Progress, silent

_PARTS = ("train", "validation", "test", "synthesis")


@dataclass(frozen=True)
class Part:
    """One part of a dataset: regions (n, 18, 14) uint16 in counts of 0.5 GeV, by class."""

    zero_bias: NDArray[np.uint16]
    signals: dict[str, NDArray[np.uint16]] = field(default_factory=dict)
    exposure: dict[str, NDArray[np.uint16]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Four disjoint parts. `train` has no signals; exposure is trained on and never scored.

    The last exposure class of `train`, and of no other part, are so many `deposits`, if any. They
    are made from the rest, and the digest does not know them: a teacher is the same with them.
    """

    digest: str
    train: Part
    validation: Part
    test: Part
    synthesis: Part
    deposits: int = 0


def load_dataset(
    config: DatasetConfig, cache: Path, *, processes: int | None = None, progress: Progress = silent
) -> Dataset:
    """Return the dataset of `config`; events to be generated are, once, in a folder of `cache`.

    Zero bias and exposure are divided by the four fractions of the split, signals by the last
    three in the same proportion. Which events go where depends on the split's seed and the name of
    the class, and no event is left out. `processes` is for generation: by default one for each
    processor that this process may use.

    Generated events are divided so that parts share no pile-up either: whole twentieths of the pool
    (`objectives.data.pileup.POOL_PARTS`), and the events that were made from each, go to one part.
    Where a fraction is no multiple of a twentieth, two parts share the one at their border.

    Deposits are made from the zero bias of the training part, anew each time, from the split's seed.
    """
    source = config.source
    if isinstance(source, PythiaSource):
        files = generate(
            source,
            pythia_folder(source, cache),
            processes=processes or available_processors(),
            progress=progress,
        )
        samples = {name: read_regions(path, progress=progress) for name, path in files.items()}
        zero_bias = samples.pop("zero_bias")
        exposure = {name: samples.pop(name) for name in map(str, source.exposure)}
        signals = samples
        pool_parts = POOL_PARTS
    else:
        zero_bias, signals, exposure = _read_files(source, progress)
        pool_parts = 1
    digest = dataset_digest(config)

    split = config.split
    shares = [split.train, split.validation, split.test, split.synthesis]
    background = _divide("zero_bias", zero_bias, shares, split, pool_parts)
    exposed = {name: _divide(name, events, shares, split, pool_parts) for name, events in exposure.items()}
    scored = {name: _divide(name, events, shares[1:], split, pool_parts) for name, events in signals.items()}
    parts = {
        part: Part(
            background[index],
            {name: pieces[index - 1] for name, pieces in scored.items()} if index else {},
            {name: pieces[index] for name, pieces in exposed.items()},
        )
        for index, part in enumerate(_PARTS)
    }
    if config.deposits:
        train = parts["train"]
        train.exposure[DEPOSITS] = make_deposits(train.zero_bias, config.deposits, split.seed)
    return Dataset(digest, **parts, deposits=config.deposits)


def pythia_folder(source: PythiaSource, cache: Path) -> Path:
    """Return where in `cache` the generated events of `source` are kept."""
    return cache / f"pythia-v{GENERATOR_VERSION}-{generator_digest(source)}"


def is_made(config: DatasetConfig, cache: Path) -> bool:
    """Tell whether there is nothing to generate: the events are in `cache`, or come from files."""
    source = config.source
    if not isinstance(source, PythiaSource):
        return True
    folder = pythia_folder(source, cache)
    return all((folder / f"{name}.h5").exists() for name in ("zero_bias", *source.signals, *source.exposure))


def dataset_digest(config: DatasetConfig) -> str:
    """Return 16 hex digits that name the dataset's events and their division.

    For generated events they come from the configuration and the version of the generator, for
    files from their content, wherever they lie. Deposits do not count.
    """
    source = config.source
    if isinstance(source, PythiaSource):
        events: object = {"generator": generator_digest(source), "config": source.digest()}
    else:
        events = {
            "zero_bias": [file_digest(path) for path in source.zero_bias],
            "signals": {
                name: [file_digest(path) for path in paths] for name, paths in source.signals.items()
            },
            "exposure": {
                name: [file_digest(path) for path in paths] for name, paths in source.exposure.items()
            },
            "only_accepted": source.only_accepted,
        }
    return content_digest({"events": events, "split": config.split.model_dump(mode="json")})


def available_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_files(
    source: H5Source, progress: Progress
) -> tuple[NDArray[np.uint16], dict[str, NDArray[np.uint16]], dict[str, NDArray[np.uint16]]]:
    """Return zero bias, signals and exposure of region files, which must all be different ones."""
    for name in source.exposure:
        if name in source.signals:
            raise DataError(
                f"'{name}' is both a signal and exposure, which is never scored; give it under one of them"
            )
    signals = {f"signals.{name}": paths for name, paths in source.signals.items()}
    exposure = {f"exposure.{name}": paths for name, paths in source.exposure.items()}
    samples = read_named(
        {"zero_bias": source.zero_bias, **signals, **exposure},
        only_accepted=signals if source.only_accepted else (),
        progress=progress,
    )
    return (
        samples["zero_bias"],
        {name: samples[f"signals.{name}"] for name in source.signals},
        {name: samples[f"exposure.{name}"] for name in source.exposure},
    )


def _divide(
    name: str, events: NDArray[np.uint16], shares: Sequence[float], split: Split, pool_parts: int
) -> list[NDArray[np.uint16]]:
    """Return `events` in random order, divided in proportion to `shares`.

    Event i was made from part ``i % pool_parts`` of the pool. The events of one part stay together,
    in an order of parts that is the same for every class, until they are cut.
    """
    seed = np.random.SeedSequence(split.seed)
    order_of_parts = np.random.default_rng(seed).permutation(pool_parts)
    # The seed of a class depends on nothing but its name, so that adding one moves no other.
    rng = np.random.default_rng([split.seed, *name.encode()])
    order = np.concatenate(
        [rng.permutation(np.arange(part, len(events), pool_parts)) for part in order_of_parts]
    )
    cuts = np.rint(np.cumsum(shares) / np.sum(shares) * len(events)).astype(int)
    pieces = np.split(order, cuts[:-1])
    if min(map(len, pieces)) == 0:
        raise DataError(
            f"'{name}' has {len(events)} events, too few for each part of the split to get one;"
            " add events or change the fractions"
        )
    return [events[rng.permutation(piece)] for piece in pieces]
