"""Trains one QKeras student twice, by this project and by Keras' own loop; prints how they differ.

    python plain_steps.py CHILD.py OBJECTIVES

In the environment of QKeras, without dropout: then both take the same steps from the same weights.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np


def main(child: str, objectives: str) -> None:
    spec = importlib.util.spec_from_file_location("child", child)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    module._register(Path(objectives))
    from objectives.recipe import Recipe
    from objectives.schemes.qkeras.trainer import CompiledStudent
    from objectives.training.graphs import TrainingData

    recipe = Recipe.model_validate({"quantization": {"scheme": "qkeras"}, "training": {"batch": 128}})
    rng = np.random.default_rng(1)
    events = (rng.exponential(10, (1280, 18, 14)) * (rng.random((1280, 18, 14)) < 0.4)).astype(np.uint16)
    targets = (events.sum((1, 2)) / 20).astype(np.float32)
    student = CompiledStudent(recipe, TrainingData.load(events, targets, len(events), events))
    for layer in student.model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    student.start(3, None)
    first = student.state()
    order = rng.permutation(len(events)).astype(np.int32)
    loss = student.train_epoch(order, 1e-3)
    ours = student.state()
    student.load(first)
    student.model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mae")
    losses = []
    for batch in order.reshape(-1, 128):
        x, y = events[batch][..., None].astype(np.float32), targets[batch]
        losses.append(float(student.model.train_on_batch(x, y[:, None])))
        student.model.reset_metrics()
    theirs = student.state()
    # All but the count of iterations, which is no weight.
    moved, apart = (
        max(float(np.abs(a - b).max()) for a, b in zip(one, theirs, strict=True) if a.dtype == np.float32)
        for one in (first, ours)
    )
    print(json.dumps({"loss": loss, "plain_loss": float(np.mean(losses)), "moved": moved, "apart": apart}))


if __name__ == "__main__":
    main(*sys.argv[1:])
