"""Run a Yosys script: `python yosys_shell.py SCRIPT`, a process of its own.

An error in Yosys ends the process that it runs in. This file imports nothing of the project, so
that it starts fast.
"""

import sys
from pathlib import Path

from pyosys import libyosys


def main(script: Path) -> None:
    design = libyosys.Design()
    for command in script.read_text().splitlines():
        libyosys.run_pass(command, design)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
