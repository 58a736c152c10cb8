"""The order in which the events of an epoch come."""

import numpy as np
from numpy.typing import NDArray


def epoch_order(
    zero_bias: int, exposure: int, fraction: float, batch: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return the events of one epoch, shuffled, in whole batches.

    Every zero-bias event comes once, and as many exposure events (which follow zero bias in the
    data) as make `fraction` of the sample, repeated evenly when there are too few.
    """
    wanted = round(zero_bias * fraction / (1 - fraction)) if exposure else 0
    rounds = [rng.permutation(exposure) for _ in range(-(-wanted // exposure))] if wanted else []
    chosen = np.concatenate([np.arange(zero_bias), *(zero_bias + r for r in rounds)])
    order = rng.permutation(chosen[: zero_bias + wanted])
    whole = max(len(order) // batch, 1) * batch
    return np.resize(order, whole).astype(np.int32)
