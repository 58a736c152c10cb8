"""Dropout for compiled training: TensorFlow's own random numbers take 30 times as long as all the rest.

A counter, mixed so that each bit of it changes half of all bits, decides which values are dropped.
"""

import keras
import tensorflow as tf


def dropped(layer: keras.layers.Dropout, x: tf.Tensor) -> tf.Tensor:
    """Return what `layer` does to `x` in training; which values it drops follows from its seed's state."""
    state = layer.seed_generator.state
    seed, counter = tf.unstack(tf.cast(state, tf.uint32))
    state.assign(tf.cast(tf.stack([seed, counter + 1]), state.dtype))
    size = tf.cast(tf.range(tf.size(x)), tf.uint32)
    random = tf.reshape(_mixed(size + _mixed(counter + _mixed(seed))), tf.shape(x))
    kept = random >= tf.constant(round(layer.rate * 2**32), tf.uint32)
    return tf.where(kept, x / (1.0 - layer.rate), 0.0)


def _mixed(x: tf.Tensor) -> tf.Tensor:
    """Return a bijection of 32 bits that scatters neighbours (Wellons, "Prospecting for hash functions")."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
