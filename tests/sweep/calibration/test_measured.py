"""Calibration on real designs: ten published ones routed by Vivado, and students synthesized by Yosys."""

import csv
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from sweep.calibration.features import Estimate
from sweep.calibration.model import Design, Quantity, fit
from sweep.calibration.published import PUBLISHED

Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    text = Path(__file__).with_name("yosys_quickstart.tsv").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t"))


def students(rows: list[Row], registers: str = "register_bits") -> list[Design]:
    return [
        Design(
            row["student"],
            Estimate(
                float(row["lut_estimate"]),
                int(row[registers]),
                int(row["ebops"]),
                int(row["latency_cycles"]),
                6.25,
            ),
            int(row["luts"]) + int(row["inverters"]),
            int(row["ff"]),
            None,
            "Yosys",
        )
        for row in rows
    ]


# ---- published designs, Vivado, routed ----------------------------------------------------------


def test_lut_of_published_designs() -> None:
    calibration = fit(PUBLISHED, "lut")
    assert calibration is not None
    assert calibration.designs == 10
    assert calibration.raw_error == pytest.approx(0.039, abs=0.0005)
    assert calibration.error <= 0.03
    assert 0.8 <= calibration.coverage <= 1
    assert calibration.beats_raw


def test_ebops_of_published_designs_are_a_worse_start() -> None:
    """What an adder graph is compiled for: EBOPs as the estimate of LUT."""
    by_ebops = [
        Design(d.name, Estimate(float(d.estimate.ebops or 0)), d.lut, None, None, d.source) for d in PUBLISHED
    ]
    calibration = fit(by_ebops, "lut")
    assert calibration is not None
    assert calibration.raw_error == pytest.approx(0.33, abs=0.005)
    assert calibration.error > 0.05


def test_latency_of_published_designs() -> None:
    """No design met its clock of 2 ns: the estimate, cycles at that clock, is a third too short."""
    calibration = fit(PUBLISHED, "latency_ns")
    assert calibration is not None
    assert calibration.raw_error == pytest.approx(0.334, abs=0.0005)
    assert calibration.error <= 0.1
    assert calibration.coverage >= 0.8
    assert calibration.beats_raw


def test_published_designs_say_nothing_of_registers() -> None:
    assert fit(PUBLISHED, "ff") is None


def test_published_designs_leave_a_student_near_its_estimate() -> None:
    calibration = fit(PUBLISHED, "lut")
    assert calibration is not None
    near, far = (calibration.predict(Estimate(lut)) for lut in (60_000, 2000))
    assert far.value == pytest.approx(2000, rel=0.1)
    assert far.high / far.low > 1.3 * near.high / near.low


# ---- students, Yosys ----------------------------------------------------------------------------


def test_lut_of_students(rows: list[Row]) -> None:
    calibration = fit(students(rows), "lut")
    assert calibration is not None
    assert calibration.designs >= 25
    assert calibration.error <= 0.035 < 0.042 < calibration.raw_error
    assert 0.8 <= calibration.coverage <= 1
    assert calibration.beats_raw


def test_ff_of_students(rows: list[Row]) -> None:
    """All register bits are estimated; synthesis removes those that nobody reads, a third of them."""
    calibration = fit(students(rows), "ff")
    assert calibration is not None
    assert calibration.raw_error > 0.36
    assert calibration.error <= 0.05
    assert 0.8 <= calibration.coverage <= 1
    assert calibration.beats_raw


def test_ff_of_students_when_live_registers_are_estimated(rows: list[Row]) -> None:
    """The better estimate leaves the calibration nothing to do, and it does not spoil it."""
    calibration = fit(students(rows, "live_register_bits"), "ff")
    assert calibration is not None
    assert calibration.raw_error < 0.002
    assert calibration.error <= calibration.raw_error


@pytest.mark.parametrize("quantity", ["lut", "ff"])
def test_half_of_the_students_predict_the_other_half(rows: list[Row], quantity: Quantity) -> None:
    """Thirty random halves: one half alone says little, its coverage scatters by 0.08."""
    designs, draw, errors, held = students(rows), np.random.default_rng(0), [], []
    for _ in range(30):
        order = draw.permutation(len(designs))
        calibration = fit([designs[n] for n in order[: len(order) // 2]], quantity)
        assert calibration is not None
        for design in (designs[n] for n in order[len(order) // 2 :]):
            prediction, said = calibration.predict(design.estimate), getattr(design, quantity)
            errors.append(abs(prediction.value / said - 1))
            held.append(prediction.low <= said <= prediction.high)
    assert fmean(errors) <= 0.05
    assert 0.85 <= fmean(held) <= 0.95


def test_small_students_predict_large_ones(rows: list[Row]) -> None:
    designs = students(rows)
    calibration = fit(designs[:8], "lut")
    assert calibration is not None
    others = [(calibration.predict(d.estimate), d.lut) for d in designs[8:]]
    assert fmean(abs(p.value / said - 1) for p, said in others) <= 0.06
    assert fmean(p.low <= said <= p.high for p, said in others) >= 0.9
