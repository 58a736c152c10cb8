"""Results as tables for the terminal and as CSV."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from objectives.data.inspect import QUANTILES, FileSummary
from sweep.doctor import Finding
from sweep.front import Front
from sweep.promotion.choice import Chosen
from sweep.promotion.promote import Promoted
from sweep.study import Study
from sweep.synthesis.jobs import Job
from sweep.synthesis.target import Target

#: Columns of the terminal from which the AUC of each signal fits beside the rest.
WIDE = 120


def print_front(console: Console, front: Front) -> None:
    """Print the front's points, cheapest first, with test figures beside validation figures."""
    points = front.as_json()["points"]
    if not points:
        console.print(f"Study {front.study.name} has no feasible point yet.", highlight=False)
        return
    table = Table(title=f"Front of {front.study.name}: {len(points)} points", title_justify="left")
    for name in ("trial", "LUT", "FF", "ns", "EBOPs", "validation"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("test mean AUC", justify="right", no_wrap=True)
    if console.width >= WIDE:
        for signal in points[0]["test"]["auc"]:
            table.add_column(signal, justify="right", no_wrap=True)
    for point in points:
        cost, test = point["cost"], point["test"]
        low, high = test["intervals"]["mean_auc"]
        row = [
            str(point["trial"]),
            f"{cost['lut']:,.0f}",
            f"{cost['ff']:,}",
            f"{cost['latency_ns']:g}",
            f"{cost['ebops']:,}",
            f"{point['validation']['mean_auc']:.4f}",
            f"{test['mean_auc']:.4f} ± {(high - low) / 2:.4f}",
        ]
        if console.width >= WIDE:
            row += [f"{auc:.3f}" for auc in test["auc"].values()]
        table.add_row(*row)
    console.print(table)
    rate, passing = points[0]["test"]["rate_khz"], max(p["test"]["passing"] for p in points)
    console.print(
        f"LUT, FF and latency: estimated from the adder graph at {front.study.file.hardware.clock_ns:g} ns;"
        f" ± is half a 68 % interval. Hypervolume {front.hypervolume:,.1f}."
        f" At {rate:g} kHz the threshold rests on {passing} zero-bias test events or fewer.",
        highlight=False,
    )
    console.print(f"Students: {points[0]['student'].rpartition('/')[0]}", highlight=False, soft_wrap=True)


def write_csv(stream: TextIO, front: Front) -> None:
    """Write the front as CSV, one point a row."""
    writer = csv.writer(stream, lineterminator="\n")
    points = front.as_json()["points"]
    signals = list(points[0]["test"]["auc"]) if points else []
    cost = ("lut", "ff", "dsp", "ebops", "latency_ns", "hls_lut", "hls_dsp")
    writer.writerow(
        ["trial", "parent", "epoch", "validation_mean_auc", "test_mean_auc"]
        + [f"test_auc_{s}" for s in signals]
        + [*cost, "student"]
    )
    for p in points:
        writer.writerow(
            [p["trial"], p["parent"], p["epoch"], p["validation"]["mean_auc"], p["test"]["mean_auc"]]
            + [p["test"]["auc"][s] for s in signals]
            + [*(p["cost"][c] for c in cost), p["student"]]
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


def print_chosen(console: Console, study: Study, chosen: Sequence[Chosen]) -> None:
    """Print which points would be promoted, and why."""
    table = Table(title=f"{study.name}: {len(chosen)} of the front's points", title_justify="left")
    for name in ("trial", "LUT", "mean AUC"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why")
    for choice in chosen:
        about = choice.trial.user_attrs
        table.add_row(
            str(choice.trial.number),
            f"{about['cost']['lut']:,.0f}",
            f"{about['validation']['mean_auc']:.4f}",
            choice.reason,
        )
    console.print(table)
    console.print(f"Target: {_target(study.file.target)}. Nothing was queued.", highlight=False)


def print_promoted(console: Console, study: Study, promoted: Sequence[Promoted]) -> None:
    """Print the candidates and their jobs."""
    table = Table(title=f"{study.name}: {len(promoted)} candidates", title_justify="left")
    for name in ("trial", "LUT", "test mean AUC", "job"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why")
    seeded = any(p.candidate.spread for p in promoted)
    if seeded:
        table.add_column("other seeds: AUC, LUT", no_wrap=True)
    for p in promoted:
        test = p.candidate.test
        low, high = test["intervals"]["mean_auc"]
        state = "queued" if p.new else p.job.outcome or p.job.state
        row = [
            str(p.candidate.number),
            f"{p.job.estimate['lut']:,.0f}",
            f"{test['mean_auc']:.4f} ± {(high - low) / 2:.4f}",
            f"{p.job.id}, {state}",
            p.candidate.reason,
        ]
        table.add_row(*row, *([_spread(p.candidate.spread)] if seeded else []))
    console.print(table)
    new = sum(p.new for p in promoted)
    console.print(
        f"{new} queued for {_target(study.file.target)}; {len(promoted) - new} were in the queue before."
        f" `sweep synthesize {study.name}` works it off.",
        highlight=False,
        soft_wrap=True,
    )


def _spread(spread: Mapping[str, Any] | None) -> str:
    if not spread or not spread["mean_auc"]:
        return "all failed"
    auc, lut = spread["mean_auc"], spread["lut"]
    failed = f", {len(spread['failed'])} failed" if spread["failed"] else ""
    return f"{min(auc):.4f} to {max(auc):.4f}, {min(lut):,.0f} to {max(lut):,.0f}{failed}"


def _target(target: Target) -> str:
    return f"{target.tool} ({target.stage}) on {target.hardware.part} at {target.hardware.clock_ns:g} ns"


def print_jobs(console: Console, study: Study, jobs: Sequence[Job]) -> None:
    """Print what became of a study's syntheses."""
    if not jobs:
        console.print(
            f"Study {study.name} has no synthesis in its queue; `sweep promote {study.name}` fills it.",
            highlight=False,
        )
        return
    table = Table(title=f"Syntheses of {study.name}", title_justify="left")
    for name in ("job", "LUT estimated", "LUT", "FF", "DSP", "BRAM", "WNS ns", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcome")
    for job in jobs:
        said = job.results[-1] if job.results else None
        figures = ["-"] * 5
        if said:
            wns = "-" if said["wns_ns"] is None else f"{said['wns_ns']:g}"
            figures = [f"{said['lut']:,}", f"{said['ff']:,}", f"{said['dsp']}", f"{said['bram']:g}", wns]
        outcome = str(job.outcome or job.state)
        estimate = f"{job.estimate['hls_lut' if job.target.tool == 'vitis' else 'lut']:,.0f}"
        table.add_row(str(job.id), estimate, *figures, f"{job.seconds:.1f}", outcome)
    console.print(table)
    told = {_tool(job.results[-1]) for job in jobs if job.results}
    console.print(f"Figures of {', '.join(sorted(told))}." if told else "", highlight=False)
    for job in jobs:
        if job.outcome not in (None, "ok"):
            for line in job.evidence[:3]:
                console.print(f"  job {job.id}: {line}", highlight=False, markup=False, soft_wrap=True)


def _tool(result: Mapping[str, Any]) -> str:
    return f"{result['tool']} {result['version']} ({result['stage']}, {result['part']})"


def print_calibration(console: Console, kinds: Sequence[Mapping[str, Any]]) -> None:
    """Print how well estimates predict synthesis, and what is corrected."""
    if not kinds:
        console.print("No design was synthesized yet; `sweep promote STUDY` begins.", highlight=False)
    for kind in kinds:
        console.print(
            f"{kind['tool']}, {kind['stage']}, {kind['part']}, {kind['implementation']}", highlight=False
        )
        for quantity in kind["quantities"]:
            _print_quantity(console, quantity)


def _print_quantity(console: Console, quantity: Mapping[str, Any]) -> None:
    name, points = quantity["quantity"], quantity["points"]
    if not points:
        console.print(f"  {name}: the tool says nothing of it", highlight=False)
        return
    table = Table(title=f"{name} of {len(points)} designs", title_justify="left")
    table.add_column("design", no_wrap=True)
    for column in ("estimated", "synthesized", "predicted by the others", "90 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for point in sorted(points, key=lambda p: p["estimated"]):
        known = point["predicted"] is not None
        table.add_row(
            point["design"],
            f"{point['estimated']:,.0f}",
            f"{point['synthesized']:,.0f}",
            f"{point['predicted']:,.0f}" if known else "-",
            f"{point['low']:,.0f} to {point['high']:,.0f}" if known else "-",
        )
    console.print(table)
    if quantity["error"] is None:
        console.print(
            f"  {name}: {len(points)} of the {quantity['designs_needed']} designs that a calibration needs.",
            highlight=False,
        )
        return
    used = "corrects the cost of students" if quantity["in_force"] else "is not used"
    console.print(
        f"  {name}: mean error {quantity['raw_error']:.1%} as estimated, {quantity['error']:.1%} calibrated"
        f" (each design left out of its own fit); the 90 % intervals hold {quantity['coverage']:.0%}."
        f" It {used}.",
        highlight=False,
    )


def print_files(console: Console, files: Sequence[FileSummary]) -> None:
    """Print a table of region files; energies in counts of 0.5 GeV."""
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


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print what `sweep doctor` found."""
    signs = {"ok": "[green]ok[/]", "absent": "[yellow]--[/]", "broken": "[red]broken[/]"}
    table = Table(show_header=False, box=None)
    for f in findings:
        table.add_row(signs[f.status], f.what, f.found, f.advice)
    console.print(table)
