"""Paired bootstrap: the same events drawn again for every student, so that differences have intervals.

Two students are scored on the same events, and what chance does to one it does to the other. Drawn
anew for each, their difference would look far less certain than it is (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.data.dataset import Part
from objectives.scores import BUNCH_RATE_KHZ

Floats = NDArray[np.floating[Any]]
#: Replicates worked on at a time, which bounds the memory that many events take.
_BLOCK = 25


@dataclass(frozen=True)
class Replicates:
    """Scores of one student by replicate (replicates,): first as measured, then of each resampling."""

    auc: dict[str, NDArray[np.float64]]
    efficiency: dict[str, NDArray[np.float64]]

    @property
    def mean_auc(self) -> NDArray[np.float64]:
        return np.asarray(np.mean(list(self.auc.values()), axis=0), np.float64)

    @property
    def worst_auc(self) -> NDArray[np.float64]:
        return np.asarray(np.min(list(self.auc.values()), axis=0), np.float64)

    @property
    def mean_efficiency(self) -> NDArray[np.float64]:
        return np.asarray(np.mean(list(self.efficiency.values()), axis=0), np.float64)


class Resampling:
    """How often each event of a part is drawn, by replicate; the first replicate is the part itself."""

    def __init__(self, part: Part, number: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._zero_bias = _drawn(rng, len(part.zero_bias), number)
        self._signals = {name: _drawn(rng, len(events), number) for name, events in part.signals.items()}

    def score(self, zero_bias: Floats, signals: Mapping[str, Floats], rate_khz: float) -> Replicates:
        """Return the replicates of a student with these outputs (n,) on zero bias and on each signal.

        Ties and thresholds are those of `objectives.scores.score`, which the first replicate equals.
        """
        order = np.argsort(zero_bias, kind="stable")
        ascending = zero_bias[order]
        total = len(zero_bias)
        allowed = rate_khz / BUNCH_RATE_KHZ * total
        # Zero-bias events below each signal event, without and with those at the same score.
        below = {name: np.searchsorted(ascending, outputs, "left") for name, outputs in signals.items()}
        up_to = {name: np.searchsorted(ascending, outputs, "right") for name, outputs in signals.items()}
        auc: dict[str, list[NDArray[np.float64]]] = {name: [] for name in signals}
        efficiency: dict[str, list[NDArray[np.float64]]] = {name: [] for name in signals}
        for start in range(0, len(self._zero_bias), _BLOCK):
            block = slice(start, start + _BLOCK)
            counts = np.cumsum(self._zero_bias[block][:, order], axis=1, dtype=np.float64)
            counts = np.concatenate([np.zeros((len(counts), 1)), counts], axis=1)
            for name in signals:
                weights = self._signals[name][block]
                lower, upper = counts[:, below[name]], counts[:, up_to[name]]
                wins = ((lower + upper) / 2 * weights).sum(axis=1)
                auc[name].append(wins / (total * weights.shape[1]))
                fires = total - lower <= allowed
                efficiency[name].append((fires * weights).sum(axis=1) / weights.shape[1])
        return Replicates(
            {name: np.concatenate(parts) for name, parts in auc.items()},
            {name: np.concatenate(parts) for name, parts in efficiency.items()},
        )


def _drawn(rng: np.random.Generator, events: int, number: int) -> NDArray[np.uint8]:
    """Return how often each of `events` is drawn (1 + number, events), the first time once each."""
    rows = [np.ones(events, np.uint8)]
    rows += [
        np.bincount(rng.integers(0, events, events), minlength=events).astype(np.uint8) for _ in range(number)
    ]
    return np.stack(rows)
