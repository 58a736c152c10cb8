"""A saved student as pipelined RTL: what a synthesis tool is given.

The stages are cut as `objectives.costs.adder_graph` cuts them for the estimate, so what is
synthesized is the design whose registers and latency were estimated.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from alkaid.codegen import RTLModel
from alkaid.types import CombLogic

from objectives.costs.config import Hardware
from objectives.errors import CostError

#: Name of the top module, of its clock domain's constraints and of the files of both.
TOP = "student"
#: The adder graph of a student, in the folder that holds the student.
ADDER_GRAPH = "adder_graph.json.gz"
_SUFFIX = {"verilog": ".v", "vhdl": ".vhd"}

Flavor = Literal["verilog", "vhdl"]


@dataclass(frozen=True)
class Rtl:
    """A written design; paths are relative to its folder, sources in the order to read them."""

    top: str
    sources: tuple[Path, ...]
    constraints: Path
    latency_cycles: int
    register_bits: int

    def save(self, folder: Path) -> None:
        """Write `rtl.json` into the design's folder."""
        about = {
            "top": self.top,
            "sources": [source.as_posix() for source in self.sources],
            "constraints": self.constraints.as_posix(),
            "latency_cycles": self.latency_cycles,
            "register_bits": self.register_bits,
        }
        (folder / "rtl.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `rtl.json` of a design's folder; raises CostError when there is none."""
        try:
            about = json.loads((folder / "rtl.json").read_text())
            return cls(
                about["top"],
                tuple(Path(source) for source in about["sources"]),
                Path(about["constraints"]),
                about["latency_cycles"],
                about["register_bits"],
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CostError(f"{folder / 'rtl.json'}: no design was written here ({error})") from error


def load_logic(student: Path) -> CombLogic:
    """Return the adder graph of a student's folder; raises CostError when it cannot be read."""
    file = student / ADDER_GRAPH
    try:
        return CombLogic.load(file)
    except (OSError, EOFError, ValueError, LookupError, TypeError, AssertionError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise CostError(
            f"{file}: is no adder graph ({reason.splitlines()[0]}); train this student again"
        ) from error


def write_rtl(student: Path, hardware: Hardware, folder: Path, flavor: Flavor = "verilog") -> Rtl:
    """Write the RTL of a student's adder graph, cut for the clock of `hardware`, into `folder`.

    Raises CostError when the student's adder graph cannot be read.
    """
    design = RTLModel(
        load_logic(student),
        folder,
        TOP,
        flavor=flavor,
        latency_cutoff=hardware.adders_per_stage,
        part_name=hardware.part,
        clock_period=hardware.clock_ns,
        clock_uncertainty=hardware.clock_uncertainty,
    )
    design.write()
    suffix = _SUFFIX[flavor]
    written = sorted(path.relative_to(folder) for path in (folder / "src").rglob(f"*{suffix}"))
    # The wrapper only renames ports for a simulator.
    sources = [path for path in written if path.stem != f"{TOP}_wrapper"]
    sources.sort(key=lambda path: (path.stem == TOP, path.parent != Path("src/static"), path))
    rtl = Rtl(TOP, tuple(sources), Path(f"src/{TOP}.xdc"), int(design.latency or 0), int(design.reg_bits))
    rtl.save(folder)
    return rtl
