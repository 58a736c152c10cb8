"""The benchmark's JSON as tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table


def tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Yield what a person wants to see of a report."""
    yield _searches(result)
    yield _methods(result)
    if "against" in result["summary"]:
        yield _against(result)


def _searches(result: Mapping[str, Any]) -> Table:
    marks = list(result["searches"][0]["hypervolume_at"])
    machine = f"{result['machine']['cores']} cores"
    table = _table(
        f"Hypervolume ({result['unit']}) at core-seconds, {machine}", "search", *marks, "end", "at s"
    )
    for search in result["searches"]:
        table.add_row(
            f"{search['method']} {search['seed']}",
            *(f"{value:.4f}" for value in search["hypervolume_at"].values()),
            f"{search['hypervolume']:.4f}",
            f"{search['core_seconds']:,.0f}",
        )
    return table


def _methods(result: Mapping[str, Any]) -> Table:
    headings = ("seeds", "core-seconds", "hypervolume", "range", "validation - test")
    table = _table("Medians over seeds", "method", *headings)
    for name, method in result["summary"]["methods"].items():
        low_high = method.get("hypervolume_range")
        flattery = method.get("validation_minus_test")
        table.add_row(
            name,
            f"{len(method['seeds'])}",
            f"{method['core_seconds']:,.0f}",
            f"{method['hypervolume']:.4f}",
            "-" if low_high is None else f"{low_high[0]:.4f} to {low_high[1]:.4f}",
            "-" if flattery is None else f"{flattery:+.4f}",
        )
    return table


def _against(result: Mapping[str, Any]) -> Table:
    headings = ("core-s", "ours", "times faster", "ahead", "LUT at equal AUC")
    table = _table("This project to where others end, and at equal core-seconds", "method", *headings)
    for name, other in result["summary"]["against"].items():
        ours, faster = other["core_seconds_of_this_project"], other["times_faster"]
        seeds = other["ahead_at_budget"]["seed_by_seed"].values()
        table.add_row(
            name,
            f"{other['core_seconds']:,.0f}",
            "never" if ours is None else f"{ours:,.0f}",
            "-" if faster is None else f"{faster:.1f}",
            f"{sum(seeds)} of {len(seeds)} seeds",
            ", ".join(f"1/{level['times_smaller']:.2f}" for level in other["lut_at_equal_auc"]) or "-",
        )
    return table


def _table(title: str, first: str, *headings: str) -> Table:
    table = Table(title=title)
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
