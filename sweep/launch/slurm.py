"""Workers as an array of Slurm jobs, by submitit.

A job that comes to its time limit, or is preempted, gets SIGUSR2 or SIGTERM: its worker ends the epoch and
hands its run back, and submitit puts the job into the queue again.
"""

import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from submitit.core.utils import FailedSubmissionError
from submitit.helpers import Checkpointable
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from sweep.errors import LaunchError
from sweep.launch.launcher import Launcher, Order

#: Times that a job goes back into the queue at its time limit.
MAX_REQUEUES = 1000
#: Seconds before its time limit at which a job is told; an epoch is far shorter.
TOLD_BEFORE = 90
#: Slurm's states of jobs that have not ended.
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SUSPENDED")
RUNNING = ("RUNNING", "COMPLETING")


class Works(Checkpointable):
    """What submitit runs in a job: the command of a worker. Submitted anew, it is the same again."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)

    def __call__(self) -> None:
        """Run the worker until it ends; raises CalledProcessError when it ends with an error."""
        subprocess.run(self.command, check=True)


class SlurmLauncher(Launcher):
    """One job of an array a worker."""

    name = "slurm"
    many_machines = True

    def describe(self, order: Order) -> str:
        """Return the batch script that submitit would submit."""
        script: str = _make_sbatch_string(
            command="PYTHON -u -m submitit.core._submit " + str(order.folder),
            folder=order.folder,
            map_count=order.workers,
            **_parameters(order),
        )
        return script

    def start(self, order: Order) -> list[str]:
        """Submit the array; return the jobs' numbers."""
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise LaunchError(
                "slurm: there is no sbatch or srun on the PATH; launch from a machine of the cluster,"
                " or see with --dry-run what would be submitted"
            )
        order.folder.mkdir(parents=True, exist_ok=True)
        executor = SlurmExecutor(order.folder, max_num_timeout=MAX_REQUEUES)
        executor.update_parameters(**_parameters(order))
        try:
            with executor.batch():
                jobs = [executor.submit(Works(order.command)) for _ in range(order.workers)]
        except FailedSubmissionError as error:
            raise LaunchError(f"slurm: refused the jobs ({_last_line(error)})") from error
        return [str(job.job_id) for job in jobs]

    def states(self, jobs: Sequence[str]) -> dict[str, str]:
        """Ask squeue; what it does not know has ended."""
        if not jobs:
            return {}
        numbers = sorted({job.partition("_")[0] for job in jobs})
        command = ["squeue", "--noheader", "--array", "--jobs", ",".join(numbers), "--format", "%i %T"]
        said = _run(command)
        if said is None:
            return dict.fromkeys(jobs, "unknown")
        if said.returncode != 0:  # it says so of jobs that have ended long ago
            return dict.fromkeys(jobs, "ended")
        found = dict(line.split() for line in said.stdout.splitlines() if line.strip())
        return {job: _state(found.get(job)) for job in jobs}

    def stop(self, jobs: Sequence[str]) -> None:
        """Cancel the jobs; Slurm sends SIGTERM first."""
        if jobs:
            said = _run(["scancel", *jobs])
            if said is None or said.returncode != 0:
                why = "no scancel on the PATH" if said is None else said.stderr.strip() or "no reason given"
                raise LaunchError(f"slurm: could not cancel {', '.join(jobs)} ({why})")


def _parameters(order: Order) -> dict[str, Any]:
    wanted = order.resources
    # Slurm passes on the environment of the submission; what is needed beside it is in there.
    parameters: dict[str, Any] = {
        "job_name": f"sweep-{order.study}",
        "time": wanted.minutes,
        "mem": f"{round(wanted.memory_gib * 1024)}M",
        "cpus_per_task": wanted.cpus,
        "signal_delay_s": TOLD_BEFORE,
        "use_srun": True,
        "stderr_to_stdout": True,
    }
    if wanted.partition is not None:
        parameters["partition"] = wanted.partition
    if wanted.account is not None:
        parameters["account"] = wanted.account
    if wanted.gpus:
        parameters["gpus_per_node"] = wanted.gpus
    return parameters


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None


def _state(said: str | None) -> str:
    if said is None:
        return "ended"
    return "waiting" if said in WAITING else "running" if said in RUNNING else "ended"


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[-1]
