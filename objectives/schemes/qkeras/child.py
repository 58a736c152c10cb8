"""The child: a long-lived interpreter with qkeras-v3 that builds, trains and saves what it is told to.

    python -I child.py OBJECTIVES

`OBJECTIVES` is the folder of that package, which is all of this project that the child imports: the
folder above it may hold HGQ2's package `qkeras` as well. Requests come on standard input and are
answered on standard output, one at a time, until the input ends.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path


def main(objectives: Path) -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides
    # Libraries that print shall not print into the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _register(objectives)
    from objectives.schemes.qkeras.server import serve

    serve(sys.stdin.buffer, answers)


def _register(folder: Path) -> None:
    """Make the package `objectives` importable, and nothing else of what is beside it."""
    spec = importlib.util.spec_from_file_location(
        "objectives", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["objectives"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
