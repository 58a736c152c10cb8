"""The name under which a process holds leases."""

import os
import socket

import psutil


def worker_name(pid: int | None = None) -> str:
    """Return host, process and start time: no two processes ever share it."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{pid}:{int(psutil.Process(pid).create_time())}"


def is_dead(name: str) -> bool:
    """Tell whether a worker of this host is gone; one of another host may be alive for all we know."""
    host, pid, started = name.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        return int(psutil.Process(int(pid)).create_time()) != int(started)
    except psutil.NoSuchProcess:
        return True
