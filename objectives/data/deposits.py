"""Deposits: outlier events to train on, made of zero bias and a few regions of extra energy.

A student that has seen zero bias alone knows what the teacher says of the bulk, and guesses where
signals lie: a few hot regions on top of pile-up. Deposits are such events. They look like no process
in particular, and nothing about them is known but what the teacher says, so they need no simulation.

Here a deposit is a jet's core in one region and what it leaves in the next: energies range from what
pile-up does every day to what the trigger cannot overlook, evenly in their logarithm, because the
teacher's score is the logarithm of a squared error.
"""

import numpy as np
from numpy.typing import NDArray

from objectives.data.geometry import REGIONS_ETA, REGIONS_PHI
from objectives.data.pileup import REGION_CAP

#: The exposure class that these events are.
DEPOSITS = "deposits"
#: Most deposits of an event: the decay products of what is searched for, and some radiation.
MOST = 6
#: Chance that an event has each deposit after its first, which it always has; 3.5 on average.
CHANCE = 0.5
#: Range of energies in counts, 2.5 to 200 GeV: from a soft jet to one far above any threshold.
LOWEST, HIGHEST = 5.0, 400.0
#: Less than this share of a deposit's energy is in the next region of phi as well, for a jet is
#: seldom contained in one.
LARGEST_SHARE = 0.5


def make_deposits(zero_bias: NDArray[np.uint16], count: int, split_seed: int) -> NDArray[np.uint16]:
    """Return `count` events (count, 18, 14), in counts of 0.5 GeV, made from `zero_bias` (n, 18, 14).

    Each is one of the zero-bias events, drawn at random with replacement, and one to `MOST` deposits.
    A deposit of energy E, log-uniform from `LOWEST` to `HIGHEST` counts, adds E to a random region,
    and a random share of E below `LARGEST_SHARE` to its neighbour at the next phi, which wraps
    around. Both are rounded down to whole counts; regions are capped at 1023 as the trigger does.

    The random numbers are those of ``default_rng([split_seed, *b"deposits"])``, the seed that a class
    of this name has in the division of events. They do not depend on what is in `zero_bias`, except
    for how many events there are.
    """
    rng = np.random.default_rng([split_seed, *DEPOSITS.encode()])
    rows = np.arange(count)
    # 16 bits hold a full region and all deposits on top: 1023 + 6 * (400 + 200).
    events = zero_bias[rng.integers(len(zero_bias), size=count)]
    for number in range(MOST):
        present = rng.random(count) < (CHANCE if number else 1.0)
        energy = np.exp(rng.uniform(np.log(LOWEST), np.log(HIGHEST), count)) * present
        phi, eta = rng.integers(REGIONS_PHI, size=count), rng.integers(REGIONS_ETA, size=count)
        share = rng.uniform(0.0, LARGEST_SHARE, count)
        events[rows, phi, eta] += energy.astype(np.uint16)
        events[rows, (phi + 1) % REGIONS_PHI, eta] += (energy * share).astype(np.uint16)
    return np.minimum(events, np.uint16(REGION_CAP), out=events)
