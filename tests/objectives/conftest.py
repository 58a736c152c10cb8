"""What tests of objectives share: small data that a student can learn from, and one compiled trainer."""

import os
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

# Before TensorFlow is imported, and by variables, for most tests here do not need it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from objectives.data.dataset import Part
from objectives.recipe import Recipe

#: Eta indices of regions that stay below `COLD_LIMIT` counts in all training data, exposure too.
COLD = (0, 13)
COLD_LIMIT = 40


def zero_bias_like(rng: np.random.Generator, events: int) -> NDArray[np.uint16]:
    """Two regions of three empty, the rest soft, more or less so from event to event."""
    filled = rng.random((events, 18, 14)) < 0.35
    return _capped(rng.exponential(10, (events, 18, 14)) * filled * rng.uniform(0.2, 2, (events, 1, 1)))


def jets_like(rng: np.random.Generator, events: int, most: int = 4) -> NDArray[np.uint16]:
    """Soft regions and one to `most` hard ones."""
    counts = zero_bias_like(rng, events).astype(float)
    for event in counts:
        for _ in range(rng.integers(1, most + 1)):
            event[rng.integers(18), rng.integers(1, 13)] += 100 + rng.exponential(150)
    return _capped(counts)


def exposure_like(rng: np.random.Generator, events: int) -> NDArray[np.uint16]:
    """Up to eight hard regions; in the first event, all that may be hot are as hot as can be."""
    counts = jets_like(rng, events, 8).astype(float)
    counts[0] = 1023
    return _capped(counts)


def _capped(counts: NDArray[np.floating]) -> NDArray[np.uint16]:
    counts[:, :, COLD] = np.minimum(counts[:, :, COLD], COLD_LIMIT)
    return np.minimum(counts, 1023).astype(np.uint16)


def anomaly(events: NDArray[np.uint16]) -> NDArray[np.float32]:
    """A stand-in for a teacher's targets, in its range: soft events about 25, hard ones above 30."""
    return np.minimum(np.round(events.sum(axis=(1, 2)) / 20 * 256) / 256, 255).astype(np.float32)


@pytest.fixture(scope="session")
def train_part() -> Part:
    rng = np.random.default_rng(1)
    return Part(zero_bias_like(rng, 2500), {}, {"uniform": exposure_like(rng, 500)})


@pytest.fixture(scope="session")
def validation_part() -> Part:
    rng = np.random.default_rng(2)
    return Part(zero_bias_like(rng, 900), {"jets": jets_like(rng, 400)}, {})


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """A recipe that learns something in its few epochs and loses bits meanwhile."""
    return Recipe.model_validate(
        {
            "student": {"filters": 3, "hidden": 6},
            "training": {
                "epochs": 14,
                "batch": 64,
                "learning_rate": 1e-2,
                "beta": {"initial": 1e-6, "final": 1e-3},
            },
        }
    )


@pytest.fixture(scope="session")
def trainer(recipe: Recipe, train_part: Part, validation_part: Part):  # type: ignore[no-untyped-def]
    """The compiled graphs of `recipe`; whoever uses them calls `start`."""
    from objectives.measurement import all_events
    from objectives.training.graphs import TrainingData
    from objectives.training.trainer import Trainer

    events = np.concatenate([train_part.zero_bias, train_part.exposure["uniform"]])
    data = TrainingData.load(events, anomaly(events), len(train_part.zero_bias), all_events(validation_part))
    return Trainer(recipe, data)


@pytest.fixture(scope="session")
def judge(validation_part: Part) -> Callable[[NDArray[np.floating]], Mapping[str, float]]:
    """From validation outputs to the score that a run maximizes."""
    from objectives.measurement import split_outputs
    from objectives.scores import score

    def mean_auc(outputs: NDArray[np.floating]) -> Mapping[str, float]:
        return {"mean_auc": score(*split_outputs(validation_part, outputs)).mean_auc}

    return mean_auc
