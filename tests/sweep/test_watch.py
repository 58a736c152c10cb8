"""What runs cost: processor time is counted whatever became of the processes that took it."""

import subprocess
import sys

from sweep.worker.runs import core_seconds

BUSY = "import time\nwhile time.process_time() < {seconds}: pass\nprint(flush=True)\ntime.sleep(60)"


def test_a_process_that_is_killed_keeps_its_time() -> None:
    """As a compiler that takes too long: or a study would have more than its core-hours."""
    before = core_seconds()
    child = subprocess.Popen([sys.executable, "-c", BUSY.format(seconds=0.5)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    alive = core_seconds() - before
    child.kill()
    child.wait()
    child.stdout.close()
    assert alive > 0.45
    assert core_seconds() - before > alive - 0.02
