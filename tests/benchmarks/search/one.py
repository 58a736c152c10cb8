"""One search by one method from one seed, in a process of its own with one thread."""

import sys
from pathlib import Path

from sweep.processes import limit_threads


def main() -> None:
    limit_threads(1)  # before TensorFlow is imported
    from tests.benchmarks.search import anchors
    from tests.benchmarks.search.problem import Keeper, Problem

    method, seed, core_seconds, earlier, folder = sys.argv[1:]
    keeper = Keeper(Path(folder), float(core_seconds), float(earlier))
    getattr(anchors, method)(Problem(), int(seed), keeper)


if __name__ == "__main__":
    main()
