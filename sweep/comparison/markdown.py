"""A comparison as Markdown: for a terminal, a README or a report."""

from collections.abc import Callable, Sequence
from typing import Any

Row = Sequence[str]
Show = Callable[[float], str]


def markdown(report: dict[str, Any]) -> str:
    """Return what `sweep compare --json` says as Markdown."""
    score, cost = report["score"], _name(report["cost"])
    names = [contender["name"] for contender in report["contenders"]]
    several = any(len(contender["studies"]) > 1 for contender in report["contenders"])
    parts = [
        f"# {', '.join(names)}: {score} against {cost}",
        _introduction(report, several),
        "## Contenders",
        _contenders(report, score, cost),
        f"## At equal {score}: {cost}",
        _levels(report["equal_performance"], names, score, "ratio"),
        f"## At equal {cost}: {score}",
        _levels(report["equal_resources"], names, cost, "difference"),
        "## Students",
        _students(report),
        _signals(report),
    ]
    if report["notes"]:
        parts += ["## To keep in mind", "\n".join(f"- {note}" for note in report["notes"])]
    return "\n\n".join(parts) + "\n"


def _introduction(report: dict[str, Any], several: bool) -> str:
    events = report["test_events"]
    text = (
        f"Test scores of fronts chosen on validation events, on {events['zero_bias']:,} zero-bias and"
        f" {sum(events.values()) - events['zero_bias']:,} signal events; {_name(report['cost'])} estimated"
        f" from the adder graph. In brackets: 68 % of {report['resamplings']} resamplings of the events, the"
        f" same for all. Hypervolumes count from {report['score']} {report['reference_point'][0]:g} and"
        f" {report['reference_point'][1]:,g} {_name(report['cost'])}."
    )
    if several:
        text += " Figures of several studies are their median, with their range in parentheses."
    return text


def _contenders(report: dict[str, Any], score: str, cost: str) -> str:
    limits = ("200", "500")
    within = [f"≤ {limit} ns" for limit in limits]
    rows = [["", "runs", "core-s", f"best {score}", f"its {cost}", "hypervolume", *within]]
    for each in report["contenders"]:
        rows.append(
            [
                each["name"],
                " + ".join(map(str, each["runs"])),
                " + ".join(f"{seconds:,.0f}" for seconds in each["core_seconds"]),
                _quantity(each["best"], _share),
                _quantity(each["cost_of_best"], _count),
                _quantity(each["hypervolume"], _count),
                *(_plain(each["latency_ns"][limit]["best"], _share) for limit in limits),
            ]
        )
    return _table(rows)


def _levels(levels: list[dict[str, Any]], names: list[str], axis: str, held: str) -> str:
    """One row a level: what each contender has there, held against the row's baseline."""
    if not levels:
        return "There is no level that two of them share."
    show, other, own = (_count, _share, "cost") if held == "ratio" else (_share, _count, "score")
    rows = [[axis, *names]]
    for row in levels:
        label = other(row["level"])
        if row["of"] is not None:
            label = f"{label} ({row['of']}: {show(row[own])})"
        cells = []
        for name in names:
            found = row["contenders"].get(name)
            text = "-" if found is None else _quantity(found, show)
            if found is not None and found.get(held):
                text += f"; {_held(found[held], _ratio if held == 'ratio' else _signed)}"
            cells.append(text)
        rows.append([label, *cells])
    return _table(rows)


def _students(report: dict[str, Any]) -> str:
    rows = [["student", "chosen as", "LUT", "FF", "ns", "mean AUC", "synthesis"]]
    for each in [*report["references"], *report["students"]]:
        cost, test = each["cost"], each["test"]
        low, high = test["intervals"]["mean_auc"]
        rows.append(
            [
                _label(each),
                "reference" if each["contender"] is None else _why(each, _name(report["cost"])),
                _count(cost["lut"]),
                _count(cost["ff"]),
                f"{cost['latency_ns']:g}",
                f"{test['mean_auc']:.4f} ± {(high - low) / 2:.4f}",
                "; ".join(_synthesis(result) for result in each["synthesis"]) or "-",
            ]
        )
    return _table(rows)


