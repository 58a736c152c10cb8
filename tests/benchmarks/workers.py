"""How much of a machine's time becomes training when several workers share it?

    uv run python -m tests.benchmarks.workers --workers 4 --core-seconds 1200 --json

`sweep run` works on a study file for so many core-seconds of runs, as a user starts it, on an empty
database; data and teacher are made before. What runs took of the processors (training, scoring and
costing of their students) is held against all that the machine could give from the command's start to
its end: its cores by the clock. The rest is `waste`: starting interpreters, drawing and storing, the
database's server, the display, the front in the end, and cores that stand idle. `waste_while_runs_ran` is
the same from the first run's start to the last one's end, which a longer study comes close to. Parts of
`waste` stand beside it, and overlap. Run it on a machine that does nothing else: what others take counts
as waste, too.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from objectives.data.dataset import load_dataset
from objectives.teacher import load_teacher
from sweep import home
from sweep.storage.database import open_storage
from sweep.study import Study, load
from sweep.study_file import load_study_file
from tests.benchmarks.search.running import Running
from tests.benchmarks.storage import database

STUDY_FILE = Path(__file__).resolve().parents[2] / "studies" / "quickstart.yaml"
#: Seconds between two readings of the processor time.
LOOK = 0.25


def measure(study_file: Path, kind: str, workers: int, core_seconds: float) -> dict[str, Any]:
    """Run a study to its end; return what became of the machine's time."""
    file = load_study_file(study_file)
    dataset = load_dataset(file.dataset, home.data_cache(), processes=os.cpu_count() or 1)
    load_teacher(file.teacher, dataset, home.teacher_cache())
    with tempfile.TemporaryDirectory(prefix="sweep-workers-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL works in it as another user, where this one is root
        content = yaml.safe_load(study_file.read_text())
        content |= {
            "study": f"workers-{os.getpid()}",
            "budget": {"trials": 100_000, "core_hours": core_seconds / 3600},
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(content))
        with database(kind, folder) as (url, _):
            arguments = ["run", str(folder / "study.yaml"), "--storage", url, "--workers", str(workers)]
            with Running("sweep", arguments, folder / "log.txt") as process:
                while not process.has_ended():
                    time.sleep(LOOK)
                process.check()
            storage = open_storage(url, create=False)
            try:
                return _figures(load(storage, content["study"]), process, kind, workers)
            finally:
                storage.engine.dispose()


def _figures(study: Study, process: Running, kind: str, workers: int) -> dict[str, Any]:
    """Return seconds of a core, and the shares of what the machine could give."""
    cores, spent = len(os.sched_getaffinity(0)), process.spent
    began = process.readings[0][0]
    runs = study.runs()
    first = min(run.datetime_start.timestamp() for run in runs if run.datetime_start)
    over = max(run.datetime_complete.timestamp() for run in runs if run.datetime_complete)
    last = process.readings[-1][0]
    machine, training = cores * spent.wall_seconds, study.core_seconds()
    return {
        "database": kind,
        "workers": workers,
        "cores": cores,
        "load_before": os.getloadavg()[2],
        "runs": len(runs),
        "points": sum(1 for _ in study.points()),
        "wall_s": round(spent.wall_seconds, 1),
        "runs_core_s": round(training, 1),
        "waste": round(1 - training / machine, 4),
        "waste_while_runs_ran": round(1 - training / (cores * (over - first)), 4),
        "until_the_first_run": round(cores * (first - began) / machine, 4),
        "processes_outside_runs": round((spent.core_seconds - training) / machine, 4),
        "not_ours_or_idle": round(1 - spent.core_seconds / machine, 4),
        "after_the_last_run": round(cores * (last - over) / machine, 4),
    }


def main() -> None:
    """Measure, and print JSON or lines."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--study-file", type=Path, default=STUDY_FILE)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--core-seconds", type=float, default=1200.0, help="that runs may take")
    kinds = ["postgresql", "sqlite"]
    parser.add_argument("--database", choices=kinds, default="postgresql")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.study_file, given.database, given.workers, given.core_seconds)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
