"""Work off a study's syntheses on this machine: workers in threads, each with its tool's processes."""

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from sweep.display import Display
from sweep.study import Study
from sweep.synthesis.jobs import DONE, RUNNING, Job, Jobs
from sweep.synthesis.result import Outcome
from sweep.synthesis.tools import tool_for
from sweep.synthesis.worker import JobEnded, SynthesisWorker
from sweep.worker.name import worker_name

#: Seconds between two looks at what is under way.
LOOK = 0.5


def synthesize_here(study: Study, workers: int, display: Display) -> list[Job]:
    """Work until every job of `study` is done, by whomever; return the jobs.

    Raises SynthesisError when a tool that the jobs need is not installed, and KeyboardInterrupt when
    the user stops: what was under way is handed back.
    """
    jobs = Jobs(study.storage.engine, worker_name())
    jobs.reap(study.id)
    waiting = [job for job in jobs.of_study(study.id) if job.state != DONE]
    for target in {job.target.digest(): job.target for job in waiting}.values():
        tool_for(target).version()
    stop = threading.Event()
    ended: list[JobEnded] = []
    worker = SynthesisWorker(study, jobs, stop=stop, tell=ended.append)
    with ThreadPoolExecutor(max(workers, 1), thread_name_prefix="synthesis") as pool:
        running = {pool.submit(worker.work) for _ in range(min(workers, len(waiting)))}
        try:
            while running:
                done, running = wait(running, timeout=LOOK, return_when=FIRST_COMPLETED)
                _show(study, jobs, ended, display)
                for future in done:
                    future.result()
        finally:
            stop.set()
    return jobs.of_study(study.id)


def _show(study: Study, jobs: Jobs, ended: list[JobEnded], display: Display) -> None:
    rows = jobs.of_study(study.id)
    display.advance(sum(job.state == DONE for job in rows), len(rows))
    while ended:
        display.line(_told(ended.pop(0)))
    running = [job for job in rows if job.state == RUNNING]
    display.under_way({f"job {job.id}": job.last_line for job in running})


def _told(ended: JobEnded) -> str:
    job, verdict = ended.job, ended.verdict
    begin = f"job {job.id} ({job.target.tool}, design {job.design}): "
    if ended.state is None:
        return begin + "was taken over by another worker; result dropped"
    if verdict.outcome is Outcome.OK:
        said = verdict.results[-1]
        return begin + f"{said.lut:,} LUT, {said.ff:,} FF, {said.dsp} DSP in {ended.seconds:.1f} s"
    why = verdict.evidence[0] if verdict.evidence else "no reason was given"
    again = "; it will be tried again" if ended.state != DONE else ""
    return begin + f"{verdict.outcome}: {why}{again}"
