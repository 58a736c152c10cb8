"""`sweep worker`: one worker in this process, until the study is done or somebody says stop."""

import threading

from sweep.annotating import Annotating
from sweep.display import Display
from sweep.messages import Noticed
from sweep.processes import limit_threads, stop_on_signals
from sweep.storage import open_storage
from sweep.study import Study, load
from sweep.worker.worker import Options, Worker
from sweep.worker_name import worker_name


def work_here(url: str, study: str, options: Options, threads: int, display: Display) -> tuple[Study, int]:
    """Work on the study called `study` with `threads` threads; return it and how many runs ended here.

    SIGTERM, SIGINT, SIGUSR1 and SIGUSR2, which batch systems send before they kill, let the worker end its
    epoch, keep what there is, and hand its run back.
    """
    limit_threads(threads)
    stop = threading.Event()
    stop_on_signals(stop)
    opened = load(open_storage(url, create=False, patient=True), study)
    display.show(Noticed(worker_name(), f"works on {study}"))
    annotating = Annotating(opened, url, display.show, stop)
    ended = Worker(opened, display.show, options=options, stop=stop, annotating=annotating).work()
    return opened, ended
