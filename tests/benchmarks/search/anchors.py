"""The searches that people run today, as their users write them and as fast as documentation allows."""

import time
from typing import Any

import keras
import numpy as np
import optuna
import tensorflow as tf
from hgq.utils import trace_minmax
from hgq.utils.sugar import BetaScheduler, FreeEBOPs, ParetoFront, PieceWiseSchedule

from objectives.recipe import Recipe
from objectives.schemes import hgq
from objectives.training import schedule
from tests.benchmarks.search.problem import EXPOSURE_FRACTION, Keeper, Problem

STEPS_PER_EXECUTION = 10


def recipe_of_2025(problem: Problem, seed: int, keeper: Keeper) -> None:
    """The default student at four fixed betas: Adam 1e-3, MAE, batch 1024, 100 epochs, no XLA.

    Princeton-AD/cicada's training loop: a tf.data pipeline that shuffles and batches in every epoch.
    """
    images, targets = problem.sample(EXPOSURE_FRACTION, np.random.default_rng(seed))
    for beta in (1e-6, 1e-5, 1e-4, 1e-3):
        keras.utils.set_random_seed(seed)
        model = _student(problem, Recipe(), seed)
        _set_beta(model, beta)
        model.compile(keras.optimizers.Adam(1e-3), loss="mae", jit_compile=False)
        pipeline = tf.data.Dataset.from_tensor_slices((images, targets)).shuffle(len(images)).batch(1024)
        model.fit(pipeline, epochs=100, verbose=0)
        keeper.keep(model)


#: Of the run of `hgq_ramp`; its authors' recipes have thousands.
RAMP_EPOCHS = 600


def hgq_ramp(problem: Problem, seed: int, keeper: Keeper) -> None:
    """One long run: learning rate in cosine cycles, log(beta) ramp, a checkpoint of each non-dominated epoch.

    After the examples that come with HGQ2: a cycle of the rate is a fiftieth of the run, and each
    cycle's peak is 0.94 of the one before. Its front is of validation AUC and EBOPs, for the AUC is
    what its user wants.
    """
    keras.utils.set_random_seed(seed)
    images, targets = problem.sample(EXPOSURE_FRACTION, np.random.default_rng(seed))
    model = _student(problem, Recipe(), seed)
    model.compile(
        keras.optimizers.Adam(5e-3), loss="mae", jit_compile=True, steps_per_execution=STEPS_PER_EXECUTION
    )
    cycle = RAMP_EPOCHS // 50

    def learning_rate(epoch: int) -> float:
        peak = 5e-3 * 0.94 ** (epoch // cycle)
        return float(peak * (0.5 + 0.5 * np.cos(np.pi * (epoch % cycle) / cycle)) + 1e-6)

    front = ParetoFront(keeper.folder, ["auc", "ebops"], [1, -1], "{epoch}.keras")
    stamps: dict[int, float] = {}
    model.fit(
        tf.constant(images),
        tf.constant(targets),
        batch_size=512,
        epochs=RAMP_EPOCHS,
        verbose=0,
        callbacks=[
            keras.callbacks.LearningRateScheduler(learning_rate),
            BetaScheduler(
                PieceWiseSchedule([(0, 1e-6, "constant"), (60, 1e-6, "log"), (600, 1e-2, "constant")])
            ),
            FreeEBOPs(),
            _Auc(problem),
            front,
            _Stamps(stamps),
        ],
    )
    for path in sorted(front.paths, key=lambda p: int(p.stem)):
        keeper.note(path, stamps[int(path.stem)])


def plain_optuna(problem: Problem, seed: int, keeper: Keeper) -> None:
    """TPE on (validation AUC, EBOPs) over the study's space: one Keras fit with XLA, one point a trial.

    Its trials are kept in `study.db` of the keeper's folder, and a study that is there goes on.
    """
    space = problem.file.recipe_space()

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        keras.backend.clear_session()
        recipe = space.suggest(trial)
        training = recipe.training
        rng = np.random.default_rng([seed, trial.number])
        images, targets = problem.sample(training.exposure_fraction, rng)
        model = _student(problem, recipe, trial.number)
        model.compile(
            keras.optimizers.Adam(training.learning_rate),
            loss=training.loss,
            jit_compile=True,
            steps_per_execution=STEPS_PER_EXECUTION,
        )

        def beta(epoch: int) -> float:
            return schedule.beta(training.beta, epoch, training.epochs)

        model.fit(
            tf.constant(images),
            tf.constant(targets),
            batch_size=training.batch,
            epochs=training.epochs,
            verbose=0,
            callbacks=[BetaScheduler(beta)],
        )
        ebops = trace_minmax(model, images, batch_size=8192, verbose=False)
        auc = problem.validation_auc(model)
        keeper.keep(model)
        return auc, float(ebops)

    keras.utils.set_random_seed(seed)
    study = optuna.create_study(
        storage=f"sqlite:///{keeper.folder / 'study.db'}",
        study_name="plain_optuna",
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )
    # one that goes on would otherwise draw again what it drew at its start
    study.sampler = optuna.samplers.TPESampler(seed=seed + 1000 * len(study.trials))
    while not keeper.is_over():
        study.optimize(objective, n_trials=1)


def _student(problem: Problem, recipe: Recipe, seed: int) -> keras.Model:
    model = hgq.build_student(recipe.student, recipe.quantization)
    hgq.initialise(model, recipe.quantization, seed, output_bias=problem.mean_target())
    return model


def _set_beta(model: keras.Model, beta: float) -> None:
    for layer in hgq.quantized_layers(model):
        layer._beta.assign(beta)


class _Auc(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        logs["auc"] = self.problem.validation_auc(self.model)


class _Stamps(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, stamps: dict[int, float]) -> None:
        super().__init__()
        self.stamps = stamps

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.stamps[epoch] = time.process_time()
