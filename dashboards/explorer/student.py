"""One student as the explorer's page wants it."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.optuna_view.notes import drawn
from dashboards.student import BINS, Performance, Student
from objectives.students.layers import Layer
from sweep.export.remembered import FORMS, exports_of
from sweep.front import Front
from sweep.records import constraint_values


def about_student(front: Front, number: int) -> dict[str, Any]:
    """Return what the study recorded of a student, and the command that exports it."""
    student = Student.of(front.study, number)
    trial, study = student.trial, front.study
    run = study.trials()[trial.user_attrs.get("parent", number)]
    recipe = json.loads(run.user_attrs["recipe"])
    return {
        "trial": number,
        "run": run.number,
        "starts_from": run.user_attrs.get("starts_from"),
        "epoch": trial.user_attrs["epoch"],
        "beta": trial.user_attrs["beta"],
        "design": trial.user_attrs["design"],
        "on_front": number in front.numbers,
        "constraints": _constraints(front, student),
        "drawn": drawn(recipe["student"]),
        "params": {name: str(value) for name, value in trial.params.items()},
        "cost": front.cost(trial),
        "validation": trial.user_attrs["validation"],
        "test": trial.user_attrs["test"],
        "synthesis": trial.user_attrs.get("synthesis", []),
        "jobs": trial.user_attrs.get("synthesis_jobs", []),
        "exports": [_export(one) for one in exports_of(study, number)],
        "export": f"sweep export {study.name} {number} -o {study.name}-{number}",
        "optuna": f"/dashboard/studies/{study.id}/trials?numbers={number}",
    }


def _export(export: dict[str, Any]) -> dict[str, Any]:
    """Return what a certificate says, by form as people read it."""
    return {
        "folder": export["folder"],
        "created": export["created"],
        "verified": export["verified"],
        "version": export["student"]["emulator_version"],
        "events": export["events"]["count"],
        "compared": [
            {
                "form": FORMS.get(name, name),
                "events": said.get("events"),
                "mismatches": said.get("mismatches"),
                "missing": said.get("not_verified_because"),
                "tools": ", ".join(f"{tool} {version}" for tool, version in said.get("tools", {}).items()),
            }
            for name, said in export["compared"].items()
        ],
    }


def _constraints(front: Front, student: Student) -> list[dict[str, Any]]:
    """Return each constraint with how far the student is from its bound; kept when at most 0."""
    cost, validation = front.cost(student.trial), student.trial.user_attrs["validation"]
    values = constraint_values(front.study.file.constraints, validation, cost)
    return [{"name": name, "excess": value} for name, value in values.items()]


def performance_json(performance: Performance) -> dict[str, Any]:
    """Return ROC curves and score distributions, shares of events in each bin."""
    return {
        "split": performance.split,
        "working_point_khz": performance.working_point_khz,
        "passing": performance.passing,
        "bins": BINS.tolist(),
        "zero_bias": {"events": int(performance.zero_bias.sum()), "share": _shares(performance.zero_bias)},
        "signals": [
            {
                "name": name,
                "auc": curve.auc,
                "events": curve.events,
                "rate_khz": [float(f"{x:.5g}") for x in curve.rate_khz],
                "efficiency": [float(f"{x:.5g}") for x in curve.efficiency],
                "at_rate": curve.at_rate,
                "share": _shares(curve.counts),
            }
            for name, curve in performance.signals.items()
        ],
    }


def _shares(counts: NDArray[np.int64]) -> list[float]:
    return [float(f"{share:.5g}") for share in counts / max(counts.sum(), 1)]


def layers_json(student: Student) -> dict[str, Any]:
    """Return the bitwidths and estimated LUTs of each layer, and the LUTs of the input's clipping."""
    lut = student.lut_by_layer()
    return {
        "input_lut": lut["input"],
        "layers": [_layer(layer, lut[layer.name]) for layer in student.layers()],
    }


def _layer(layer: Layer, lut: float) -> dict[str, Any]:
    bits = layer.input_bits
    image = bits.ndim == 3
    weights = layer.weight_bits
    return {
        "name": layer.name,
        "kind": layer.kind,
        "lut": lut,
        "input_shape": list(bits.shape),
        "input_bits": np.moveaxis(bits, -1, 0).tolist() if image else bits.tolist(),
        "weight_bits": weights.tolist(),
        # What hangs on each place of the image, over all channels and outputs.
        "bits_by_place": weights.reshape(*bits.shape, -1).sum(axis=(2, 3)).tolist()
        if image and layer.kind == "dense"
        else None,
        "inputs_alive": int((bits > 0).sum()),
        "weights_alive": int((weights > 0).sum()),
        "weight_bits_total": int(weights.sum()),
    }
