"""What synthesis said of earlier designs, applied to the cost of others.

Designs are grouped by what makes their figures comparable: tool, stage, part and implementation.
A correction is used once it beats the raw estimate on designs left out of its fit, never before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from objectives.costs.cost import LUT_PER_DSP
from objectives.errors import ConfigError
from sweep.calibration.features import Estimate, Quantity
from sweep.calibration.model import Calibration, Design, Prediction, fit, leave_one_out
from sweep.calibration.published import PUBLISHED
from sweep.storage.patience import waited_out
from sweep.storage.schema import JOBS
from sweep.synthesis.jobs import DONE, job_of
from sweep.synthesis.result import Outcome
from sweep.synthesis.target import Implementation, Strategy, Target

QUANTITIES: tuple[Quantity, ...] = ("lut", "ff", "latency_ns")
#: Designs synthesized here without which published ones, of other networks, correct nothing.
MIN_OWN_DESIGNS = 3
#: Which figure of a student's cost a quantity corrects, by implementation.
FIELDS: Mapping[Implementation, Mapping[Quantity, str]] = {
    "adder_graph": {"lut": "lut", "ff": "ff", "latency_ns": "latency_ns"},
    "hls4ml": {"lut": "hls_lut"},
}
#: Which figure of a cost is summed with a corrected one in its `_equivalent`.
_DSP_BESIDE = {"lut": "dsp", "hls_lut": "hls_dsp"}


@dataclass(frozen=True)
class Kind:
    """What designs must share for one calibration to hold for all of them."""

    tool: str
    stage: str
    part: str
    implementation: Implementation
    strategy: Strategy | None
    dsp: bool

    @classmethod
    def of(cls, target: Target) -> "Kind":
        strategy = target.strategy if target.tool == "vitis" else None
        part = target.hardware.part
        return cls(target.tool, target.stage, part, target.implementation, strategy, target.dsp)


def raw_cost(cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return a student's cost as it was estimated, whatever corrected it since."""
    plain = {**cost, **cost.get("estimated", {}), "source": "estimated"}
    plain.pop("estimated", None)
    plain.pop("intervals", None)
    return _with_sums(plain)


def _with_sums(cost: dict[str, Any]) -> dict[str, Any]:
    cost["lut_equivalent"] = cost["lut"] + LUT_PER_DSP * cost["dsp"]
    cost["hls_lut_equivalent"] = cost["hls_lut"] + LUT_PER_DSP * cost["hls_dsp"]
    return cost


class Correction:
    """All calibrations of one kind of design."""

    def __init__(self, kind: Kind, own: Sequence[Design]) -> None:
        self.kind = kind
        self.own = tuple(own)

    def designs(self, quantity: Quantity) -> tuple[Design, ...]:
        """Return what a quantity is fitted to: designs synthesized here, and published ones.

        The published designs are post-route figures of Vivado. They missed the clock that they
        aimed at, and say nothing of the latency at another.
        """
        seeded = (self.kind.tool, self.kind.stage) == ("vivado", "routed") and quantity == "lut"
        return (*self.own, *PUBLISHED) if seeded else self.own

    @cached_property
    def fitted(self) -> dict[Quantity, Calibration]:
        """Return the calibration of each quantity that has enough designs."""
        found = {}
        for quantity in FIELDS[self.kind.implementation]:
            calibration = fit(self.designs(quantity), quantity)
            if calibration is not None:
                found[quantity] = calibration
        return found

    def predictions(self, quantity: Quantity) -> list[tuple[Design, Prediction]]:
        """Return each design with what the others predict of it."""
        return leave_one_out(self.designs(quantity), quantity)

    def in_force(self, quantity: Quantity) -> bool:
        """Tell whether a quantity is corrected: it beats the raw estimate, on designs of ours, too."""
        calibration = self.fitted.get(quantity)
        if calibration is None or not calibration.beats_raw:
            return False
        mine = {design.name for design in self.own}
        errors = [
            (abs(prediction.value / said - 1), abs(estimated / said - 1))
            for design, prediction in self.predictions(quantity)
            if design.name in mine
            and (said := getattr(design, quantity)) is not None
            and (estimated := design.estimate.of(quantity)) is not None
        ]
        better = sum(new for new, _ in errors) < sum(old for _, old in errors)
        return len(errors) >= MIN_OWN_DESIGNS and better

    @cached_property
    def used(self) -> dict[Quantity, Calibration]:
        """Return the calibrations in force."""
        return {quantity: found for quantity, found in self.fitted.items() if self.in_force(quantity)}

    def apply(self, cost: Mapping[str, Any], clock_ns: float) -> dict[str, Any]:
        """Return a student's cost with every calibration that is in force applied.

        `cost` is the JSON of a cost, corrected before or not. What was corrected is in `estimated`
        as it was, and in `intervals` with its 90 % interval, as are the sums that it enters.
        """
        plain = raw_cost(cost)
        if not self.used:
            return plain
        try:
            estimate = Estimate.from_cost(plain, clock_ns, self.kind.implementation)
        except ConfigError:
            return plain  # a student without logic has nothing to correct
        corrected = {**plain, "source": "calibrated", "estimated": {}, "intervals": {}}
        for quantity, calibration in self.used.items():
            field = FIELDS[self.kind.implementation][quantity]
            found = calibration.predict(estimate)
            corrected["estimated"][field] = plain[field]
            corrected[field] = round(found.value) if field == "ff" else found.value
            corrected["intervals"][field] = [found.low, found.high]
            if field in _DSP_BESIDE:
                # DSPs are not corrected, so a sum is as uncertain as its LUTs.
                more = LUT_PER_DSP * plain[_DSP_BESIDE[field]]
                corrected["intervals"][f"{field}_equivalent"] = [found.low + more, found.high + more]
        return _with_sums(corrected)


@waited_out
def corrections(engine: sa.Engine) -> dict[Kind, Correction]:
    """Return what the jobs of a database say, by kind of design."""
    found: dict[Kind, list[Design]] = {}
    with engine.begin() as connection:
        rows = connection.execute(
            sa.select(JOBS)
            .where(JOBS.c.state == DONE, JOBS.c.outcome == Outcome.OK.value)
            .order_by(JOBS.c.design)
        ).mappings()
        jobs = [job_of(row) for row in rows]
    for job in jobs:
        design = _design(job.design, job.target, job.estimate, job.results)
        found.setdefault(Kind.of(job.target), [])
        if design is not None:
            found[Kind.of(job.target)].append(design)
    return {kind: Correction(kind, designs) for kind, designs in found.items()}


def correction_for(engine: sa.Engine, target: Target) -> Correction:
    """Return the correction of the designs that are synthesized for `target`."""
    kind = Kind.of(target)
    return corrections(engine).get(kind) or Correction(kind, ())


def _design(
    name: str, target: Target, cost: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> Design | None:
    """Return what a finished job says, None where it says nothing that could be calibrated."""
    said = next((r for r in results if r["stage"] == target.stage), None)
    if said is None or said["lut"] <= 0:
        return None
    clock, wns, cycles = target.hardware.clock_ns, said["wns_ns"], said["latency_cycles"]
    # A design that meets its clock runs at that clock; one that does not runs slower.
    latency = None if wns is None or not cycles else cycles * max(clock, clock - wns)
    try:
        estimate = Estimate.from_cost(raw_cost(cost), clock, target.implementation)
    except ConfigError:
        return None
    return Design(
        name, estimate, said["lut"], said["ff"] or None, latency, f"{said['tool']} {said['version']}"
    )
