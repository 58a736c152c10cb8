"""Which class drives which tool."""

from sweep.synthesis.target import Target
from sweep.synthesis.tool import Tool
from sweep.synthesis.vitis import Vitis
from sweep.synthesis.vivado import Vivado
from sweep.synthesis.yosys import Yosys


def tool_for(target: Target, *, keep_checkpoint: bool = False) -> Tool:
    """Return the tool of `target`; raises SynthesisError for a target that it cannot have.

    `keep_checkpoint` asks Vivado to write its checkpoint, too.
    """
    match target.tool:
        case "yosys":
            return Yosys(target)
        case "vivado":
            return Vivado(target, keep_checkpoint=keep_checkpoint)
        case "vitis":
            return Vitis(target, keep_checkpoint=keep_checkpoint)
