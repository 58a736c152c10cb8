"""The legacy student as anybody would train it with qkeras-v3: layers, compile, fit.

    python plain_qkeras.py DATA.npz SCORES.npz FAMILY EPOCHS SEED

Nothing of this project is imported; `legacy_qkeras.py` runs it with the Python of the QKeras environment.
"""

import os
import sys

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


def main(data: str, scores: str, family: str, epochs: str, seed: str) -> None:
    keras.utils.set_random_seed(int(seed))
    with np.load(data) as content:
        events, targets, validation = (content[name] for name in ("events", "targets", "validation"))
    model = legacy_student(family)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mae")
    model.fit(events[..., None].astype(np.float32), targets, batch_size=1024, epochs=int(epochs), verbose=2)
    outputs = model.predict(validation[..., None].astype(np.float32), batch_size=1024, verbose=0)
    np.savez(scores, outputs=outputs[:, 0])


if __name__ == "__main__":
    main(*sys.argv[1:])
