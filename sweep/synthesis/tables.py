"""Candidates and syntheses as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # a worker of the queue needs none of what makes candidates
    from sweep.front import Front
    from sweep.promotion.choice import Chosen
    from sweep.promotion.promote import Promoted
    from sweep.study import Study
    from sweep.synthesis.jobs import Job
    from sweep.synthesis.target import Target


def print_chosen(console: Console, front: Front, chosen: Sequence[Chosen]) -> None:
    """Print which points would be promoted, and why."""
    study = front.study
    table = Table(title=f"{study.name}: {len(chosen)} points chosen", title_justify="left")
    for name in ("trial", "LUT", "mean AUC"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why")
    for choice in chosen:
        about = choice.trial.user_attrs
        table.add_row(
            str(choice.trial.number),
            f"{front.cost(choice.trial)['lut']:,.0f}",
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
