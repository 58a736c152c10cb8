"""What the Optuna dashboard says of a study and of each of its trials, in Markdown, and its figures."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_PLOT_DATA, split_plot_data
from optuna_dashboard._note import note_ver_key, split_body

from dashboards.front_figure import front_figure
from dashboards.study_figures import estimates_figure, hypervolume_figure, importance_figure
from objectives.errors import StudentError
from objectives.students.layers import Layer, layers_of
from objectives.students.network_file import NETWORK, read_network
from sweep import home
from sweep.export.remembered import FORMS, all_exports
from sweep.front import Front, front_of
from sweep.records import at_rates
from sweep.references import Reference
from sweep.study import Study

#: Trials whose note tells of every layer, which takes milliseconds a trial: those of the front and the
#: newest. Of the others the explorer tells.
MOST_WITH_LAYERS = 1000
#: Other points of the front's figure; it goes to the browser again with each of its looks.
MOST_POINTS = 400
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>&~$^:@])")


#: Notes that were made: of which state of a trial (by its id), and the text.
Known = dict[int, tuple[object, str]]


def annotations(
    study: Study,
    references: Mapping[str, Sequence[Reference]] = MappingProxyType({}),
    known: Known | None = None,
) -> dict[str, Any]:
    """Return the system attributes by which the dashboard knows a study's notes and figures.

    `references` are drawn beside the fronts of the studies that they are given for, by name. Notes
    that are in `known` and still true are not made again.
    """
    front = front_of(study)
    trials = by_interest(front)
    return (
        study_attributes(front, references.get(study.name, ()))
        | trial_attributes(front, trials[:MOST_WITH_LAYERS], known=known)
        | trial_attributes(front, trials[MOST_WITH_LAYERS:], layers=False, known=known)
    )


def study_attributes(
    front: Front, references: Sequence[Reference] = (), *, linked: bool = True
) -> dict[str, Any]:
    """Return the attributes of the study's own note and of its figures.

    A note is `linked` to the explorer where that is beside the dashboard.
    """
    found = _note(None, study_note(front, linked=linked))
    for name, figure in study_figures(front, references).items():
        # Its template says nothing that the dashboard does not, and is longer than the rest.
        text = figure.update_layout(template=None).to_json()
        found |= split_plot_data(text, f"{SYSTEM_ATTR_PLOT_DATA}{name}:")
    return found


def trial_attributes(
    front: Front,
    trials: Sequence[FrozenTrial],
    *,
    layers: bool = True,
    linked: bool = True,
    known: Known | None = None,
) -> dict[str, Any]:
    """Return the attributes of the notes of these trials, with their layers or without."""
    known = {} if known is None else known
    everything, exported = front.study.trials(), all_exports(front.study)
    found: dict[str, Any] = {}
    for trial in trials:
        about = trial.user_attrs
        cost = front.costs.get(trial.number, {})
        exports = exported.get(trial.number, [])
        on_front, jobs = trial.number in front.numbers, about.get("synthesis_jobs")
        state = (layers, linked, on_front, cost.get("lut"), jobs, [one["created"] for one in exports])
        if trial._trial_id not in known or known[trial._trial_id][0] != state:
            run = everything[int(about.get("parent", trial.number))]
            note = trial_note(front, trial, run, layers=layers, exports=exports, linked=linked)
            known[trial._trial_id] = (state, note)
        found |= _note(trial._trial_id, known[trial._trial_id][1])
    return found


def by_interest(front: Front) -> list[FrozenTrial]:
    """Return the trials that had ended when the front was chosen: those on it first, then the newest."""
    others = [
        trial
        for trial in front.study.trials()
        if trial.state.is_finished()
        and trial.number not in front.numbers
        and ("cost" not in trial.user_attrs or trial.number in front.costs)
    ]
    return [*front.points, *reversed(others)]


def study_figures(front: Front, references: Sequence[Reference] = ()) -> dict[str, go.Figure]:
    """Return the figures of a study that has points, by their names in the dashboard."""
    if not front.costs:
        return {}
    return {
        "sweep-front": front_figure(front, references, most=MOST_POINTS),
        "sweep-hypervolume": hypervolume_figure(front.study, front),
        "sweep-estimates": estimates_figure(front.study),
        "sweep-importance": importance_figure(front.study),
    }


def study_note(front: Front, *, linked: bool = True) -> str:
    """Return what a study is, how far it is, and where to look further."""
    study, file = front.study, front.study.file
    source = file.dataset.source
    signals = ", ".join(plain(str(name)) for name in source.signals)
    lines = [
        f"## {plain(study.name)}",
        plain(" ".join(file.description.split())[:600]),
        "",
        f"**{f'[Explore the front](/explorer/{study.name})' if linked else 'Front'}**: {len(front.points)}"
        f" points of {len(front.costs)} measured students, hypervolume {front.hypervolume:,.4g}.",
        "",
        f"- objectives: {', '.join(map(plain, file.objectives))}",
        f"- scored signals: {signals}",
        f"- constraints: {_constraints(study)}",
        f"- hardware: {plain(file.hardware.part)} at {file.hardware.clock_ns:g} ns",
        "",
        "Validation chose the front; test figures chose nothing. Costs are estimates of the adder graph"
        " unless a source is named.",
    ]
    return "\n".join(lines)


def trial_note(
    front: Front,
    trial: FrozenTrial,
    run: FrozenTrial,
    *,
    layers: bool = True,
    exports: Sequence[Mapping[str, Any]] = (),
    linked: bool = True,
) -> str:
    """Return what a trial of `run` is: its student, scores with intervals, costs by source, synthesis."""
    if "cost" not in trial.user_attrs:
        return "\n".join(_without_student(trial))
    address = f"/explorer/{front.study.name}#trial={trial.number}" if linked else ""
    return "\n\n".join("\n".join(part) for part in _of_point(front, trial, run, layers, exports, address))


def _without_student(trial: FrozenTrial) -> Iterator[str]:
    about = trial.user_attrs
    yield f"**{_kind(trial)}**"
    if trial.state == TrialState.FAIL:
        yield f"\nNo student came of it: {plain(str(about.get('problem', 'no reason was recorded')))}"


def _of_point(
    front: Front,
    trial: FrozenTrial,
    run: FrozenTrial,
    with_layers: bool,
    exports: Sequence[Mapping[str, Any]],
    address: str,
) -> Iterator[list[str]]:
    study, about = front.study, trial.user_attrs
    place = "on the front" if trial.number in front.numbers else "not on the front"
    yield [f"**{_kind(trial)}**, {place}" + (f" · [open in the explorer]({address})" if address else "")]
    layers = _layers(study, trial) if with_layers else []
    recipe = json.loads(run.user_attrs["recipe"])
    yield [f"`{drawn(recipe['student'])}`"]
    if layers:
        yield [
            "| layer | bits of its input | weights left | bits of a weight |",
            "| --- | --- | --- | --- |",
            *(f"| {layer.name} | {_input(layer)} | {_left(layer)} | {_weights(layer)} |" for layer in layers),
        ]
    yield list(_scores(about["validation"], about["test"]))
    yield list(_costs(front.cost(trial), about.get("synthesis", [])))
    yield from ([_export(one)] for one in exports)


def _kind(trial: FrozenTrial) -> str:
    about = trial.user_attrs
    if about.get("role") == "point":
        return f"Epoch {about['epoch']} of run {about['parent']}"
    begun = (
        f", which went on from trial {about['starts_from']}" if about.get("starts_from") is not None else ""
    )
    epoch = f", ended after epoch {about['epoch']}" if "epoch" in about else ""
    return f"Training run {trial.number}{begun}{epoch}"


def drawn(student: Mapping[str, Any]) -> str:
    """Return a student's architecture as a line.

    >>> drawn({"family": "cicada-v1", "hidden": 16, "hidden_2": 0, "input_clip": 0})
    '18x14 → dense 16 → dense 1'
    """
    parts = ["18x14"]
    if student.get("input_clip"):
        parts.append(f"clip {student['input_clip']}")
    if student["family"] == "cicada-v2":
        kernel = f"{student['kernel']}x{student['kernel']}"
        parts.append(f"conv {student['filters']} of {kernel}, stride {student['stride']}")
    parts += [f"dense {student[name]}" for name in ("hidden", "hidden_2") if student.get(name)]
    return " → ".join([*parts, "dense 1"])


def _layers(study: Study, trial: FrozenTrial) -> list[Layer]:
    """Return a student's layers where they are saved; a note waits for nothing else."""
    file = home.students_folder(study.name) / trial.user_attrs["student"] / NETWORK
    try:
        return layers_of(read_network(file)) if file.exists() else []
    except StudentError:
        return []


