"""What a trial says about its student: the user attributes of runs and points."""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.recipe import Recipe
from objectives.scores import ENOUGH_PASSING
from objectives.students.network_file import NETWORK, write_network
from sweep.errors import StudyError
from sweep.study_file import trigger_rate_khz

if TYPE_CHECKING:  # what takes seconds to import, and is not needed to read records
    from objectives.costs.adder_graph import AdderGraph
    from objectives.measurement import Point
    from objectives.students.network import QuantizedNetwork

#: Packages that a saved student depends on.
PACKAGES = ("cicada-sweep", "hgq2", "alkaid", "keras", "tensorflow", "optuna")


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide what a student is."""
    return dict(_versions())


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, version(name)) for name in PACKAGES)


def point_attributes(
    point: "Point",
    cost: Mapping[str, Any],
    *,
    epoch: int,
    beta: float,
    loss: float,
    adder_bits: float,
    design: str,
    student: str,
) -> dict[str, Any]:
    """Return what a measured student's trial records; `student` is its folder's name.

    `cost` is the point's cost, or what calibration made of it.
    """
    return {
        "epoch": epoch,
        "beta": beta,
        "loss": loss,
        "validation": point.validation.as_json(),
        "test": point.test.as_json(),
        "cost": dict(cost),
        "adder_bits": adder_bits,
        "design": design,
        "student": student,
    }


def metric(name: str, validation: Mapping[str, Any], cost: Mapping[str, Any]) -> float:
    """Return an objective or constraint by name, from what a trial records.

    Raises StudyError for an efficiency at a rate that it does not.
    """
    if name in ("mean_auc", "worst_auc"):
        return float(validation[name])
    rate = trigger_rate_khz(name)
    if rate is None:
        return float(cost[name])
    found = efficiency_at(validation, rate)
    if found is None:
        raise StudyError(
            f"{name} was not recorded of all students (older versions of sweep knew one rate a study):"
            " run the study anew under another name"
        )
    return found


def efficiency_at(scores: Mapping[str, Any], rate_khz: float, signal: str | None = None) -> float | None:
    """Return a signal's efficiency at a trigger rate, the mean for None; None where it was not recorded."""
    for each in at_rates(scores):
        if each["rate_khz"] == rate_khz:
            return float(each["mean_efficiency"] if signal is None else each["efficiency"][signal])
    return None


def at_rates(scores: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the efficiencies of a part's scores at each recorded rate, the study's own first."""
    return [scores, *scores.get("at_other_rates", ())]


def at_known_rate(scores: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the efficiencies at the lowest recorded rate that the part's events know well, if any."""
    known = [each for each in at_rates(scores) if each.get("expected", 0) >= ENOUGH_PASSING]
    return min(known, key=lambda each: float(each["rate_khz"]), default=None)


def constraint_values(
    constraints: Mapping[str, Any], validation: Mapping[str, Any], cost: Mapping[str, Any]
) -> dict[str, float]:
    """Return each constraint as Optuna wants it: kept when at most 0."""
    result = {}
    for name, bound in constraints.items():
        value = metric(name, validation, cost)
        if bound.max is None:
            result[name] = bound.min - value
            continue
        if bound.at == "upper":
            # A cost that no calibration speaks of has no interval, and counts as it is estimated.
            value = cost.get("intervals", {}).get(name, (value, value))[1]
        result[name] = value - bound.max
    return result


def save_student(
    folder: Path,
    name: str,
    model: Any,
    network: "QuantizedNetwork",
    graph: "AdderGraph",
    recipe: Recipe,
    attributes: Mapping[str, Any],
) -> Path:
    """Write one student into `folder`/`name`, whole or not at all, and return that folder.

    It holds the Keras model, which `model.save` writes, the network that hardware computes, its adder
    graph as alkaid reads it, and what is known about it.
    """
    final = folder / name
    if final.exists():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        model.save(temporary / "student.keras")
        write_network(temporary / NETWORK, network)
        graph.logic.save(temporary / "adder_graph.json.gz")
        about = {"recipe": recipe.model_dump(mode="json"), "versions": versions(), **attributes}
        (temporary / "student.json").write_text(json.dumps(about, indent=1))
        os.replace(temporary, final)
    except OSError:
        if not final.exists():  # otherwise another worker has written the same student
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final
