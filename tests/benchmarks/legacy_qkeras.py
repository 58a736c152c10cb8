"""Do our QKeras students come out as those of plain qkeras-v3 code? The same events, targets and network.

    uv run python -m tests.benchmarks.legacy_qkeras [STUDY] [--seeds 1 2 3] [--epochs N] [--own] > result.json

STUDY is a study of QKeras students, default `legacy-qkeras`. Each seed is trained by this project, and by
`plain_qkeras.py` with the same random numbers: first weights, events of each epoch, what dropout drops.
Two trainings of other numbers end in other places whoever trains, so `--own`, which lets Keras draw its
own, needs dozens of seeds to say as much. Mean AUC on validation, of the last epoch.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

import numpy as np

import objectives
from objectives.measurement import split_outputs
from objectives.recipe import Recipe
from objectives.schemes.qkeras import child
from objectives.scores import score
from objectives.training.order import epoch_order
from objectives.training.trajectory import run_trajectory
from sweep import qkeras_environment
from sweep.study_file import find_study_file, load_study_file
from sweep.worker.training_ground import TrainingGround

PLAIN = Path(__file__).with_name("plain_qkeras.py")


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(ground: TrainingGround, recipe: Recipe, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    trainer = ground.trainer(recipe)
    trajectory = run_trajectory(trainer, recipe, seed, ground.judge)
    seconds = time.monotonic() - started
    if trajectory.end is None:
        return {"seed": seed, "died_at": trajectory.died_at, "seconds": seconds}
    trainer.load(trajectory.end.state)
    network, outputs, _ = trainer.finish()
    events = ground.training_data.validation[: ground.training_data.validation_events].numpy()
    return {
        "seed": seed,
        "mean_auc": mean_auc(ground, outputs),
        "best_epoch": trajectory.snapshots[0].epoch,
        "best_mean_auc": trajectory.snapshots[0].scores[0],
        "seconds": seconds,
        "events_whose_network_differs": int((network.predict(events) != outputs).sum()),
        "events": len(events),
    }


def plain(ground: TrainingGround, recipe: Recipe, seed: int, own: bool, folder: Path) -> dict[str, Any]:
    data, training = ground.training_data, recipe.training
    sizes = (data.zero_bias, data.exposure, training.exposure_fraction, training.batch)
    epochs = 1 if own else training.epochs
    np.savez(
        folder / "data.npz",
        events=data.events.numpy(),
        targets=data.targets.numpy(),
        validation=data.validation.numpy()[: data.validation_events],
        order=[epoch_order(*sizes, np.random.default_rng([seed, epoch])) for epoch in range(epochs)],
    )
    asked = [folder / "data.npz", folder / "scores.npz", recipe.student.family, training.epochs, seed]
    numbers = [] if own else ["--numbers-of", child.__file__, Path(objectives.__file__).parent]
    before, started = children_seconds(), time.monotonic()
    subprocess.run(
        list(map(str, [qkeras_environment.ensure(print), "-I", PLAIN, *asked, *numbers])),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds, core_seconds = time.monotonic() - started, children_seconds() - before
    outputs = np.load(folder / "scores.npz")["outputs"]
    return {
        "seed": seed,
        "mean_auc": mean_auc(ground, outputs),
        "seconds": seconds,
        "core_seconds": core_seconds,
    }


def mean_auc(ground: TrainingGround, outputs: np.ndarray[Any, Any]) -> float:
    return score(*split_outputs(ground.dataset.validation, outputs)).mean_auc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", nargs="?", default="legacy-qkeras")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--own", action="store_true")
    options = parser.parse_args()
    file = load_study_file(find_study_file(options.study))
    recipe = file.recipe_space().example()
    if options.epochs:
        training = recipe.training.model_copy(update={"epochs": options.epochs})
        recipe = recipe.model_copy(update={"training": training})
    ground = TrainingGround(file)
    result: dict[str, Any] = {"study": file.study, "recipe": recipe.model_dump(mode="json")}
    result |= {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            result["ours"].append(ours(ground, recipe, seed))
            result["plain"].append(plain(ground, recipe, seed, options.own, Path(folder)))
            print(seed, result["ours"][-1], result["plain"][-1], file=sys.stderr)
    ground.close()
    # A student that died has no score; it is in the result all the same.
    pairs = [pair for pair in zip(result["ours"], result["plain"], strict=True) if "mean_auc" in pair[0]]
    found = np.array([[each["mean_auc"] for each in pair] for pair in pairs])
    result["random_numbers"] = "own" if options.own else "the same"
    result["of_seeds"] = [pair[0]["seed"] for pair in pairs]
    if len(found) > 1:
        apart = found[:, 0] - found[:, 1]
        result["means"] = dict(zip(("ours", "plain"), found.mean(0).tolist(), strict=True))
        result["difference"] = {
            "mean": float(apart.mean()),
            "standard_error": float(apart.std(ddof=1) / np.sqrt(len(apart))),
            "largest": float(np.abs(apart).max()),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
