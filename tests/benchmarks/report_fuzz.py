"""Do damaged reports ever become figures? Reports of Vivado and Vitis HLS, damaged a million times:

each damaged report must be refused, or give figures that it says. A crash, a figure that became 0
or is not in the text, and a reading that takes more than a second of processor time are failures,
printed with what repeats them, and the exit code is 1.

    uv run python -m tests.benchmarks.report_fuzz --count 1000000 --seed 1 --json
"""

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from random import Random

from sweep.errors import ReportError
from tests.sweep.synthesis.report_samples import Figures, Sample, damage, differences, own, real, wrongs

SLOW_S = 1.0
MAX_FAILURES = 20


@dataclass
class Tally:
    """What came of a share of the damaged reports; `slowest_s` is processor time of one reading."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Take in another share."""
        self.counts += other.counts
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.failures += other.failures[: MAX_FAILURES - len(self.failures)]


@cache
def samples() -> list[tuple[Sample, Figures, list[int]]]:
    """Return all reports with their figures and the lines that matter."""
    return [(sample, sample.figures(), sample.important()) for sample in (*own(), *real())]


def damaged(seed: int, number: int) -> tuple[Sample, Figures, str, str]:
    """Return report `number` of this seed: the sample, its figures, the damaged text and the damage."""
    random = Random((seed << 40) + number)
    sample, figures, important = random.choice(samples())
    text, done = damage(random, sample.text, important)
    return sample, figures, text, done


def judge(seed: int, number: int, tally: Tally) -> None:
    """Read one damaged report and count what came of it."""
    sample, figures, text, done = damaged(seed, number)
    wrong: list[str] = []
    start = time.thread_time()
    try:
        found = sample.parse(text, sample.name)
    except ReportError as error:
        outcome = "refused"
        if "\n" in str(error) or sample.name not in str(error):
            wrong = [f"not one line that names the file: {error!r}"]
    except Exception:  # noqa: BLE001  # whatever is not a ReportError is what is looked for
        outcome = "crashed"
        wrong = [traceback.format_exc(limit=-3)]
    else:
        wrong = wrongs(figures, found, text)
        changed = differences(figures, found)
        if any(new is None for _, new in changed.values()):
            outcome = "unstated"
        else:
            outcome = "different" if changed else "equal"
    seconds = time.thread_time() - start
    if seconds > SLOW_S:
        wrong.append(f"took {seconds:.1f} s")
    tally.slowest_s = max(tally.slowest_s, seconds)
    tally.counts[outcome] += 1
    if wrong:
        tally.counts["failed"] += 1
        if len(tally.failures) < MAX_FAILURES:
            tally.failures.append(f"seed {seed}, number {number}, {sample.name}: {done}: {'; '.join(wrong)}")


def share(job: tuple[int, int, int]) -> Tally:
    """Judge the reports ``range(first, last)`` of a seed."""
    seed, first, last = job
    tally = Tally()
    for number in range(first, last):
        judge(seed, number, tally)
    return tally


def main() -> int:
    """Run, print and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="print this damaged report, and how it is read"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.only is not None:
        sample, _, text, done = damaged(options.seed, options.only)
        print(text)
        print(f"{sample.name}: {done}", file=sys.stderr)
        print(sample.parse(text, sample.name), file=sys.stderr)
        return 0

    start = time.monotonic()
    step = 5_000
    jobs = [(options.seed, at, min(at + step, options.count)) for at in range(0, options.count, step)]
    total = Tally()
    if options.processes == 1:
        for job in jobs:
            total.add(share(job))
    else:
        with get_context("spawn").Pool(options.processes) as pool:
            for tally in pool.imap_unordered(share, jobs):
                total.add(tally)
    report = {
        "count": sum(
            total.counts[outcome] for outcome in ("equal", "different", "unstated", "refused", "crashed")
        ),
        "samples": len(samples()),
        "seed": options.seed,
        "parsed_equal": total.counts["equal"],
        "parsed_different": total.counts["different"],
        "parsed_with_a_figure_unstated": total.counts["unstated"],
        "refused": total.counts["refused"],
        "crashed": total.counts["crashed"],
        "failed": total.counts["failed"],
        "slowest_ms": round(1000 * total.slowest_s, 1),
        "seconds": round(time.monotonic() - start, 1),
        "failures": total.failures,
    }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(f"{key}: {value}" for key, value in report.items() if key != "failures"))
        print("\n".join(total.failures))
    return 1 if total.counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