def _input(layer: Layer) -> str:
    alive = layer.input_bits[layer.input_bits > 0]
    if not alive.size:
        return "none"
    return f"{alive.mean():.1f} ({alive.min()} to {alive.max()}), {alive.size} of {layer.input_bits.size}"


def _left(layer: Layer) -> str:
    return f"{(layer.weight_bits > 0).sum():,} of {layer.weight_bits.size:,}"


def _weights(layer: Layer) -> str:
    alive = layer.weight_bits[layer.weight_bits > 0]
    return f"{alive.mean():.1f} ({alive.min()} to {alive.max()})" if alive.size else "none"


def _scores(validation: Mapping[str, Any], test: Mapping[str, Any]) -> Iterator[str]:
    rates = at_rates(test)
    heads = ["AUC", "validation", "test (68 %)", *(f"test at {each['rate_khz']:g} kHz" for each in rates)]
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    intervals = test.get("intervals", {})
    means = [each["mean_efficiency"] for each in rates]
    rows = [("mean", validation["mean_auc"], test["mean_auc"], means, "mean_auc")]
    for n in test["auc"]:
        rows.append((n, validation["auc"][n], test["auc"][n], [each["efficiency"][n] for each in rates], n))
    for name, seen, unseen, efficiencies, key in rows:
        low_high = intervals.get(key)
        span = f" ({low_high[0]:.4f} to {low_high[1]:.4f})" if low_high else ""
        told = " | ".join(f"{efficiency:.3f}" for efficiency in efficiencies)
        yield f"| {plain(name)} | {seen:.4f} | {unseen:.4f}{span} | {told} |"


