"""Workers as jobs of HTCondor, as CERN's batch service runs it."""

import re
import shutil
import subprocess
from collections.abc import Sequence

from sweep.errors import LaunchError
from sweep.launch.launcher import Launcher, Order

#: What workers take over from the environment of the submission: never what is written in a file.
PASSED_ON = ("SWEEP_*", "PG*", "PATH", "HOME", "KRB5CCNAME")


class HtcondorLauncher(Launcher):
    """One job of a cluster a worker."""

    name = "htcondor"
    many_machines = True

    def describe(self, order: Order) -> str:
        """Return the submit description."""
        wanted = order.resources
        lines = {
            "universe": "vanilla",
            "executable": order.command[0],
            "arguments": f'"{" ".join(_quoted(word) for word in order.command[1:])}"',
            "getenv": ", ".join(PASSED_ON),
            "initialdir": str(order.folder),
            "output": "worker-$(ClusterId)-$(ProcId).log",
            "error": "worker-$(ClusterId)-$(ProcId).log",
            "log": "htcondor.log",
            "should_transfer_files": "NO",
            "request_cpus": str(wanted.cpus),
            "request_memory": f"{round(wanted.memory_gib * 1024)}M",
            "+MaxRuntime": str(60 * wanted.minutes),
            # A worker that is told to leave ends with 0, as does one that has nothing left to do.
            "kill_sig": "SIGTERM",
            "job_max_vacate_time": "300",
            "on_exit_remove": "(ExitBySignal == False)",
            "batch_name": f"sweep-{order.study}",
        }
        if wanted.gpus:
            lines["request_gpus"] = str(wanted.gpus)
        if wanted.account is not None:
            lines["accounting_group"] = wanted.account
        described = "".join(f"{name} = {value}\n" for name, value in lines.items())
        return described + f"queue {order.workers}\n"

    def start(self, order: Order) -> list[str]:
        """Submit the jobs; return them as CLUSTER.PROCESS."""
        if shutil.which("condor_submit") is None:
            raise LaunchError(
                "htcondor: there is no condor_submit on the PATH; launch from a machine of the batch service,"
                " or submit what --dry-run prints"
            )
        order.folder.mkdir(parents=True, exist_ok=True)
        file = order.folder / "workers.sub"
        file.write_text(self.describe(order))
        said = _run(["condor_submit", "-terse", str(file)])
        found = re.match(r"(\d+)\.(\d+) - \1\.(\d+)", said.stdout.strip())
        if said.returncode != 0 or found is None:
            why = (said.stderr or said.stdout).strip().splitlines() or ["no reason given"]
            raise LaunchError(f"htcondor: refused the jobs ({why[-1]})")
        cluster, first, last = map(int, found.groups())
        return [f"{cluster}.{process}" for process in range(first, last + 1)]

    def states(self, jobs: Sequence[str]) -> dict[str, str]:
        """Ask condor_q; what it does not know has ended."""
        if not jobs:
            return {}
        clusters = sorted({job.partition(".")[0] for job in jobs})
        columns = (("%d.", "ClusterId"), ("%d ", "ProcId"), ("%d\n", "JobStatus"))
        said = _run(["condor_q", *clusters, *(word for each in columns for word in ("-format", *each))])
        if said.returncode != 0:
            return dict.fromkeys(jobs, "unknown")
        names = {"1": "waiting", "2": "running", "5": "waiting", "6": "running", "7": "waiting"}
        found = dict(line.split() for line in said.stdout.splitlines() if line.strip())
        return {job: names.get(found.get(job, ""), "ended") for job in jobs}

    def stop(self, jobs: Sequence[str]) -> None:
        """Remove the jobs; those that run get SIGTERM first."""
        if jobs:
            said = _run(["condor_rm", *jobs])
            if said.returncode != 0:
                raise LaunchError(f"htcondor: could not remove the jobs ({said.stderr.strip()})")


def _quoted(word: str) -> str:
    """Return a word of HTCondor's new argument syntax."""
    word = word.replace('"', '""').replace("'", "''")
    return f"'{word}'" if re.search(r"[\s']", word) else word


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"there is no {command[0]} on the PATH")
