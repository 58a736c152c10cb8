"""The model card: who this student is, what it was made of, how good it is and what it costs.

Markdown without any HTML or link: everything that comes from a study is escaped, for it may be shown on a
web page.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from objectives.data.dataset import dataset_digest
from objectives.data.h5 import file_digest
from sweep import home, records
from sweep.front import Front
from sweep.study_file import StudyFile

#: What means something in the middle of a line, and what does at its beginning.
_SPECIAL = re.compile(r"([\\`*_\[\]!|~$]|:(?=//))")
_LEADING = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[#+\-=]))")
_BREAKS = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")

_USE = {
    "keras": "`keras/load.py` shows how the model is loaded; `keras/student.json` is all that is recorded"
    " of it, `keras/adder_graph.json.gz` the adder graph that every form is compared with.",
    "rtl": "`rtl/src/cicada_student.v` is the top module: all 252 regions in, 16 bits out, an event each"
    " clock cycle. `vivado -mode batch -source vivado.tcl` and `quartus_sh -t quartus.tcl FAMILY DEVICE`"
    " run in `rtl/`; `testbench.v` checks itself on `vectors.txt`.",
    "hls": "`vitis-run --mode hls --tcl build_prj.tcl` runs in `hls/`; its test bench has events in"
    " `tb_data/`.",
    "cmssw": "`cmssw/CICADA_v…/` is the package; `cmssw/check/` builds and loads it without CMSSW.",
}


def model_card(front: Front, trial: FrozenTrial, forms: Sequence[str]) -> str:
    """Return the card of a trial's student."""
    return "\n".join(_lines(front, trial, forms)) + "\n"


def _lines(front: Front, trial: FrozenTrial, forms: Sequence[str]) -> Iterator[str]:
    file, about = front.study.file, trial.user_attrs
    student = json.loads((home.students_folder(file.study) / about["student"] / "student.json").read_text())
    yield f"# CICADA student {trial.number} of {safe(file.study)}"
    yield ""
    if file.description:
        yield safe(file.description)
        yield ""
    yield "A quantized network for the anomaly trigger of CMS's calorimeter. It takes 252 trigger regions"
    yield "(18 in phi, 14 in eta; region 14 · phi + eta), each a whole number of 0.5 GeV up to 1023, and"
    yield "gives a score from 0 to 255.99609375 in steps of 1/256: higher is odder. It was trained on"
    yield "what the dataset below holds, and says nothing about detectors or runs that are not in it."
    yield ""
    yield "## Use"
    yield ""
    for form in ("keras", *(f for f in _USE if f in forms and f != "keras")):
        yield f"- **{form}**: {_USE[form]}"
    yield "- `sweep verify FOLDER` compares all forms again; `certificate.json` says what was compared here."
    yield ""
    yield "## Data and targets"
    yield ""
    yield from _table(("", ""), _data(file))
    yield ""
    yield "## Student"
    yield ""
    yield from _table(("parameter", "value"), _parameters(student["recipe"], about))
    yield ""
    yield "## Scores"
    yield ""
    yield "Chosen on validation events; the intervals are central 68 % bootstrap intervals on test events."
    yield ""
    yield from _table(("AUC against zero bias", "validation", "test", "interval"), _auc(about))
    yield ""
    for at_rate in records.at_rates(about["test"]):
        yield (
            f"At {at_rate['rate_khz']:g} kHz, where {at_rate['passing']} zero-bias test events pass, the mean"
            f" signal efficiency on test events is {at_rate['mean_efficiency']:.4f}."
        )
    yield ""
    yield "## Cost"
    yield ""
    yield from _table(("source", "LUT", "FF", "DSP", "latency"), _costs(front, trial))
    yield ""
    hardware = file.hardware
    yield f"Estimates are for {safe(hardware.part)} at {hardware.clock_ns:g} ns."
    yield ""
    yield "## Versions"
    yield ""
    yield from _table(
        ("package", "trained with"), [(safe(n), safe(v)) for n, v in student["versions"].items()]
    )


def _data(file: StudyFile) -> Iterator[tuple[str, str]]:
    yield "dataset", f"`{dataset_digest(file.dataset)}` (digest of its events and their split)"
    source = file.dataset.source
    yield "kind", safe(source.kind)
    yield "signals, scored", safe(", ".join(source.signals))
    yield "exposure, trained on and never scored", safe(", ".join(source.exposure))
    if file.dataset.deposits:
        yield "deposits, trained on", f"{file.dataset.deposits:,}"
    teacher = file.teacher
    what = "CICADA's autoencoder, trained on zero bias"
    if teacher.file is not None:
        what = f"a teacher from a file, SHA-256 begins `{file_digest(teacher.file)[:16]}`"
    yield "teacher", what
    yield "target", "clip(32 · ln(mean squared error of the teacher), 0, 256 − 1/256), in steps of 1/256"


def _parameters(recipe: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in _flat(recipe):
        yield safe(key), safe(value)
    yield "epoch", safe(about["epoch"])
    yield "beta at that epoch", safe(about["beta"])
    yield "design", f"`{about['design']}`"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _auc(about: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    validation, test = about["validation"], about["test"]
    rows = {"mean": ("mean_auc", validation["mean_auc"], test["mean_auc"])}
    rows |= {name: (name, value, test["auc"][name]) for name, value in validation["auc"].items()}
    for shown, (key, seen, unseen) in rows.items():
        interval = test.get("intervals", {}).get(key)
        bounds = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "none"
        yield safe(shown), f"{seen:.4f}", f"{unseen:.4f}", bounds


def _costs(front: Front, trial: FrozenTrial) -> Iterator[tuple[str, ...]]:
    cost = front.cost(trial)
    raw = trial.user_attrs["cost"]
    yield (
        safe(f"adder graph, {cost['source']}"),
        f"{cost['lut']:,.0f}",
        f"{cost['ff']:,.0f}",
        f"{cost['dsp']:,.0f}",
        f"{cost['latency_ns']:g} ns",
    )
    yield "hls4ml, estimated", f"{raw['hls_lut']:,.0f}", "", f"{raw['hls_dsp']:,.0f}", ""
    for said in trial.user_attrs.get("synthesis", []):
        cycles = said.get("latency_cycles")
        yield (
            safe(f"{said['tool']} {said['version']}, {said['stage']}"),
            f"{said['lut']:,}",
            f"{said['ff']:,}",
            f"{said['dsp']:,}",
            "" if cycles is None else f"{cycles} cycles",
        )


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def safe(value: Any) -> str:
    """Return `value` as text of one line that no Markdown or HTML reader takes for anything else."""
    line = _BREAKS.sub(" ", str(value)).strip()
    return _LEADING.sub(r"\1\\", _SPECIAL.sub(r"\\\1", html.escape(line, quote=False)))
