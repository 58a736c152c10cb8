"""What an export's check found, for the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.export.verification import Verified

_WORDS = {
    "adder_graph": "adder graph, interpreted",
    "keras": "Keras",
    "rtl": "RTL, simulated",
    "hls": "hls4ml C++, compiled",
    "cmssw": "CMSSW emulator, loaded",
}


def print_verified(console: Console, found: Verified, title: str) -> None:
    """Print each form, the events that it was compared on, and what could not be verified here."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("form", no_wrap=True)
    for name in ("events", "mismatches"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("with")
    for name, each in found.comparisons.items():
        if each.missing is not None:
            row = (f"not verified: {each.missing}",)
            table.add_row(_WORDS[name], "-", "-", *map(escape, row))
            continue
        tools = ", ".join(f"{tool} {version}" for tool, version in (each.tools or {}).items())
        table.add_row(_WORDS[name], f"{each.events:,}", f"{each.mismatches:,}", escape(tools))
    console.print(table)
    if not found.complete:
        missing = ", ".join(name for name, each in found.comparisons.items() if not each.verified)
        console.print(f"Not verified here: {missing}.", highlight=False)
