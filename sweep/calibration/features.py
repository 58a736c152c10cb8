"""What of a student's estimate enters its calibration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from objectives.errors import ConfigError
from sweep.synthesis.target import Implementation

Quantity = Literal["lut", "ff", "latency_ns"]

#: What a correction may depend on, for each quantity. The size of the logic is enough: what adder
#: graphs and tools differ in (fused adders, inverters, registers that nobody reads) goes with it.
#: Latency also has the clock aimed at, so that designs of one clock promise less for another.
FEATURES: dict[Quantity, tuple[str, ...]] = {
    "lut": ("lut",),
    "ff": ("lut",),
    "latency_ns": ("lut", "clock_ns"),
}


@dataclass(frozen=True)
class Estimate:
    """What is estimated of a design without any tool; None is what the estimate does not say.

    `lut` and `ff` are counts, `latency_cycles` clock cycles from the first input register to the
    output, `clock_ns` the period that the pipeline was cut for. `ebops` enters no model; it is
    kept to compare with. Raises ConfigError where a figure is not positive and finite: a design
    without logic has nothing to calibrate.
    """

    lut: float
    ff: float | None = None
    ebops: float | None = None
    latency_cycles: int | None = None
    clock_ns: float | None = None

    def __post_init__(self) -> None:
        check_positive("estimate", self)

    @classmethod
    def from_cost(
        cls, cost: Mapping[str, Any], clock_ns: float, implementation: Implementation = "adder_graph"
    ) -> "Estimate":
        """Return the estimate in `cost`, the JSON of `objectives.costs.cost.Cost`.

        The hls4ml implementation has an estimate of LUT alone. Raises ConfigError where a figure is
        missing or impossible, or where `cost` no longer is an estimate.
        """
        if cost.get("source", "estimated") != "estimated":
            raise ConfigError(f"cost.source: an estimate is calibrated, and this is {cost['source']!r}")
        try:
            if implementation == "hls4ml":
                return cls(cost["hls_lut"], ebops=cost["ebops"], clock_ns=clock_ns)
            return cls(cost["lut"], cost["ff"], cost["ebops"], cost["latency_cycles"], clock_ns)
        except KeyError as error:
            raise ConfigError(f"cost.{error.args[0]}: missing from the cost of a student") from error

    def of(self, quantity: Quantity) -> float | None:
        """Return the estimate of `quantity` in its unit (LUT, FF, ns), as it is before calibration."""
        match quantity:
            case "lut":
                return self.lut
            case "ff":
                return self.ff
            case "latency_ns":
                if self.latency_cycles is None or self.clock_ns is None:
                    return None
                return self.latency_cycles * self.clock_ns

    def features(self, quantity: Quantity) -> tuple[float, ...] | None:
        """Return the natural logarithm of each of FEATURES, or None where one is unknown."""
        values = [getattr(self, name) for name in FEATURES[quantity]]
        return None if None in values else tuple(math.log(value) for value in values)


def check_positive(owner: str, record: Any) -> None:
    """Raise ConfigError naming the first number of dataclass `record` that is not positive and finite."""
    for field in fields(record):
        value = getattr(record, field.name)
        if value is None or isinstance(value, (str, Estimate)):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{owner}.{field.name}: a number is expected, not {value!r}")
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{owner}.{field.name}: {value!r} is not a positive, finite number")
