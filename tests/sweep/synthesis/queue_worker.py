"""Starts synthesis workers for test_queue_under_fire: `queue_worker.py URL STUDY LOG`.

For each line on its stdin it forks a worker, whose process it prints; at the end of stdin it waits for
all of them and prints {process: exit code}. What takes seconds to import is imported once. The workers
are the real ones, and so are their processes; only the tool does nothing but note that it ran.
"""

import json
import os
import sys
from pathlib import Path

from sweep.storage import lease
from sweep.storage.database import open_storage
from sweep.study import load
from sweep.synthesis.jobs import Jobs
from sweep.synthesis.process import Ending
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.synthesis.target import Target
from sweep.synthesis.tool import Command, Tool
from sweep.synthesis.worker import SynthesisWorker
from sweep.worker.name import worker_name

#: Far longer than the test: nobody gets anything because a lease has run out.
LEASE = 3600.0
NOTES = "tool.log"
SCRIPT = """
echo "$1 $2 started" >> "$3"
sleep 0.1
echo "$1 $2 ended" >> "$3"
echo "$1" > result
"""


class Quick(Tool):
    """Notes in a log when it starts and when it ends; the design's number is what it finds."""

    name = "yosys"

    def __init__(self, target: Target, log: Path) -> None:
        super().__init__(target)
        self.log = log

    def version(self) -> str:
        return "1"

    def write(self, student: Path, folder: Path) -> None:
        (folder / "design").write_text(student.name)

    def commands(self, folder: Path) -> tuple[Command, ...]:
        design = (folder / "design").read_text()
        return (Command(("/bin/sh", "-c", SCRIPT, "sh", design, self.target.stage, str(self.log)), NOTES),)

    def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
        if endings[-1].exit_code != 0:
            return Verdict(Outcome.TOOL_FAILED, (f"{endings[-1]}",))
        lut = int((folder / "result").read_text())
        target = self.target
        result = StageResult(target.tool, "1", target.stage, target.hardware.part, lut, 0, 0, 0.0)
        return Verdict(Outcome.OK, results=(result,))

    def reports(self, folder: Path) -> tuple[Path, ...]:
        return (folder / "result",)


def work(url: str, name: str, log: Path) -> None:
    storage = open_storage(url)
    study = load(storage, name)
    jobs = Jobs(storage.engine, worker_name())
    SynthesisWorker(study, jobs, tools=lambda target, **_: Quick(target, log)).work()
    storage.engine.dispose()


def main(url: str, name: str, log: Path) -> None:
    lease.LEASE = LEASE
    children = []
    print("ready", flush=True)
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            work(url, name, log)
            os._exit(0)
        print(child, flush=True)
        children.append(child)
    codes = {child: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}
    print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
