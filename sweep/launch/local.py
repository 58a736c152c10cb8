"""Workers as processes of this machine, which go on when whoever started them logs out."""

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from sweep.launch.launcher import Launcher, Order
from sweep.worker.name import host_of, is_dead, pid_of, worker_name


class LocalLauncher(Launcher):
    """One detached process a worker, each with the threads that it is given and no more."""

    name = "local"
    many_machines = False

    def describe(self, order: Order) -> str:
        """Return the shell command of one worker, with its log."""
        shown = " ".join(f"{name}={shlex.quote(value)}" for name, value in order.environment.items())
        log = order.folder / "worker-N.log"
        return f"{order.workers} x {shown} {shlex.join(order.command)} >> {shlex.quote(str(log))} 2>&1\n"

    def start(self, order: Order) -> list[str]:
        """Start the processes; return their worker names."""
        order.folder.mkdir(parents=True, exist_ok=True)
        started = []
        for number in range(order.workers):
            with (order.folder / f"worker-{number}.log").open("ab") as log:
                process = subprocess.Popen(
                    order.command,
                    env={**os.environ, **order.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            started.append(worker_name(process.pid))
        return started

    def states(self, jobs: Sequence[str]) -> dict[str, str]:
        """Tell running processes from ended ones; those of another machine are unknown here."""
        here = host_of(worker_name())
        return {
            job: "unknown" if host_of(job) != here else "ended" if is_dead(job) else "running" for job in jobs
        }

    def stop(self, jobs: Sequence[str]) -> None:
        """Send SIGTERM to those that run here."""
        for job, state in self.states(jobs).items():
            if state == "running":
                with suppress(ProcessLookupError):
                    os.kill(pid_of(job), signal.SIGTERM)
