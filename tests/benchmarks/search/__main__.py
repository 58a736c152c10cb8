"""Which way of searching finds better students for the same processor time?

    uv run python -m tests.benchmarks.search [--json] [--methods this_project hgq_ramp] [--seeds 3]

What is compared is the hypervolume of the front that validation chooses, measured on test events,
against core-seconds. Anchors are what people do today; random_search and this_project are
`sweep run` with a random sampler and with the one that it ships with; variations.yaml has what can be
taken from it, to see what each part brings. Finished searches are kept in
RESULTS/METHOD-SEED and not run again: stop it whenever you like, the same command goes on. More
--core-seconds let plain_optuna, random_search and this_project go on where they were; fewer cut all
of them short.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from filelock import FileLock, Timeout
from rich.console import Console

from dashboards.figure_file import IMAGES, write_figure
from objectives.errors import CicadaError
from sweep.display import Display
from sweep.home import home
from tests.benchmarks.search.figure import search_figure
from tests.benchmarks.search.kept import METHODS, VARIATIONS, SearchError, jobs
from tests.benchmarks.search.report import read_outcomes, report
from tests.benchmarks.search.searches import Searches
from tests.benchmarks.search.tables import tables


def main() -> int:
    """Run what is missing, print what all of it says, and return the exit code."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)
    # A shell starts what is in the background without it; searches inherit that, and are stopped by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _run(options)
    except CicadaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on with what is missing.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    results: Path = options.results.expanduser().resolve()
    results.mkdir(parents=True, exist_ok=True)
    wanted = list(jobs(results, list(dict.fromkeys(options.methods)), options.seeds))
    try:
        with (
            FileLock(results / ".lock", timeout=0),
            Display(Console(stderr=True), len(wanted), 0, "searches") as display,
        ):
            searches = Searches(wanted, options.core_seconds, options.at_once, display)
            searches.run()
    except Timeout:
        raise SearchError(f"{results} is in use by another benchmark; wait for it") from None
    outcomes = read_outcomes(wanted, options.core_seconds)
    if not outcomes:
        raise SearchError("every search failed")
    result = report(outcomes, options.core_seconds)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        Console(width=120).print(*tables(result), sep="\n")
    if options.plot is not None:
        write_figure(search_figure(outcomes, options.core_seconds), options.plot)
    return 1 if searches.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=(*METHODS, *VARIATIONS),
        default=METHODS,
        metavar="METHOD",
        help=f"of {', '.join(METHODS)}, which is the default, and of variations: {', '.join(VARIATIONS)}",
    )
    parser.add_argument("--seeds", type=_positive(int), default=3, help="searches by each method")
    parser.add_argument("--core-seconds", type=_positive(float), default=3600.0, help="budget of each search")
    parser.add_argument("--results", type=Path, default=home() / "benchmarks" / "search", metavar="FOLDER")
    parser.add_argument(
        "--at-once",
        type=_positive(int),
        default=len(os.sched_getaffinity(0)),
        help="searches side by side, a core each",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--plot", type=_figure_file, metavar="FILE", help=f".html, {', '.join(IMAGES)}")
    return parser.parse_args()


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def positive(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    return positive


def _figure_file(text: str) -> Path:
    if Path(text).suffix not in (".html", *IMAGES):
        raise argparse.ArgumentTypeError(f"{text} does not end in one of .html, {', '.join(IMAGES)}")
    return Path(text)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
