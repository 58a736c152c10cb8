"""The legacy student as anybody would train it with qkeras-v3: layers, compile, fit.

    python plain_qkeras.py DATA.npz SCORES.npz FAMILY EPOCHS SEED [--batch N] [--numbers-of CHILD OBJECTIVES]

`DATA.npz` holds `events`, `targets`, `validation`, and `order` (epochs or 1, n): the events of each epoch.
Keras shuffles the only row of one, and takes several as they are. Nothing of this project is imported,
but with `--numbers-of` for random numbers: first weights, and what dropout drops.
`legacy_qkeras.py` and a test run it with the Python of the QKeras environment.
"""

import argparse
import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from qkeras import QActivation, QConv2D, QDense, QDenseBatchnorm, quantized_bits


def legacy_student(family: str) -> keras.Model:
    x = inputs = keras.Input((18, 14, 1))
    if family == "cicada-v2":
        weights = quantized_bits(12, 3, 1, alpha=1.0)
        x = QConv2D(4, 2, strides=2, padding="valid", use_bias=False, kernel_quantizer=weights)(x)
        x = QActivation("quantized_relu(10, 6)")(x)
    x = keras.layers.Flatten()(x)
    if family == "cicada-v2":
        x = keras.layers.Dropout(1 / 9)(x)
    weights, bias = quantized_bits(8, 1, 1, alpha=1.0), quantized_bits(8, 3, 1, alpha=1.0)
    x = QDenseBatchnorm(16, kernel_quantizer=weights, bias_quantizer=bias)(x)
    x = QActivation("quantized_relu(10, 6)")(x)
    x = keras.layers.Dropout(1 / 8)(x)
    x = QDense(1, use_bias=False, kernel_quantizer=quantized_bits(12, 3, 1, alpha=1.0))(x)
    return keras.Model(inputs, QActivation("quantized_relu(16, 8)")(x))


def take_numbers(model: keras.Model, family: str, seed: int, child: Path, objectives: Path) -> None:
    """Let `model` begin with the weights that this project draws, and drop what it drops."""
    spec = importlib.util.spec_from_file_location("child", child)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    module._register(objectives)
    from objectives.quantization import LayerBits
    from objectives.schemes.qkeras.dropout import dropped
    from objectives.schemes.qkeras.student import build_student, initialise
    from objectives.students.architecture import Architecture

    def drop(layer: keras.layers.Dropout, x: Any, training: bool = False) -> Any:
        return dropped(layer, x) if training else x

    size = {"filters": 4, "kernel": 2, "stride": 2, "hidden": 16}
    first = build_student(Architecture(family=family, **size), LayerBits())  # type: ignore[arg-type]
    initialise(first, seed)
    for mine, theirs in zip(model.weights, first.weights, strict=True):
        mine.assign(theirs)
    both = ([x for x in m.layers if isinstance(x, keras.layers.Dropout)] for m in (model, first))
    for mine, theirs in zip(*both, strict=True):
        mine.seed_generator.state.assign(theirs.seed_generator.state)
        mine.call = partial(drop, mine)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (("data", Path), ("scores", Path), ("family", str), ("epochs", int), ("seed", int)):
        parser.add_argument(name, type=kind)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--numbers-of", type=Path, nargs=2)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    with np.load(options.data) as content:
        events, targets, validation, orders = (
            content[name] for name in ("events", "targets", "validation", "order")
        )
    model = legacy_student(options.family)
    if options.numbers_of:
        take_numbers(model, options.family, options.seed, *options.numbers_of)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mae")
    for order in orders:
        model.fit(
            events[order][..., None].astype(np.float32),
            targets[order],
            batch_size=options.batch,
            epochs=options.epochs // len(orders),
            shuffle=len(orders) == 1,
            verbose=2,
        )
    outputs = model.predict(validation[..., None].astype(np.float32), batch_size=1024, verbose=0)
    np.savez(options.scores, outputs=outputs[:, 0])


if __name__ == "__main__":
    main()
