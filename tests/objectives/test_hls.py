"""The HLS estimate: signed digits, what a multiplier costs, and the published QKeras student."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.costs.hls import (
    DSP_WIDTH,
    LUT_PER_ADDER_BIT,
    LUT_PER_DATA_BIT,
    estimate_hls,
    odd_parts,
    signed_digits,
)
from objectives.students.network import (
    Convolve,
    Dense,
    Flatten,
    Quantize,
    QuantizedNetwork,
    Relu,
)

SHARED = Path(os.environ.get("SWEEP_SHARED", Path(__file__).parents[3] / "shared"))
DEPLOYED = SHARED / "cicada" / "deployed_v2p1p2_weights.npz"


def nonadjacent_form(n: int) -> int:
    """Count the digits of the canonical signed-digit form by its textbook construction."""
    count = 0
    n = abs(n)
    while n:
        if n % 2:
            digit = 2 - n % 4
            n -= digit
            count += 1
        n //= 2
    return count


@given(st.integers(-(2**40), 2**40))
def test_signed_digits_are_those_of_the_textbook(n: int) -> None:
    assert signed_digits(np.array([n]))[0] == nonadjacent_form(n)


@given(st.integers(-(2**20), 2**20), st.integers(-30, 30))
def test_powers_of_two_do_not_matter(n: int, shift: int) -> None:
    odd = odd_parts(np.array([n * 2.0**shift]))[0]
    assert odd % 2 == 1 or n == odd == 0
    assert signed_digits(np.array([odd]))[0] == nonadjacent_form(n)


def bits(width: int, shape: tuple[int, ...]) -> Quantize:
    return Quantize(np.zeros(shape, int), np.full(shape, width), np.zeros(shape, int), "WRAP", "TRN")


def one_multiplier(constant: float, width: int) -> QuantizedNetwork:
    return QuantizedNetwork((1,), (bits(width, (1,)), Dense(np.array([[constant]]), np.zeros(1))))


def test_a_power_of_two_is_added_but_not_multiplied() -> None:
    estimate = estimate_hls(one_multiplier(4.0, 8))
    assert estimate.dsp == 0
    assert estimate.lut == LUT_PER_ADDER_BIT * 9 + LUT_PER_DATA_BIT * 8


def test_many_digits_on_a_wide_product_take_a_dsp() -> None:
    constant = 85.0  # 1010101: four digits, seven bits
    assert estimate_hls(one_multiplier(constant, DSP_WIDTH - 7)).dsp == 1
    assert estimate_hls(one_multiplier(constant, DSP_WIDTH - 8)).dsp == 0


def test_what_is_pruned_costs_nothing() -> None:
    assert estimate_hls(one_multiplier(0.0, 8)).lut == LUT_PER_DATA_BIT * 8
    pruned = estimate_hls(one_multiplier(85.0, 0))
    assert (pruned.lut, pruned.dsp) == (0, 0)


@pytest.mark.skipif(not DEPLOYED.exists(), reason=f"needs {DEPLOYED.name}; set SWEEP_SHARED to its folder")
def test_the_published_qkeras_student() -> None:
    """A fit, held in place: the thresholds and rates were chosen with this row in view.

    The deployed v2.1.2 stands for it: the same network, from another training.
    """
    weights = np.load(DEPLOYED)

    def relu_10_6(shape: tuple[int, ...]) -> Quantize:
        return Quantize(np.zeros(shape, int), np.full(shape, 6), np.full(shape, 4), "SAT", "RND")

    steps = (
        bits(10, (18, 14, 1)),
        Convolve(weights["conv"].astype(float), 2),
        Relu(),
        relu_10_6((9, 7, 4)),
        Flatten(),
        Dense(weights["dense1"].astype(float), weights["dense1_bias"].astype(float)),
        Relu(),
        relu_10_6((16,)),
        Dense(weights["dense2"].astype(float), np.zeros(1)),
        Relu(),
    )
    estimate = estimate_hls(QuantizedNetwork((18, 14, 1), steps))
    assert estimate.dsp == pytest.approx(697, rel=0.1)
    assert estimate.lut == pytest.approx(159_447, rel=0.1)
