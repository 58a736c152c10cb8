"""A study's results, region files and findings as tables for the terminal; the front as CSV."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table

from sweep.front import Front
from sweep.records import at_known_rate, at_rates, efficiency_at

if TYPE_CHECKING:  # what takes long to import and is not needed to print it
    from objectives.data.inspect import FileSummary
    from sweep.doctor import Finding
    from sweep.references import Reference

#: Columns of the terminal from which the AUC of each signal fits beside the rest.
WIDE = 120


def print_front(console: Console, front: Front, references: Sequence["Reference"] = ()) -> None:
    """Print the front's points, cheapest first, with test figures beside validation figures.

    References come last, by their names; no trial is theirs.
    """
    points = front.as_json()["points"]
    rows = [(str(point["trial"]), point) for point in points]
    rows += [(reference.name, reference.as_json()) for reference in references]
    if not points:
        console.print(f"Study {front.study.name} has no feasible point yet.", highlight=False)
    if not rows:
        return
    table = Table(title=f"Front of {front.study.name}: {len(points)} points", title_justify="left")
    known = at_known_rate(rows[0][1]["test"])
    names = ["trial", "LUT", "FF", "ns", "validation", "test mean AUC"]
    names += [f"at {known['rate_khz']:g} kHz"] if known else []
    names += ["EBOPs", *rows[0][1]["test"]["auc"]] if console.width >= WIDE else []
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for number, (name, point) in enumerate(rows):
        if number == len(points):
            table.add_section()
        cost, test = point["cost"], point["test"]
        low, high = test["intervals"]["mean_auc"]
        row = [
            name,
            f"{cost['lut']:,.0f}",
            f"{cost['ff']:,}",
            f"{cost['latency_ns']:g}",
            f"{point['validation']['mean_auc']:.4f}",
            f"{test['mean_auc']:.4f} ± {(high - low) / 2:.4f}",
        ]
        if known:
            found = efficiency_at(test, known["rate_khz"])
            row.append("-" if found is None else f"{found:.3f}")
        if console.width >= WIDE:
            row.append("-" if cost["ebops"] is None else f"{cost['ebops']:,}")
            row += [f"{auc:.3f}" for auc in test["auc"].values()]
        table.add_row(*row)
    console.print(table)
    corrected = sorted({name for _, point in rows for name in point["cost"].get("estimated", ())})
    synthesized = f" ({', '.join(corrected)} corrected by what synthesis said)" if corrected else ""
    console.print(
        f"LUT, FF and latency: estimated from the adder graph at {front.study.file.hardware.clock_ns:g} ns"
        f"{synthesized}; ± is half a 68 % interval. Hypervolume {front.hypervolume:,.1f}."
        f"{_about_rates(rows[0][1]['test'], known, max(point['test']['passing'] for _, point in rows))}",
        highlight=False,
    )
    if points:
        console.print(f"Students: {points[0]['student'].rpartition('/')[0]}", highlight=False, soft_wrap=True)


def _about_rates(test: Mapping[str, Any], known: Mapping[str, Any] | None, passing: int) -> str:
    """Return what to know of the efficiencies at the study's trigger rate, and at the one shown."""
    rate = test["rate_khz"]
    if known is None:
        return f" At {rate:g} kHz the threshold rests on {passing} zero-bias test events or fewer."
    shown = f" At {known['rate_khz']:g} kHz: mean efficiency of the signals on test events"
    if known["rate_khz"] == rate:
        return f"{shown}."
    return (
        f"{shown}, the lowest rate that these know; at {rate:g} kHz the threshold rests on"
        f" {passing} of zero bias or fewer."
    )


def write_csv(stream: TextIO, front: Front, references: Sequence["Reference"] = ()) -> None:
    """Write the front as CSV, one point a row; references follow, named in a column of their own."""
    writer = csv.writer(stream, lineterminator="\n")
    points = front.as_json()["points"]
    measured = [*points, *(reference.as_json() for reference in references)]
    signals = list(measured[0]["test"]["auc"]) if measured else []
    rates = [each["rate_khz"] for each in at_rates(measured[0]["test"])] if measured else []
    cost = ("lut", "ff", "dsp", "ebops", "latency_ns", "hls_lut", "hls_dsp")
    writer.writerow(
        ["trial", "parent", "epoch", "validation_mean_auc", "test_mean_auc"]
        + [f"test_auc_{s}" for s in signals]
        + [f"test_efficiency_{rate:g}khz" for rate in rates]
        + [*cost, "student"]
        + (["reference"] if references else [])
    )
    for p in measured:
        writer.writerow(
            [
                p.get("trial"),
                p.get("parent"),
                p.get("epoch"),
                p["validation"]["mean_auc"],
                p["test"]["mean_auc"],
            ]
            + [p["test"]["auc"][s] for s in signals]
            + [efficiency_at(p["test"], rate) for rate in rates]
            + [*(p["cost"][c] for c in cost), p["student"]]
            + ([p.get("name")] if references else [])
        )