def _signals(report: dict[str, Any]) -> str:
    """AUC of each signal, and the mean efficiency at the study's rate and at one that the events know."""
    students = [*report["references"], *report["students"]]
    signals = [name for name in report["test_events"] if name != "zero_bias"]
    found = {x["rate_khz"]: x["expected"] for each in students for x in each["efficiencies"]}
    rates = found or {report["rate_khz"]: None}
    heads = [
        f"efficiency at {rate:g} kHz" + (f" ({events:.3g} events)" if events else "")
        for rate, events in rates.items()
    ]
    rows = [["AUC", *signals, *heads]]
    for each in students:
        test = each["test"]
        aucs = [f"{test['auc'][signal]:.4f}" for signal in signals]
        told = {report["rate_khz"]: f"{test['mean_efficiency']:.3f}"}
        for x in each["efficiencies"]:
            interval = _brackets(x["interval"], "{:.3f}".format)
            told[x["rate_khz"]] = f"{x['mean_efficiency']:.3f}{interval}"
        rows.append([_label(each), *aucs, *(told.get(rate, "-") for rate in rates)])
    return _table(rows)


def _label(student: dict[str, Any]) -> str:
    return str(student["name"]) if student["trial"] is None else f"{student['name']}, {student['trial']}"


def _why(student: dict[str, Any], cost: str) -> str:
    reasons = ["best"] if student["best"] else []
    for replaced in student["replaces"]:
        reason = f"as good as {replaced['name']}"
        if replaced["ratio"] is not None:
            reason += f" at {_ratio(replaced['ratio'])} of its {cost}"
        reason += "".join(
            f" ({x['tool']} {x['stage']}: {_ratio(x['ratio'])})" for x in replaced["synthesized"]
        )
        reasons.append(reason)
    return ", ".join(reasons)


def _synthesis(result: dict[str, Any]) -> str:
    figures = f"{result['lut']:,} LUT, {result['ff']:,} FF, {result['dsp']:,} DSP"
    slack = "" if result["wns_ns"] is None else f", WNS {result['wns_ns']:g} ns"
    return f"{result['tool']} {result['stage']}: {figures}{slack}"


# ---- figures ------------------------------------------------------------------------------------

_SIGNS = {None: "", "at most": "≤ ", "at least": "≥ "}


def _plain(found: dict[str, Any], show: Show) -> str:
    return "none" if found["value"] is None else show(found["value"])


def _quantity(found: dict[str, Any], show: Show) -> str:
    if found["value"] is None:
        there, of = found["reached"]
        return f"reached by {there} of {of}" if there else "not reached"
    text = _SIGNS[found["bound"]] + show(found["value"])
    if found["range"]:
        text += f" ({show(found['range'][0])} to {show(found['range'][1])})"
    return text + _brackets(found["interval"], show)


def _held(found: dict[str, Any], show: Show) -> str:
    return _SIGNS[found["bound"]] + show(found["value"]) + _brackets(found["interval"], show)


def _brackets(interval: Sequence[float | None] | None, show: Show) -> str:
    if interval is None:
        return ""
    return f" [{', '.join('open' if end is None else show(end) for end in interval)}]"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _share(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _ratio(value: float) -> str:
    """A share of another's cost, as people say it: 1/17 rather than 0.058.

    >>> _ratio(0.0588), _ratio(1.25)
    ('1/17', '1.25x')
    """
    return f"1/{1 / value:.3g}" if 0 < value < 0.95 else f"{value:.3g}x"


def _name(metric: str) -> str:
    return metric.upper() if metric in ("lut", "ff", "dsp") else metric


def _table(rows: Sequence[Row]) -> str:
    """Return a Markdown table; the first row is its head, the first column is text."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
