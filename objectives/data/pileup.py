"""Collisions as sparse tower energies, their overlay in one bunch crossing, and the readout to regions.

A crossing is Poisson(mu) inelastic collisions from a pool, each rotated by a random number of
towers in phi and mirrored in eta at random. All their energy is summed tower by tower before the
electronics see it: resolution, thresholds, quantisation and caps apply to the sum.

Resolutions are those of the CMS ECAL and HCAL in test beams (JINST 3 S08004); thresholds stand
for their zero suppression; counts and caps are those of the Level-1 trigger primitives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.data import geometry as geo

#: Transverse energy in GeV of one count, and the largest region.
COUNT = 0.5
REGION_CAP = 1023
#: Largest ECAL or HCAL tower in counts: trigger primitives hold 8 bits, 127.5 GeV.
TOWER_CAP = 255
#: Smallest transverse energy in GeV that a tower passes on: ECAL, HCAL.
THRESHOLDS = (1.5, 2.5)
#: Relative resolution: stochastic term in sqrt(GeV) and constant term, added in quadrature.
STOCHASTIC = (0.028, 1.00)
CONSTANT = (0.003, 0.05)

#: The pool is dealt into this many disjoint parts, so that parts of a dataset can share no
#: collision: event i of any file draws from part ``i % POOL_PARTS`` alone.
POOL_PARTS = 20

#: Cells of a dense event: (layer 2, eta 56, phi 72), flat.
CELLS = geo.LAYERS * geo.TOWERS_ETA * geo.TOWERS_PHI

_REGIONS = geo.REGIONS_PHI * geo.REGIONS_ETA
_LAYER, _ETA, _PHI = (
    index.ravel() for index in np.indices((geo.LAYERS, geo.TOWERS_ETA, geo.TOWERS_PHI), dtype=np.int32)
)
#: The flat region (18, 14) of each cell.
REGION_OF_CELL = (geo.region_phi_index(_PHI) * geo.REGIONS_ETA + geo.region_eta_index(_ETA)).astype(np.int32)
# sigma(ET) = ET sqrt(S^2 / E + C^2) = sqrt(S^2 / cosh(eta) * ET + C^2 * ET^2), with E = ET cosh(eta).
_STOCHASTIC_SQUARED = np.square(STOCHASTIC)[_LAYER] / np.cosh(geo.TOWER_ETA)[_ETA]
_CONSTANT_SQUARED = np.square(CONSTANT)[_LAYER]
_THRESHOLD = np.array(THRESHOLDS)[_LAYER]
# The smallest true ET that fluctuates above the threshold within five standard deviations, from
# (threshold - ET)^2 = 25 sigma^2: what is below it need not be looked at.
_A, _B = 1 - 25 * _CONSTANT_SQUARED, _THRESHOLD + 12.5 * _STOCHASTIC_SQUARED
_HOPELESS = (_B - np.sqrt(_B**2 - _A * _THRESHOLD**2)) / _A

# Events whose dense towers are held at once: enough to hide NumPy's overhead, few enough for the cache.
_CHUNK = 16


@dataclass(frozen=True)
class Collisions:
    """`n` collisions as lists of the towers that they hit.

    `offsets` (n + 1,) int64: collision i owns entries offsets[i] to offsets[i + 1];
    `cells` (m,) int32: flat indices into (layer 2, eta 56, phi 72);
    `et` (m,) float32: transverse energy in GeV, before any detector effect.
    """

    offsets: NDArray[np.int64]
    cells: NDArray[np.int32]
    et: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of entries of each collision, (n,)."""
        return np.diff(self.offsets)

    @classmethod
    def from_deposits(
        cls, count: int, collision: NDArray[np.int64], cells: NDArray[np.int64], et: NDArray[np.float64]
    ) -> "Collisions":
        """Sum single deposits, each with the index of its `collision`, into `count` collisions."""
        keys, inverse = np.unique(collision * CELLS + cells, return_inverse=True)
        total = np.bincount(inverse, weights=et, minlength=len(keys))
        offsets = np.searchsorted(keys, np.arange(count + 1) * CELLS).astype(np.int64)
        return cls(offsets, (keys % CELLS).astype(np.int32), total.astype(np.float32))

    @classmethod
    def concatenate(cls, parts: "Sequence[Collisions]") -> "Collisions":
        """Join collisions in order."""
        sizes = np.concatenate([part.sizes for part in parts])
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.concatenate([part.cells for part in parts]),
            np.concatenate([part.et for part in parts]),
        )

    def take(self, indices: NDArray[np.int64]) -> "Collisions":
        """Return the collisions at `indices`, in that order."""
        sizes = self.sizes[indices]
        entries = _ragged(self.offsets[:-1][indices], sizes)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return Collisions(offsets, self.cells[entries], self.et[entries])

    def sums(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the sum over each collision, (n,), of `values` (m,), one for each entry."""
        summed = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        return np.diff(summed[self.offsets])


class Pool:
    """Inelastic collisions, dealt into `POOL_PARTS` disjoint parts of equal character.

    They are dealt like cards, the hardest first, back and forth, so that crossings made from
    different parts have the same mean energy within 1 % (7 % if left to chance, at 600 a part).
    """

    def __init__(self, collisions: Collisions) -> None:
        if len(collisions) < POOL_PARTS:
            raise ValueError(f"a pool needs at least {POOL_PARTS} collisions, not {len(collisions)}")
        et = collisions.et
        # What the readout may see of a collision: towers that pile-up can lift over the threshold.
        likely = collisions.sums(np.where(et > _THRESHOLD[collisions.cells] / 2, et, 0))
        ranked = np.lexsort([collisions.sums(et), likely])[::-1]
        deal = np.concatenate([np.arange(POOL_PARTS), np.arange(POOL_PARTS)[::-1]])
        owner = np.resize(deal, len(ranked))
        order = np.argsort(owner, kind="stable")
        self.collisions = collisions.take(ranked[order])
        self.sizes = np.bincount(owner, minlength=POOL_PARTS)
        self.starts = np.cumsum(self.sizes) - self.sizes
        # All entries and then their mirror images: phi, and the flat index of the row's first cell.
        cells = self.collisions.cells
        mirrored = _LAYER[cells] * geo.TOWERS_ETA + geo.TOWERS_ETA - 1 - _ETA[cells]
        self._phi = np.tile(_PHI[cells], 2)
        self._row = np.concatenate([cells - _PHI[cells], mirrored * geo.TOWERS_PHI])
        self._et = np.tile(self.collisions.et, 2)

    def draw(self, part: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return one collision at random from each of the parts named in `part`."""
        return self.starts[part] + (rng.random(len(part)) * self.sizes[part]).astype(np.int64)

    def turned(
        self, picked: NDArray[np.int64], shift: NDArray[np.int64], mirror: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return cells and transverse energies of `picked` collisions, each turned in its own way.

        A collision is rotated by `shift` towers in phi, and mirrored in eta where `mirror` is set.
        """
        sizes = self.collisions.sizes[picked]
        entries = _ragged(self.collisions.offsets[picked] + mirror * len(self.collisions.et), sizes)
        phi = self._phi[entries] + np.repeat(shift, sizes)
        return self._row[entries] + phi - geo.TOWERS_PHI * (phi >= geo.TOWERS_PHI), self._et[entries]


def overlay(
    pool: Pool,
    count: int,
    pileup: tuple[float, float],
    rng: np.random.Generator,
    *,
    first: int = 0,
    hard: Collisions | None = None,
) -> NDArray[np.uint16]:
    """Return the regions (count, 18, 14) of `count` crossings in 0.5 GeV counts.

    Each has Poisson(mu) collisions of `pool`, mu uniform in `pileup`, on top of its own collision
    of `hard` where given, which stays as it is. `first` is the index of the first of them in its
    file and decides which part of the pool each one draws from.
    """
    number = rng.poisson(rng.uniform(*pileup, size=count))
    event = np.repeat(np.arange(count), number)
    picked = pool.draw((first + event) % POOL_PARTS, rng)
    shift = rng.integers(geo.TOWERS_PHI, size=len(event))
    mirror = rng.integers(2, size=len(event)) == 1
    ends = np.concatenate([[0], np.cumsum(number)])
    regions = np.empty((count, geo.REGIONS_PHI, geo.REGIONS_ETA), np.uint16)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        used = slice(ends[start], ends[stop])
        cells, et = pool.turned(picked[used], shift[used], mirror[used])
        cells += np.repeat((event[used] - start) * CELLS, pool.collisions.sizes[picked[used]])
        if hard is not None:
            entries = slice(hard.offsets[start], hard.offsets[stop])
            owner = np.repeat(np.arange(stop - start), hard.sizes[start:stop])
            cells = np.concatenate([cells, hard.cells[entries] + owner * CELLS])
            et = np.concatenate([et, hard.et[entries]])
        towers = np.asarray(np.bincount(cells, et, minlength=(stop - start) * CELLS), np.float64)
        regions[start:stop] = read_out(towers.reshape(stop - start, CELLS), rng)
    return regions


def read_out(towers: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return regions (n, 18, 14) in counts from true transverse energies in GeV (n, `CELLS`).

    Every tower is smeared by its layer's resolution, cut by its threshold, rounded
    down to 0.5 GeV and capped at 127.5 GeV; the layers are added, and the region capped at 1023.
    """
    hit = np.flatnonzero(towers > _HOPELESS)
    true = towers.ravel()[hit]
    event, cell = np.divmod(hit, CELLS)
    seen = true + np.sqrt(true * (_STOCHASTIC_SQUARED[cell] + _CONSTANT_SQUARED[cell] * true)) * (
        rng.standard_normal(len(hit))
    )
    passed = np.flatnonzero(seen >= _THRESHOLD[cell])
    counts = np.minimum(np.floor(seen[passed] / COUNT), TOWER_CAP)
    region = event[passed] * _REGIONS + REGION_OF_CELL[cell[passed]]
    summed = np.bincount(region, weights=counts, minlength=len(towers) * _REGIONS)
    shape = (len(towers), geo.REGIONS_PHI, geo.REGIONS_ETA)
    return np.minimum(summed, REGION_CAP).astype(np.uint16).reshape(shape)


def _ragged(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ranges start to start + size, one after the other."""
    before = np.cumsum(sizes) - sizes
    ranges: NDArray[np.int64] = np.arange(sizes.sum()) + np.repeat(starts - before, sizes)
    return ranges
