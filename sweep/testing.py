"""Simulated runs: a study's machinery without its training, and objectives whose answer is known.

A study file with a section `simulation` is worked on like any other, by the same workers, against the
same database; only what trains is replaced. So a database, a batch system or a launcher can be tried, and
measured, before anything is trained with them. See `tests/sweep/test_chaos.py` for the use in tests.

The higher beta, the fewer bits: a student at position u of the way from the lowest to the highest beta
(in log) has at best ``BEST_AUC - 0.25 u²`` at ``500 · 40^(1-u)`` LUT. A learning rate that is a factor of
ten off `BEST_LEARNING_RATE` costs 0.1 of AUC and doubles the LUTs.
"""

import math
import time
from types import TracebackType
from typing import Any, Self

import numpy as np
from optuna.trial import FrozenTrial

from objectives.recipe import Recipe
from sweep.study import Study
from sweep.study_file import Simulation, StudyFile
from sweep.worker.runs import Measured, Result, Watch

BEST_AUC = 0.95
BEST_LEARNING_RATE = 5e-3
#: Lowest and highest beta.
BETAS = (1e-7, 1e-2)
#: Looks at whether to stop, in one run.
LOOKS = 20


def best_auc(lut: float) -> float:
    """Return the highest AUC that a simulated student of so many LUT can have: the known answer."""
    return BEST_AUC - 0.25 * (1 - math.log(lut / 500) / math.log(40)) ** 2


def auc_and_lut(recipe: Recipe, beta: float) -> tuple[float, float]:
    """Return what a simulated student of this recipe has when beta has come to `beta`."""
    low, high = map(math.log, BETAS)
    position = min(max((math.log(max(beta, BETAS[0])) - low) / (high - low), 0.0), 1.0)
    off = abs(math.log10(recipe.training.learning_rate / BEST_LEARNING_RATE))
    return BEST_AUC - 0.25 * position**2 - 0.1 * off, 500 * 40 ** (1 - position) * 2**off


class SimulatedRuns:
    """Stands in for training: sleeps, and returns points that a formula knows."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.settings = study.file.simulation or Simulation()
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def is_compiled(self, recipe: Recipe) -> bool:
        """Nothing is ever compiled."""
        return True

    @property
    def is_worn_out(self) -> bool:
        """Tell whether there were as many runs as the simulation allows a process."""
        return self._runs >= (self.settings.runs_of_a_process or math.inf)

    def forget(self, run: FrozenTrial) -> None:
        """Nothing is kept of a run."""

    def train(self, run: FrozenTrial, watch: Watch) -> Result:
        """Sleep for about the seconds of the study's simulation, and return its points."""
        self._runs += 1
        recipe = Recipe.model_validate_json(run.user_attrs["recipe"])
        rng = np.random.default_rng(run.user_attrs["seed"])
        end = time.monotonic() + self.settings.seconds * rng.uniform(0.5, 1.5)
        while (left := end - time.monotonic()) > 0:
            watch.look()
            time.sleep(min(left, self.settings.seconds / LOOKS))
        beta, epochs = recipe.training.beta, recipe.training.epochs
        low = beta.final if beta.schedule == "constant" else beta.initial
        # Epochs of its own for each, on the way up to the final beta.
        count = min(self.settings.points, epochs - 1)
        chosen: Any = np.unique(np.linspace(0, epochs - 2, count).astype(int)) if count > 0 else []
        points = [
            self._measured(run, recipe, int(epoch), low * (beta.final / low) ** (epoch / (epochs - 1)))
            for epoch in chosen
        ]
        return Result(tuple(points), self._measured(run, recipe, epochs - 1, beta.final), None)

    def _measured(self, run: FrozenTrial, recipe: Recipe, epoch: int, beta: float) -> Measured:
        auc, lut = auc_and_lut(recipe, beta)
        design = f"{run.number:08x}{epoch:08x}"
        attributes = {
            "epoch": epoch,
            "beta": beta,
            "loss": 1.0 - auc,
            "validation": _scores(auc, self.study.file),
            "test": {
                **_scores(auc, self.study.file),
                "intervals": {"mean_auc": [auc - 0.002, auc + 0.002]},
            },
            "cost": _cost(lut),
            "design": design,
            "student": f"{run.number}-{epoch}-{design}",
        }
        return Measured.of(self.study.file, attributes)


def _scores(auc: float, file: StudyFile) -> dict[str, Any]:
    at_rates = [
        {
            "efficiency": {"simulated": auc / 10},
            "mean_efficiency": auc / 10,
            "rate_khz": rate,
            "expected": 0.0,
            "passing": 0,
        }
        for rate in (file.rate_khz, *file.other_rates_khz)
    ]
    return {
        "mean_auc": auc,
        "worst_auc": auc,
        "auc": {"simulated": auc},
        **at_rates[0],
        "at_other_rates": at_rates[1:],
    }


def _cost(lut: float) -> dict[str, Any]:
    return {
        "lut": lut,
        "ff": round(1.5 * lut),
        "dsp": 0.0,
        "ebops": round(lut),
        "latency_cycles": 3,
        "latency_ns": 18.75,
        "hls_lut": 10 * lut,
        "hls_dsp": 0.0,
        "lut_equivalent": lut,
        "hls_lut_equivalent": 10 * lut,
        "source": "estimated",
    }
