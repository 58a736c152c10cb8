"""The paired bootstrap: it agrees with the scores, with a resampling done by hand, and it pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.data.dataset import Part
from objectives.resampling import Resampling
from objectives.scores import score


def part(zero_bias: int, **signals: int) -> Part:
    def events(number: int) -> NDArray[np.uint16]:
        return np.zeros((number, 18, 14), np.uint16)

    return Part(events(zero_bias), {name: events(number) for name, number in signals.items()})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 20), st.integers(1, 8), st.floats(1, 20_000))
def test_replicates_are_scores(seed: int, background: int, signal: int, levels: int, rate: float) -> None:
    """The first is the score itself; any other is the score of the events that were drawn."""
    rng = np.random.default_rng(seed)
    zero_bias = rng.integers(0, levels, background).astype(float)
    signals = {"a": rng.integers(0, levels + 1, signal).astype(float), "b": rng.normal(size=3)}
    drawn = Resampling(part(background, a=signal, b=3), 3, seed)
    found = drawn.score(zero_bias, signals, rate)
    for replicate in range(4):
        expected = score(
            np.repeat(zero_bias, drawn._zero_bias[replicate]),
            {name: np.repeat(x, drawn._signals[name][replicate]) for name, x in signals.items()},
            rate_khz=rate,
        )
        for name in signals:
            assert found.auc[name][replicate] == pytest.approx(expected.auc[name], abs=1e-12)
            assert found.efficiency[name][replicate] == pytest.approx(
                expected.at_rate.efficiency[name], abs=1e-12
            )
        assert found.mean_auc[replicate] == pytest.approx(expected.mean_auc)
        assert found.worst_auc[replicate] == pytest.approx(expected.worst_auc)
        assert found.mean_efficiency[replicate] == pytest.approx(expected.at_rate.mean_efficiency)


def test_it_pairs() -> None:
    """The difference of two students that nearly agree is far more certain than either."""
    rng = np.random.default_rng(0)
    zero_bias, signal = rng.normal(size=2000), rng.normal(1, size=500)
    drawn = Resampling(part(2000, s=500), 100)
    one = drawn.score(zero_bias, {"s": signal}, 3.0).mean_auc
    other = drawn.score(zero_bias, {"s": signal + 0.01 * rng.normal(size=500)}, 3.0).mean_auc
    assert np.std(one - other) < 0.05 * np.std(one)


def test_it_is_as_wide_as_the_scores_own_interval() -> None:
    rng = np.random.default_rng(1)
    zero_bias, signal = rng.normal(size=3000), rng.normal(1, size=300)
    found = Resampling(part(3000, s=300), 400).score(zero_bias, {"s": signal}, 3.0).mean_auc[1:]
    low, high = np.quantile(found, [0.16, 0.84])
    theirs = score(zero_bias, {"s": signal}, bootstraps=400).intervals
    assert theirs is not None
    assert high - low == pytest.approx(theirs["mean_auc"].high - theirs["mean_auc"].low, rel=0.15)


def test_every_event_is_drawn_in_the_same_number() -> None:
    drawn = Resampling(part(50, s=7), 20)
    assert (drawn._zero_bias.sum(axis=1) == 50).all()
    assert (drawn._signals["s"].sum(axis=1) == 7).all()
    assert (drawn._zero_bias[0] == 1).all()
