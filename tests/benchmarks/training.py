"""How fast a student trains: this project's compiled epoch against the loops that users write.

    uv run python -m tests.benchmarks.training [--json] [--repeats 7] [--batch 512] [--threads N]

The same student (CICADA v2, default HGQ, constant beta), events and optimizer are trained for one
epoch at a time in turn (A B C D A B C D ...), so that other load on the machine hits all alike.
Figures are samples per second after compilation; compare only those of one run.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from objectives.recipe import Recipe
from objectives.schemes import hgq
from objectives.training.config import Training
from objectives.training.graphs import TrainingData
from objectives.training.order import epoch_order
from objectives.training.trainer import Trainer

EVENTS = 20_480
BETA = 1e-6
LEARNING_RATE = 1e-3
#: Batch of the 2025 script.
BATCH_OF_2025 = 1024
STEPS_PER_EXECUTION = (10, 40)

Epoch = Callable[[], Any]


def events() -> tuple[np.ndarray, np.ndarray]:
    """Return sparse images (n, 18, 14) like zero bias, and scores (n,) that grow with their energy."""
    rng = np.random.default_rng(2025)
    shape = (EVENTS, 18, 14)
    counts = np.where(rng.random(shape) < 0.6, 0, rng.gamma(0.6, 8.0, shape)).clip(0, 1023).astype(np.uint16)
    targets = 32 * np.log1p(counts.reshape(EVENTS, -1).std(axis=1))
    return counts, targets.clip(0, 255).astype(np.float32)


def keras_student(recipe: Recipe, **compile_arguments: Any) -> keras.Model:
    model = hgq.build_student(recipe.student, recipe.quantization)
    hgq.initialise(model, recipe.quantization, seed=0, output_bias=50.0)
    for layer in hgq.quantized_layers(model):
        layer._beta.assign(BETA)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss="mae", **compile_arguments)
    return model


def script_of_2025(recipe: Recipe, batch: int) -> Epoch:
    """`fit` without XLA on a tf.data pipeline that shuffles and batches in every epoch."""
    counts, targets = events()
    model = keras_student(recipe, jit_compile=False)
    images = counts.astype(np.float32)[..., None]
    dataset = tf.data.Dataset.from_tensor_slices((images, targets[:, None])).shuffle(EVENTS).batch(batch)
    return lambda: model.fit(dataset, epochs=1, verbose=0)


def keras_xla(recipe: Recipe, steps_per_execution: int = 1) -> Epoch:
    """`fit` with XLA on tensors in memory."""
    counts, targets = events()
    model = keras_student(recipe, jit_compile=True, steps_per_execution=steps_per_execution)
    images, scores = tf.constant(counts.astype(np.float32)[..., None]), tf.constant(targets[:, None])
    return lambda: model.fit(images, scores, batch_size=recipe.training.batch, epochs=1, verbose=0)


def this_project(recipe: Recipe) -> Epoch:
    """One epoch of a trial, its order of events included."""
    counts, targets = events()
    trainer = Trainer(recipe, TrainingData.load(counts, targets, EVENTS, counts[:1024]))
    trainer.start(recipe.quantization, seed=0)
    rng = np.random.default_rng(0)

    def epoch() -> None:
        order = epoch_order(EVENTS, 0, 0.0, recipe.training.batch, rng)
        trainer.train_epoch(order, LEARNING_RATE, BETA)

    return epoch


def seconds(epoch: Epoch) -> float:
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def measure(batch: int, repeats: int) -> dict[str, Any]:
    """Time every way of training, an epoch of each in turn, and return all figures."""
    recipe = Recipe(training=Training(batch=batch, exposure_fraction=0))
    ways: dict[str, Epoch] = {
        f"2025 script, batch {batch}": script_of_2025(recipe, batch),
        f"2025 script, its batch {BATCH_OF_2025}": script_of_2025(recipe, BATCH_OF_2025),
        "Keras fit, XLA": keras_xla(recipe),
        **{f"Keras fit, XLA, {n} steps a call": keras_xla(recipe, n) for n in STEPS_PER_EXECUTION},
        "this project": this_project(recipe),
    }
    first = {name: seconds(epoch) for name, epoch in ways.items()}
    for epoch in ways.values():
        epoch()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, epoch in ways.items():
            times[name].append(seconds(epoch))

    best = {name: EVENTS / min(of) for name, of in times.items()}
    middle = {name: EVENTS / median(of) for name, of in times.items()}
    return {
        "student": "cicada-v2, default HGQ",
        "events": EVENTS,
        "batch": batch,
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "versions": {name: version(name) for name in ("tensorflow", "keras", "hgq2", "numpy")},
        "python": sys.version.split()[0],
        "ways": [
            {
                "name": name,
                "samples_per_second": round(best[name]),
                "samples_per_second_median": round(middle[name]),
                "compile_seconds": round(max(first[name] - median(times[name]), 0.0), 2),
                "ratio": round(best["this project"] / best[name], 2),
                "ratio_median": round(middle["this project"] / middle[name], 2),
            }
            for name in ways
        ],
    }


def table(result: dict[str, Any]) -> Table:
    machine = f"{result['threads']} threads on {result['cores']} cores"
    shown = Table(title=f"{result['student']}, {result['events']} events, {machine}")
    shown.add_column("training", no_wrap=True)
    for heading in ("samples/s", "(median)", "compile s", "ours is", "(median)"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for way in result["ways"]:
        shown.add_row(
            way["name"],
            f"{way['samples_per_second']:,}",
            f"{way['samples_per_second_median']:,}",
            f"{way['compile_seconds']:.1f}",
            f"{way['ratio']:.1f}x",
            f"{way['ratio_median']:.1f}x",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=7, help="epochs timed for each way of training")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    result = measure(options.batch, options.repeats)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        Console(width=100).print(table(result))


if __name__ == "__main__":
    main()
