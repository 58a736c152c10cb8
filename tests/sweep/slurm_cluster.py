"""A real Slurm of one node, in a folder of its own: munged, slurmctld and slurmd of Debian's packages."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "scontrol")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=32000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Return why no Slurm can be started here, None if it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"Slurm is not installed (no {', '.join(absent)}); Debian's packages are slurm-wlm and munge"
    return "only root can start a Slurm" if os.geteuid() != 0 else None


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which sbatch and the others find a Slurm that runs."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700)
    (folder / "munge").chmod(0o755)
    host = socket.gethostname().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, controller=_free_port(), daemon=_free_port()))
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    environment = {"SLURM_CONF": str(conf), "PATH": _path()}
    inherited = {**os.environ, **environment}
    munge = folder / "munge"
    files = [f"--{kind}={munge / kind}" for kind in ("socket", "log-file", "pid-file", "seed-file")]
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={key}", *files],
        ["slurmctld", "-D", "-c", "-f", str(conf)],
        ["slurmd", "-D", "-c", "-N", host, "-f", str(conf)],
    ]
    started = []
    try:
        for command in commands:
            log = (folder / f"{command[0]}.out").open("wb")
            started.append(
                subprocess.Popen(command, env=inherited, stdout=log, stderr=log, start_new_session=True)
            )
            log.close()
            time.sleep(0.5)
        _wait_until_idle(inherited, folder)
        yield environment
    finally:
        for process in reversed(started):
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for child in family:
                if child.is_running():
                    child.kill()


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        said = subprocess.run(
            ["sinfo", "--noheader", "--format", "%T"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if said.stdout.strip().startswith("idle"):
            return
        if time.monotonic() > deadline:
            logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in folder.glob("*.out"))
            raise RuntimeError(f"Slurm does not come up: {said.stdout} {said.stderr}\n{logs}")
        time.sleep(0.5)
