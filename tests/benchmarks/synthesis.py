"""What the second stage costs beside the tool itself.

The same designs of a study's front are synthesized by Yosys alone, one after the other, and by
`sweep synthesize --workers 1`, whole command, interpreter start included:

    uv run python -m tests.benchmarks.synthesis quickstart --top 5 --json

The study is left as it is: the queue is that of a copy of its database.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy.engine import make_url

from sweep import home
from sweep.front import front_of
from sweep.promotion.choice import choose
from sweep.storage.database import open_storage
from sweep.study import Study, load
from sweep.study_file import Promotion
from sweep.synthesis.yosys import Yosys


def main() -> None:
    """Measure both, one after the other, and print how much more the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study")
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    storage = open_storage(home.default_storage(), create=False)
    study = load(storage, options.study)
    students = [
        home.students_folder(study.name) / choice.trial.user_attrs["student"]
        for choice in choose(front_of(study), Promotion(size=options.top))
    ]
    rounds = []
    for number in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            alone_s = sum(alone(study, student, Path(folder)) for student in students)
            command_s, tool_s = through_the_queue(study, options.top, Path(folder))
            rounds.append({"alone_s": alone_s, "command_s": command_s, "tool_in_command_s": tool_s})
        print(f"round {number + 1} of {options.repeats}", file=sys.stderr)
    best = {name: min(each[name] for each in rounds) for name in rounds[0]}
    result = {
        "study": study.name,
        "designs": len(students),
        "rounds": rounds,
        **best,
        # Against the tool's time in the same minutes, and against the tool run by hand.
        "overhead": min(each["command_s"] / each["tool_in_command_s"] for each in rounds) - 1,
        "overhead_over_alone": best["command_s"] / best["alone_s"] - 1,
    }
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print(
            f"{len(students)} designs: Yosys alone {best['alone_s']:.1f} s, sweep synthesize"
            f" {best['command_s']:.1f} s, {result['overhead']:.1%} over the tool's time in it"
        )


def alone(study: Study, student: Path, folder: Path) -> float:
    """Return the seconds that Yosys takes for a student's RTL, which is written before."""
    work = Path(tempfile.mkdtemp(dir=folder))
    tool = Yosys(study.file.target)
    tool.write(student, work)
    (command,) = tool.commands(work)
    with (work / "log").open("w") as log:
        start = time.monotonic()
        subprocess.run(command.arguments, cwd=work, stdout=log, stderr=log, check=True)
        return time.monotonic() - start


def through_the_queue(study: Study, top: int, folder: Path) -> tuple[float, float]:
    """Return the seconds of `sweep synthesize` for the same designs, and of the tool in them."""
    database = make_url(home.default_storage()).database
    assert database is not None, "this benchmark copies an SQLite file"
    copy = folder / "home"
    (copy / "studies" / study.name).mkdir(parents=True)
    (copy / "studies" / study.name / "students").symlink_to(home.students_folder(study.name))
    (copy / "data").symlink_to(home.data_cache())
    shutil.copy(database, copy / "sweep.db")
    engine = open_storage(f"sqlite:///{copy / 'sweep.db'}").engine
    with engine.begin() as connection:
        for table in ("sweep_candidates", "sweep_jobs"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    engine.dispose()
    environment = {**os.environ, "SWEEP_HOME": str(copy)}
    environment.pop("SWEEP_STORAGE", None)
    program = [sys.executable, "-m", "sweep"]
    subprocess.run(
        [*program, "promote", study.name, "--top", str(top), "--json"],
        env=environment,
        check=True,
        capture_output=True,
    )
    start = time.monotonic()
    done = subprocess.run(
        [*program, "synthesize", study.name, "--workers", "1", "--json"],
        env=environment,
        check=True,
        capture_output=True,
    )
    seconds = time.monotonic() - start
    return seconds, sum(job["seconds"] for job in json.loads(done.stdout))


if __name__ == "__main__":
    main()