def _costs(cost: Mapping[str, Any], synthesis: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| cost by | LUT | FF | DSP | ns |"
    yield "| --- | --- | --- | --- | --- |"
    sources = {"estimate": {**cost, **cost.get("estimated", {})}}
    if cost["source"] == "calibrated":
        sources["calibrated"] = dict(cost)
    for name, by in sources.items():
        yield f"| {name} | {by['lut']:,.0f} | {by['ff']:,} | {by['dsp']:g} | {by['latency_ns']:g} |"
    for said in synthesis:
        tool = plain(f"{said['tool']} {said['version']}, {said['stage']}")
        yield f"| {tool} | {said['lut']:,} | {said['ff']:,} | {said['dsp']} | |"


def _export(export: Mapping[str, Any]) -> str:
    forms = [FORMS.get(name, name) for name, said in export["compared"].items() if said["verified"]]
    missing = [FORMS.get(name, name) for name, said in export["compared"].items() if not said["verified"]]
    equal = f"equal in every bit on {export['events']['count']:,} events: {', '.join(forms)}"
    return plain(
        f"Exported {export['created'][:10]} as {export['student']['emulator_version']}; {equal}"
        + (f"; not compared: {', '.join(missing)}" if missing else "")
    )


def _constraints(study: Study) -> str:
    kept = [
        f"{plain(name)} {'at most' if bound.max is not None else 'at least'}"
        f" {bound.max if bound.max is not None else bound.min:g}"
        for name, bound in study.file.constraints.items()
    ]
    return ", ".join(kept) or "none"


def plain(text: str) -> str:
    """Return `text` so that Markdown, and HTML in it, show it as it is."""
    return _MARKDOWN.sub(r"\\\1", text)


def _note(trial_id: int | None, text: str) -> dict[str, Any]:
    return {note_ver_key(trial_id): 0, **split_body(text, trial_id)}
