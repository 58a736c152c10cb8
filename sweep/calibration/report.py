"""What `sweep calibration` shows: estimates beside synthesis, and how well one predicts the other."""

from typing import Any

import sqlalchemy as sa

from sweep.calibration.correction import FIELDS, Correction, Kind, correction_for, corrections
from sweep.calibration.features import Quantity
from sweep.calibration.model import MIN_DESIGNS, Design
from sweep.synthesis.target import Target


def report(engine: sa.Engine, target: Target | None) -> list[dict[str, Any]]:
    """Return one entry a kind of design: of all in the database, or of `target` alone."""
    if target is None:
        found = list(corrections(engine).values())
    else:
        found = [correction_for(engine, target)]
    return [_entry(correction) for correction in found]


def _entry(correction: Correction) -> dict[str, Any]:
    kind: Kind = correction.kind
    return {
        "tool": kind.tool,
        "stage": kind.stage,
        "part": kind.part,
        "implementation": kind.implementation,
        "strategy": kind.strategy,
        "dsp": kind.dsp,
        "quantities": [_quantity(correction, quantity) for quantity in FIELDS[kind.implementation]],
    }


def _quantity(correction: Correction, quantity: Quantity) -> dict[str, Any]:
    designs = correction.designs(quantity)
    calibration = correction.fitted.get(quantity)
    # Designs of one estimate and figure count once, and the others say the same of all of them.
    left_out = {_key(design, quantity): prediction for design, prediction in correction.predictions(quantity)}
    rows, distinct = [], set()
    for design in designs:
        estimated, said = design.estimate.of(quantity), getattr(design, quantity)
        if estimated is None or said is None:
            continue
        distinct.add(_key(design, quantity))
        prediction = left_out.get(_key(design, quantity))
        rows.append(
            {
                "design": design.name,
                "source": design.source,
                "estimated": estimated,
                "synthesized": said,
                "predicted": None if prediction is None else prediction.value,
                "low": None if prediction is None else prediction.low,
                "high": None if prediction is None else prediction.high,
            }
        )
    return {
        "quantity": quantity,
        "designs": len(distinct),
        "designs_needed": MIN_DESIGNS,
        "raw_error": None if calibration is None else calibration.raw_error,
        "error": None if calibration is None else calibration.error,
        "coverage": None if calibration is None else calibration.coverage,
        "in_force": correction.in_force(quantity),
        "points": rows,
    }


def _key(design: Design, quantity: Quantity) -> tuple[object, ...]:
    estimate = design.estimate
    return estimate.of(quantity), estimate.features(quantity), getattr(design, quantity)
