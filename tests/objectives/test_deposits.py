"""Deposits add energy to zero bias, as often, as much and where the recipe says, and nothing else."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.data.deposits import CHANCE, DEPOSITS, HIGHEST, LARGEST_SHARE, LOWEST, MOST, make_deposits
from objectives.data.geometry import IMAGE_SHAPE
from tests.strategies import regions

#: No background: what is there was added.
NOTHING = np.zeros((7, *IMAGE_SHAPE), np.uint16)
seeds = st.integers(0, 2**31 - 1)


def flat(level: int, events: int = 1) -> NDArray[np.uint16]:
    return np.full((events, *IMAGE_SHAPE), level, np.uint16)


def hit(events: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return how many regions (n,) of events without background have energy."""
    return (events > 0).sum(axis=(1, 2))


@pytest.fixture(scope="module")
def added() -> NDArray[np.uint16]:
    """What deposits added to many events."""
    return make_deposits(NOTHING, 40_000, 42)


def test_the_recipe() -> None:
    assert (MOST, CHANCE, LOWEST, HIGHEST, LARGEST_SHARE) == (6, 0.5, 5, 400, 0.5)
    assert DEPOSITS == "deposits"


# ---- any zero bias ------------------------------------------------------------------------------


@settings(deadline=None)
@given(regions(), st.integers(0, 40), seeds)
def test_energy_is_added_to_zero_bias_and_capped(
    zero_bias: NDArray[np.uint16], count: int, seed: int
) -> None:
    before = zero_bias.copy()
    events = make_deposits(zero_bias, count, seed)
    assert (events.dtype, events.shape) == (np.uint16, (count, *IMAGE_SHAPE))
    assert (zero_bias == before).all(), "zero bias stays as it is"
    assert (events == make_deposits(zero_bias, count, seed)).all()
    # Which events, where and how much: the seed decides, and not what zero bias looks like.
    added = make_deposits(np.zeros_like(zero_bias), count, seed).astype(int)
    numbered = np.arange(len(zero_bias), dtype=np.uint16)[:, None, None] + np.zeros_like(zero_bias)
    source = make_deposits(numbered, count, seed).min(axis=(1, 2))
    assert (events == np.minimum(zero_bias[source] + added, 1023)).all()


@settings(deadline=None)
@given(st.integers(1, 50), seeds)
def test_every_event_has_its_first_deposit(count: int, seed: int) -> None:
    events = make_deposits(NOTHING, count, seed)
    assert (events.max(axis=(1, 2)) >= 5).all()
    assert (hit(events) <= 12).all()
    assert (events.sum(axis=(1, 2)) <= 6 * 600).all()


def test_another_seed_makes_others() -> None:
    one, two = (make_deposits(NOTHING, 200, seed) for seed in (1, 2))
    assert len(np.unique(np.concatenate([one, two]), axis=0)) == 400


def test_a_full_region_stays_full() -> None:
    """Sixteen bits would wrap around."""
    assert (make_deposits(flat(1023), 500, 3) == 1023).all()
    events = make_deposits(flat(1000), 500, 3)
    assert events.min() == 1000
    assert events.max() == 1023


def test_every_event_of_zero_bias_is_as_likely() -> None:
    zero_bias = np.concatenate([flat(100 * number) for number in range(10)])
    source = make_deposits(zero_bias, 20_000, 4).min(axis=(1, 2)) // 100
    drawn = np.bincount(source, minlength=10)
    # With replacement: as a multinomial, each within five standard deviations of 2000.
    assert np.abs(drawn - 2000).max() < 5 * np.sqrt(2000 * 0.9)
    assert drawn.std() > 5


def test_no_deposits() -> None:
    assert make_deposits(NOTHING, 0, 1).shape == (0, *IMAGE_SHAPE)


def test_it_is_quick() -> None:
    start = time.process_time()
    make_deposits(NOTHING, 30_000, 5)
    assert time.process_time() - start < 1


# ---- how often, how much, where -----------------------------------------------------------------


def test_one_to_six_deposits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a share for neighbours, and few enough to meet seldom, regions with energy are deposits."""
    monkeypatch.setattr("objectives.data.deposits.LARGEST_SHARE", 0.0)
    deposits = hit(make_deposits(NOTHING, 40_000, 42))
    assert deposits.min() == 1
    assert deposits.max() == 6
    # 1 + Binomial(5, 1/2): 3.5 on average, less the pairs of one region, of which there are
    # E[n(n-1)/2] = (3.5**2 + 1.25 - 3.5) / 2 = 5 in 252. Five standard errors.
    assert deposits.mean() == pytest.approx(3.5 - 5 / 252, abs=5 * np.sqrt(1.25 / 40_000))
    shares = np.bincount(deposits, minlength=7)[1:] / 40_000
    assert shares == pytest.approx(np.array([1, 5, 10, 10, 5, 1]) / 32, abs=0.02)


def test_energies_are_even_in_their_logarithm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("objectives.data.deposits.LARGEST_SHARE", 0.0)
    monkeypatch.setattr("objectives.data.deposits.MOST", 1)
    energies = make_deposits(NOTHING, 40_000, 42).max(axis=(1, 2))
    assert energies.min() == 5
    assert energies.max() == 399, "rounded down"
    for level in (10, 20, 50, 100, 200):
        assert np.mean(energies < level) == pytest.approx(np.log(level / 5) / np.log(80), abs=0.0125)


def test_the_neighbour_at_the_next_phi_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("objectives.data.deposits.MOST", 1)
    events = make_deposits(NOTHING, 40_000, 42)
    number = np.arange(len(events))
    phi, eta = np.unravel_index(events.reshape(len(events), -1).argmax(axis=1), IMAGE_SHAPE)
    energy, next_to_it = events[number, phi, eta], events[number, (phi + 1) % 18, eta]
    assert (events.sum(axis=(1, 2)) == energy + next_to_it.astype(int)).all(), "and no other region"
    share = next_to_it[energy >= 200] / energy[energy >= 200]
    assert 0.48 < share.max() < 0.5025
    assert share.mean() == pytest.approx(0.25 - 0.5 * np.mean(1 / energy[energy >= 200]), abs=0.01)


def test_deposits_are_everywhere(added: NDArray[np.uint16]) -> None:
    """Every region has a deposit, or the neighbour of one, equally often; the edge in phi is none."""
    rate = (added > 0).mean(axis=0)
    error = np.sqrt(rate.mean() * (1 - rate.mean()) / len(added))
    assert np.abs(rate - rate.mean()).max() < 5 * error
    assert rate.std() < 1.3 * error
