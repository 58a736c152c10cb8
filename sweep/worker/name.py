"""The name under which a process holds leases."""

import os
import socket

import psutil

#: Seconds that the clock of a machine may be set right by while a worker lives.
CLOCK_STEP = 5.0


def worker_name(pid: int | None = None) -> str:
    """Return host, process and start time: no two processes ever share it."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{pid}:{int(psutil.Process(pid).create_time())}"


def host_of(name: str) -> str:
    """Return the machine of a worker."""
    return name.rsplit(":", 2)[0]


def pid_of(name: str) -> int:
    """Return the process of a worker."""
    return int(name.rsplit(":", 2)[1])


def is_dead(name: str) -> bool:
    """Tell whether a worker of this host is gone; one of another host may be alive for all we know."""
    host, pid, started = name.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(pid))
        # The kernel counts start times from boot, and moves the time of boot when the clock is set right.
        reused = abs(process.create_time() - int(started)) > CLOCK_STEP
        # A process that nobody has waited for is still listed.
        return reused or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
