"""Figures of one student as SVG: its ROC curves, and its bitwidths layer by layer."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dashboards.palette import BITS, SERIES
from dashboards.student import Performance
from objectives.students.layers import Layer

_STYLE = {"font.size": 9, "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
#: Rates that are drawn, in kHz; the trigger's is 3.
_RATES = (0.3, 3e4)


def roc_figure(performance: Performance, title: str) -> bytes:
    """Return the efficiency of each signal against the trigger rate."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for number, (name, curve) in enumerate(performance.signals.items()):
            colour = SERIES[number % len(SERIES)]
            told = f"AUC {curve.auc:.4f}, {curve.at_rate:.3f} at {performance.working_point_khz:g} kHz"
            axes.step(curve.rate_khz, curve.efficiency, where="post", color=colour, lw=1.5)
            axes.plot(
                [performance.working_point_khz],
                [curve.at_rate],
                "o",
                color=colour,
                ms=5,
                label=f"{_plain(name)}: {told}",
            )
        axes.axvline(performance.working_point_khz, color="#555555", lw=0.8, ls=":")
        axes.set(
            xscale="log",
            xlim=_RATES,
            ylim=(0, 1.02),
            xlabel="trigger rate, kHz",
            ylabel="signal efficiency",
            title=f"{_plain(title)}: {performance.split} events",
        )
        axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def bits_figure(layers: Sequence[Layer], title: str) -> bytes:
    """Return, for each layer, the bits of what enters it and of its weights."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.6 * len(layers)), layout="constrained")
        grid = figure.subplots(len(layers), 2, squeeze=False)
        for row, layer in zip(grid, layers, strict=True):
            for axes, bits, what in zip(row, (side_by_side(layer), layer.weight_bits), _WHAT, strict=True):
                image = axes.imshow(bits, cmap=BITS, vmin=0, aspect="auto", interpolation="nearest")
                axes.set_title(f"{layer.name}: {what}", fontsize=9)
                axes.locator_params(integer=True, min_n_ticks=1)
                figure.colorbar(image, ax=axes, label="bits", ticks=MaxNLocator(integer=True))
        figure.suptitle(_plain(title), fontsize=10)
        return _svg(figure)


_WHAT = ("what enters it", "its weights (inputs x outputs)")


def side_by_side(layer: Layer) -> NDArray[np.int64]:
    """Return the bits of what enters a layer as one image, channels beside each other."""
    bits = layer.input_bits
    if bits.ndim == 1:
        return bits[None, :]
    return np.concatenate([bits[..., channel] for channel in range(bits.shape[-1])], axis=1)


def _plain(text: str) -> str:
    """Return `text` as it is: matplotlib takes what stands between two $ for mathematics."""
    return text.replace("$", r"\$")


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
