"""The events that an export is proven on: collisions, corners and random ones, always the same.

Collisions are kept in the export. Corners and random events are made anew from bits that NumPy promises
never to change (`random_raw` of a bit generator), so that a hundred thousand events take a few megabytes.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from objectives.costs.score_port import REGION_BITS, REGIONS
from objectives.data.dataset import Dataset
from sweep.errors import ExportError

#: Events of an export, unless asked otherwise.
EVENTS = 100_000
#: Most collisions taken of zero bias, and of each signal.
ZERO_BIAS, SIGNAL = 20_000, 4_000
_LARGEST = 2**REGION_BITS - 1

Regions = NDArray[np.uint16]


class Vectors:
    """Collisions (n, 252) in counts by what they are, then corners, then so many random events."""

    def __init__(self, collisions: Mapping[str, Regions], random: int) -> None:
        self.collisions = dict(collisions)
        made = {**_corners(), **_random(random, np.concatenate(list(self.collisions.values())))}
        self.random = random
        #: (name, how many), in the order of `regions`.
        self.kinds = [(name, len(events)) for name, events in [*self.collisions.items(), *made.items()]]
        #: All events (n, 252) in counts.
        self.regions: Regions = np.concatenate([*self.collisions.values(), *made.values()])

    def __len__(self) -> int:
        return len(self.regions)

    def kind_of(self, event: int) -> str:
        """Return what event number `event` is."""
        ends = np.cumsum([count for _, count in self.kinds])
        return self.kinds[int(np.searchsorted(ends, event, side="right"))][0]

    def images(self) -> Regions:
        """Return the events as (n, 18, 14)."""
        return self.regions.reshape(-1, 18, 14)


def digest(numbers: NDArray[np.uint16]) -> str:
    """Return the SHA-256 of 16-bit numbers, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(numbers, "<u2").tobytes()).hexdigest()


def collisions_of(dataset: Dataset) -> dict[str, Regions]:
    """Return collisions (n, 252) to compare on: zero bias and every signal.

    They come from the part of the split that is for this, and then from test and validation.
    """
    parts = (dataset.synthesis, dataset.test, dataset.validation)
    found = {"zero_bias": _first([part.zero_bias for part in parts], ZERO_BIAS)}
    for name in dataset.synthesis.signals:
        found[name] = _first([part.signals[name] for part in parts], SIGNAL)
    return found


def _first(parts: Sequence[Regions], count: int) -> Regions:
    return np.concatenate(parts)[:count].reshape(-1, REGIONS)


def make_vectors(collisions: Mapping[str, Regions], count: int = EVENTS) -> Vectors:
    """Return the collisions, the corners, and random events up to `count` in all, but some at least."""
    corners = sum(map(len, _corners().values()))
    return Vectors(collisions, max(count - corners - sum(map(len, collisions.values())), 300))


def _corners() -> dict[str, Regions]:
    """Return no energy, all that there can be, and single hot regions: full, and with each bit alone."""
    place = np.arange(REGIONS)
    hot = np.zeros((REGION_BITS + 1, REGIONS, REGIONS), np.uint16)
    for row, energy in enumerate([_LARGEST, *(1 << bit for bit in range(REGION_BITS))]):
        hot[row, place, place] = energy
    return {
        "all_zero": np.zeros((1, REGIONS), np.uint16),
        "all_1023": np.full((1, REGIONS), _LARGEST, np.uint16),
        "hot_region": hot.reshape(-1, REGIONS),
    }


def _random(count: int, collisions: Regions) -> dict[str, Regions]:
    """Return events anywhere, in a few regions only, of all sizes, and collisions with regions shuffled.

    Most are of the last kind: their energies are such that scores differ, where random ones saturate.
    """
    each = count // 8
    soft = _bits(3, each) >> (_bits(4, each)[:, :1] % REGION_BITS)
    made = {
        "random": _bits(0, each),
        "random_sparse": np.where(_bits(2, each) < _LARGEST // 8, _bits(1, each), 0),
        "random_soft": soft,
        "random_shuffled": _shuffled(count - 3 * each, collisions),
    }
    return {name: np.asarray(regions, np.uint16) for name, regions in made.items()}


def _shuffled(count: int, collisions: Regions) -> Regions:
    keys = np.random.PCG64(5).random_raw(count * REGIONS).reshape(count, REGIONS)
    places = np.argsort(keys, axis=1, kind="stable")
    return np.take_along_axis(collisions[np.arange(count) % len(collisions)], places, axis=1)


def _bits(seed: int, events: int) -> Regions:
    words = np.random.PCG64(seed).random_raw(events * REGIONS // 4)
    counts = (words.astype("<u8").view("<u2") & _LARGEST).reshape(events, REGIONS)
    return np.asarray(counts, np.uint16)


# ---- in a file -----------------------------------------------------------------------------------


def save_vectors(file: Path, vectors: Vectors, scores: NDArray[np.uint16]) -> None:
    """Write the collisions and the raw scores (n,) of all events, compressed; the same bytes each time."""
    regions = np.concatenate(list(vectors.collisions.values()))
    np.savez_compressed(
        file,
        names=np.array(list(vectors.collisions)),
        counts=np.array([len(events) for events in vectors.collisions.values()]),
        # Low and high bytes apart compress better.
        low=(regions & 0xFF).astype(np.uint8),
        high=(regions >> 8).astype(np.uint8),
        random=np.array(vectors.random),
        scores=scores,
    )


def load_vectors(file: Path) -> tuple[Vectors, NDArray[np.uint16]]:
    """Return events and raw scores of a file; raises ExportError when it is none of `save_vectors`."""
    try:
        with np.load(file, allow_pickle=False) as content:
            regions = content["low"].astype(np.uint16) | content["high"].astype(np.uint16) << 8
            names, counts = map(str, content["names"]), content["counts"]
            random, scores = int(content["random"]), content["scores"].astype(np.uint16)
        if sum(counts) != len(regions) or regions.shape[1:] != (REGIONS,) or not 8 <= random <= 10**7:
            raise ValueError("its counts do not add up")
        pieces = np.split(regions, np.cumsum(counts)[:-1])
        vectors = Vectors(dict(zip(names, pieces, strict=True)), random)
        if scores.shape != (len(vectors),):
            raise ValueError("it has not a score for each event")
    except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ExportError(
            f"{file}: holds no events of an export ({error}); export the trial again"
        ) from error
    return vectors, scores
