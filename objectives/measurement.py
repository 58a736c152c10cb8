"""From a trained student to a point: scores on validation and test, cost, and proof that both are its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.costs.adder_graph import AdderGraph
from objectives.costs.cost import Cost
from objectives.costs.hls import estimate_hls
from objectives.data.dataset import Part
from objectives.errors import CostError
from objectives.scores import WORKING_POINT_KHZ, Scores, score, supported_rate
from objectives.students.network import QuantizedNetwork

#: Resamplings behind the intervals of test scores.
BOOTSTRAPS = 200


def all_events(part: Part) -> NDArray[np.uint16]:
    """Return the scored events (n, 18, 14) of a part: zero bias first, then its signals in order."""
    return np.concatenate([part.zero_bias, *part.signals.values()])


def split_outputs(part: Part, outputs: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Return outputs (n,) of `all_events` as (zero bias, by signal)."""
    borders = np.cumsum([len(part.zero_bias), *(len(x) for x in part.signals.values())])[:-1]
    zero_bias, *signals = np.split(outputs, borders)
    return zero_bias, dict(zip(part.signals, signals, strict=True))


@dataclass(frozen=True)
class Point:
    """One measured student."""

    validation: Scores
    test: Scores
    cost: Cost


def measure_point(
    network: QuantizedNetwork,
    graph: AdderGraph,
    keras_outputs: NDArray[Any],
    ebops: int,
    validation: Part,
    test: Part,
    *,
    rate_khz: float = WORKING_POINT_KHZ,
    other_rates_khz: Sequence[float] = (),
) -> Point:
    """Score and cost a student by its compiled adder graph: what is measured is what is built.

    Efficiencies are those at `rate_khz`, at the others, and at the lowest rate that the test part knows.

    `keras_outputs` are the scores that Keras gave the validation events. Raises CostError if a
    single bit differs, for then the hardware is not the student that was trained.
    """
    outputs = graph.predict(all_events(validation))
    different = int((outputs != keras_outputs).sum())
    if different:
        raise CostError(
            f"Keras and the adder graph differ on {different} of {len(outputs)} validation events:"
            " the student has more bits than single precision holds"
        )
    hls = estimate_hls(network)
    cost = Cost(
        lut=graph.lut,
        ff=graph.ff,
        dsp=0.0,
        ebops=ebops,
        latency_cycles=graph.latency_cycles,
        latency_ns=graph.latency_ns,
        hls_lut=hls.lut,
        hls_dsp=hls.dsp,
    )
    known = supported_rate(len(test.zero_bias), rate_khz)
    others = sorted({known, *other_rates_khz} - {rate_khz})
    return Point(
        validation=score_part(validation, outputs, rate_khz, others),
        test=score_part(test, graph.predict(all_events(test)), rate_khz, others, BOOTSTRAPS),
        cost=cost,
    )


def score_part(
    part: Part,
    outputs: NDArray[Any],
    rate_khz: float,
    other_rates_khz: Sequence[float] = (),
    bootstraps: int = 0,
) -> Scores:
    """Return the scores of a part whose `all_events` gave outputs (n,)."""
    zero_bias, signals = split_outputs(part, outputs)
    return score(
        zero_bias, signals, rate_khz=rate_khz, other_rates_khz=other_rates_khz, bootstraps=bootstraps
    )
