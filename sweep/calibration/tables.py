"""Calibrations as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_calibration(console: Console, kinds: Sequence[Mapping[str, Any]]) -> None:
    """Print how well estimates predict synthesis, and what is corrected."""
    if not kinds:
        console.print("No design was synthesized yet; `sweep promote STUDY` begins.", highlight=False)
    for kind in kinds:
        parts = [kind["tool"], kind["stage"], kind["part"], kind["implementation"], kind["strategy"]]
        parts.append("with DSPs" if kind["dsp"] else None)
        console.print(", ".join(part for part in parts if part), highlight=False)
        for quantity in kind["quantities"]:
            _print_quantity(console, quantity)


def _print_quantity(console: Console, quantity: Mapping[str, Any]) -> None:
    name, points = quantity["quantity"], quantity["points"]
    if not points:
        console.print(f"  {name}: the tool says nothing of it", highlight=False)
        return
    table = Table(title=f"{name} of {len(points)} designs", title_justify="left")
    for column in ("design", "estimated", "synthesized", "predicted", "from", "to"):
        table.add_column(column, justify="left" if column == "design" else "right", no_wrap=True)
    for point in sorted(points, key=lambda p: float(p["estimated"])):
        figures = (point[key] for key in ("estimated", "synthesized", "predicted", "low", "high"))
        table.add_row(point["design"], *("-" if figure is None else f"{figure:,.0f}" for figure in figures))
    console.print(table)
    if quantity["error"] is None:
        console.print(
            f"  {name}: {quantity['designs']} of the {quantity['designs_needed']} different designs that a"
            " calibration needs.",
            highlight=False,
        )
        return
    used = "corrects the cost of students" if quantity["in_force"] else "is not used"
    console.print(
        f"  {name}: mean error {quantity['raw_error']:.1%} as estimated, {quantity['error']:.1%} as predicted"
        f" by the other designs, whose 90 % intervals hold {quantity['coverage']:.0%}."
        f" The calibration {used}.",
        highlight=False,
    )
