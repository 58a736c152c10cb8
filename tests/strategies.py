"""Hypothesis strategies that tests share."""

from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from objectives.data.geometry import IMAGE_SHAPE
from objectives.data.h5 import MAX_COUNT, Layout

#: Types that region energies may be stored in.
ENERGY_DTYPES = ("<i2", ">i2", "<u2", ">u4", "<i4", "<i8", "<u8", "<f2", "<f4", ">f4", "<f8")


def regions(min_events: int = 1, max_events: int = 6) -> st.SearchStrategy[NDArray[np.uint16]]:
    """Regions (N, 18, 14) in counts of 0.5 GeV."""
    counts = st.integers(0, MAX_COUNT)
    shapes = st.integers(min_events, max_events).map(lambda events: (events, *IMAGE_SHAPE))
    return shapes.flatmap(lambda shape: hnp.arrays(np.uint16, shape, elements=counts, fill=counts))


def layouts() -> st.SearchStrategy[Layout]:
    """Layouts of region files."""
    return st.sampled_from(get_args(Layout))


def energy_dtypes() -> st.SearchStrategy[np.dtype[Any]]:
    """Types that hold every region energy exactly."""
    return st.sampled_from(ENERGY_DTYPES).map(np.dtype)


def impossible_energies() -> st.SearchStrategy[np.generic]:
    """NumPy numbers, of a type that a file may have, that no region can hold."""
    signed = st.sampled_from(("<i2", "<i4", "<i8")).flatmap(
        lambda name: _whole(name, st.integers(int(np.iinfo(name).min), -1) | _above(name))
    )
    unsigned = st.sampled_from(("<u2", "<u4", "<u8")).flatmap(lambda name: _whole(name, _above(name)))
    floats = st.sampled_from(("<f4", "<f8")).flatmap(
        lambda name: (
            st.floats(width=32).filter(lambda value: not (0 <= value <= MAX_COUNT and value == int(value)))
        ).map(lambda value: np.dtype(name).type(value))
    )
    return signed | unsigned | floats


def _above(name: str) -> st.SearchStrategy[int]:
    return st.integers(MAX_COUNT + 1, int(np.iinfo(name).max))


def _whole(name: str, values: st.SearchStrategy[int]) -> st.SearchStrategy[np.generic]:
    return values.map(lambda value: np.dtype(name).type(value))