def print_status(console: Console, status: dict[str, Any]) -> None:
    """Print what `sweep status` found."""
    runs = status["runs"]
    left = status["core_seconds_left"]
    console.print(
        f"Study {status['study']}: {runs['done']} of {runs['budget']} runs done,"
        f" {len(runs['running'])} under way, {status['points']} points, {status['front']} on the front"
        f" (hypervolume {status['hypervolume']:,.1f}).",
        highlight=False,
    )
    console.print(
        f"{status['core_seconds']:,.0f} core-seconds spent"
        + (f", about {left:,.0f} to go." if left is not None and left > 0 else "."),
        highlight=False,
    )
    if status["runs_per_hour"] is not None:
        rate, hours = status["runs_per_hour"], status["seconds_left"] / 3600
        console.print(f"{rate:,.0f} runs an hour, about {hours:,.1f} h to go.", highlight=False)
    _print_workers(console, status)
    for holder in runs["running"]:
        lost = " — its lease ran out; the next worker takes it over" if holder["abandoned"] else ""
        console.print(
            f"  run in slot {holder['slot']}: {holder['worker']}, attempt {holder['attempt']}{lost}",
            highlight=False,
        )
    if status["syntheses"]:
        counts = Counter(job["outcome"] or job["state"] for job in status["syntheses"])
        told = ", ".join(f"{number} {what}" for what, number in counts.items())
        console.print(f"Syntheses: {told}.", highlight=False)
    for job in status["syntheses"]:
        if job["state"] == "running":
            console.print(
                f"  job {job['job']}: {job['tool']} at {job['worker']}, attempt {job['attempt']}:"
                f" {job['last_line']}",
                highlight=False,
                markup=False,
            )
        elif job["evidence"] and job["outcome"] != "ok":
            console.print(
                f"  job {job['job']}: {job['outcome'] or 'to be tried again'}: {job['evidence'][0]}",
                highlight=False,
                markup=False,
            )
    for problem in status["problems"]:
        console.print(f"  trial {problem['trial']}: {problem['problem']}", highlight=False, markup=False)


def _print_workers(console: Console, status: dict[str, Any]) -> None:
    """Print who works, who was lost, who stopped with an error, and what was tried again."""
    for launch in status["launches"]:
        jobs = ", ".join(f"{number} {state}" for state, number in launch["jobs"].items())
        console.print(
            f"  launch {launch['launch']} ({launch['engine']}): {jobs}; logs in {launch['folder']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    for worker in status["workers"]:
        told = {
            "working": f"{worker['doing']}, {worker['runs']} runs in {worker['seconds']:,.0f} s",
            "lost": f"not heard of for {worker['silent_seconds']:,.0f} s; others take over what it held",
            "ended": f"stopped: {worker['error']}",
        }[worker["state"]]
        console.print(f"  worker {worker['worker']}: {told}", highlight=False, markup=False)
    for attempt in status["retries"]:
        if attempt["ending"] not in (None, "done"):
            console.print(
                f"  slot {attempt['slot']}, attempt {attempt['attempt']} at {attempt['worker']}:"
                f" {attempt['ending']}" + (f" ({attempt['evidence']})" if attempt["evidence"] else ""),
                highlight=False,
                markup=False,
            )


def print_files(console: Console, files: Sequence["FileSummary"]) -> None:
    """Print a table of region files; energies in counts of 0.5 GeV."""
    from objectives.data.inspect import QUANTILES

    quantiles = "/".join(map(str, QUANTILES))
    table = Table()
    table.add_column("file", no_wrap=True)
    table.add_column("layout", no_wrap=True)
    for name in (
        "events",
        "zeros",
        "saturated",
        f"total ET\n{quantiles} %",
        f"hottest region\n{quantiles} %",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("flags")
    for f in files:
        table.add_row(
            f.path.name,
            f.layout,
            f"{f.events:,}",
            f"{f.zero_fraction:.1%}",
            f"{f.saturated_fraction:.2%}",
            " / ".join(map(str, f.total_et)),
            " / ".join(map(str, f.max_region_et)),
            ", ".join(f.flags),
        )
    console.print(table)


def print_findings(console: Console, findings: Sequence["Finding"]) -> None:
    """Print what `sweep doctor` found."""
    signs = {"ok": "[green]ok[/]", "absent": "[yellow]--[/]", "broken": "[red]broken[/]"}
    table = Table(show_header=False, box=None)
    for f in findings:
        table.add_row(signs[f.status], f.what, f.found, f.advice)
    console.print(table)
