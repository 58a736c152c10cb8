"""Do our QKeras students come out as those of plain qkeras-v3 code? The same events, targets and network.

    uv run python -m tests.benchmarks.legacy_qkeras [STUDY] [--seeds 1 2 3] [--epochs N] > result.json

STUDY is a study of QKeras students, default `legacy-qkeras`. Each seed is trained both ways: by this
project, and by `plain_qkeras.py`. Mean AUC on validation, of the last epoch.
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

from objectives.measurement import split_outputs
from objectives.recipe import Recipe
from objectives.scores import score
from objectives.training.order import epoch_order
from objectives.training.trajectory import run_trajectory
from sweep import qkeras_environment
from sweep.study_file import find_study_file, load_study_file
from sweep.training_ground import TrainingGround

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


def plain(ground: TrainingGround, recipe: Recipe, seed: int, folder: Path) -> dict[str, Any]:
    data, training = ground.training_data, recipe.training
    rng = np.random.default_rng(seed)
    order = epoch_order(data.zero_bias, data.exposure, training.exposure_fraction, training.batch, rng)
    np.savez(
        folder / "data.npz",
        events=data.events.numpy()[order],
        targets=data.targets.numpy()[order],
        validation=data.validation.numpy()[: data.validation_events],
    )
    python = str(qkeras_environment.ensure(print))
    asked = [str(folder / "data.npz"), str(folder / "scores.npz"), recipe.student.family]
    before, started = children_seconds(), time.monotonic()
    subprocess.run(
        [python, "-I", str(PLAIN), *asked, str(training.epochs), str(seed)],
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
            result["plain"].append(plain(ground, recipe, seed, Path(folder)))
            print(seed, result["ours"][-1], result["plain"][-1], file=sys.stderr)
    ground.close()
    # A student that died has no score; it is in the result all the same.
    both = [pair for pair in zip(result["ours"], result["plain"], strict=True) if "mean_auc" in pair[0]]
    means = {
        name: float(np.mean([pair[side]["mean_auc"] for pair in both])) if both else None
        for side, name in enumerate(("ours", "plain"))
    }
    result |= {"means": means, "of_seeds": [pair[0]["seed"] for pair in both]}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
