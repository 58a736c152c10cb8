"""How quick the dashboards are with 10,000 points, and what looking costs: prints JSON.

``python -m tests.benchmarks.dashboard`` makes a database of 10,000 points (invented, not measured), opens
it as a browser does, and times:

* `server_s`: until the points are there to be sent, for the first and for a later look
* `first_paint_s`, `drawn_s`, `ready_s`: of the page; the front is drawn, then the parameters
* `interactions`: what a person does, with keys and mouse, `--repeats` times each. `ms` is the time from the
  key or button to the frame that answers it, as the browser itself measures it (Event Timing, in steps of
  8 ms), median and worst; on a busy machine that is mostly waiting. `answer_cpu_ms` is the processor time
  of the page's thread for that frame alone, without what is drawn in the frames after it, `all_cpu_ms` with
  it, and `browser_cpu_ms` that of the whole browser, which draws without a graphics card here: medians.
* `annotate_s`: making all notes and figures for the Optuna dashboard anew, and again when little has changed
* `stored`: writing notes and figures into the database (`sweep annotate`)
* `written_rows`: what looking changed in the database

``--beside STUDY`` instead runs that study file, on this machine and in SWEEP_HOME, with both dashboards open
in a browser, and holds the processor time of their notes and figures against that of the runs.
"""

import argparse
import copy
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from optuna.trial import TrialState, create_trial
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from dashboards.explorer.app import Explorer
from dashboards.optuna_view.notes import Known, annotations
from dashboards.optuna_view.storage import SHARE, StudyView
from dashboards.optuna_view.stored import store
from dashboards.server import listen
from sweep import home
from sweep.storage import trial_rows
from sweep.storage.database import open_storage
from sweep.study import create_or_resume, load
from sweep.study_file import find_study_file, load_study_file, parse_study
from tests.dashboards.conftest import FILE

SIGNALS = ("tt", "vbf_htautau", "ggh_bb", "zprime_qq")
POINTS_A_RUN = 9


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--points", type=int, default=10_000)
    arguments.add_argument("--repeats", type=int, default=9)
    arguments.add_argument("--beside", metavar="STUDY")
    given = arguments.parse_args()
    if given.beside:
        print(json.dumps(beside(given.beside), indent=1))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SWEEP_HOME"] = folder
        url = f"sqlite:///{folder}/sweep.db"
        make(url, given.points)
        before = rows(Path(folder))
        found = {"points": given.points, **serving(url), **browsing(url, given.repeats)}
        found["written_rows"] = rows(Path(folder)) - before
        found["stored"] = storing(url)
        print(json.dumps(found, indent=1))


def make(url: str, points: int) -> None:
    """Write a study of so many invented points into a database."""
    rng = np.random.default_rng(1)
    storage = open_storage(url)
    study, _ = create_or_resume(storage, parse_study(copy.deepcopy(FILE), Path("x.yaml")))
    space = study.file.recipe_space().distributions
    trials = []
    for start in range(0, points, POINTS_A_RUN):
        params = {
            "student.hidden": 3 + int(rng.integers(2)),
            "training.beta.final": 10 ** rng.uniform(-7, -2),
        }
        run = create_trial(
            state=TrialState.FAIL,
            user_attrs={"role": "run", "recipe": '{"student": {"family": "cicada-v1", "hidden": 3}}'},
        )
        trials.append(run)
        number = start // POINTS_A_RUN * (POINTS_A_RUN + 1)
        size, quality = 10 ** rng.uniform(2.5, 4.5), rng.uniform(0.9, 1)
        for epoch in range(min(POINTS_A_RUN, points - start)):
            lut = size * 0.8**epoch
            auc = float(quality * (1 - 0.4 * (300 / lut) ** 0.5))
            trials.append(point(params, space, number, epoch, lut, auc))
    with storage.engine.begin() as connection:
        trial_rows.insert(connection, study.id, trials)
    storage.engine.dispose()


def point(params: Any, space: Any, run: int, epoch: int, lut: float, auc: float) -> Any:
    scores = {
        "mean_auc": auc,
        "worst_auc": auc - 0.02,
        "auc": {name: auc + 0.01 * place for place, name in enumerate(SIGNALS)},
        "efficiency": dict.fromkeys(SIGNALS, 0.1),
        "mean_efficiency": 0.1,
        "rate_khz": 3.0,
        "passing": 2,
    }
    intervals = {name: [auc - 0.01, auc + 0.01] for name in ("mean_auc", "worst_auc", *SIGNALS)}
    cost = {"lut": lut, "ff": int(lut * 1.4), "dsp": 0.0, "ebops": int(lut), "latency_cycles": 4}
    cost |= {"latency_ns": 25.0, "hls_lut": 9 * lut, "hls_dsp": 3.0, "source": "estimated"}
    cost |= {"lut_equivalent": lut, "hls_lut_equivalent": 9 * lut + 165}
    about = {"role": "point", "parent": run, "epoch": epoch, "beta": 1e-5, "loss": 1.0, "cost": cost}
    about |= {"validation": scores, "test": {**scores, "intervals": intervals}}
    return create_trial(
        values=[auc, lut],
        params=params,
        distributions={name: space[name] for name in params},
        constraints={"latency_ns": -175.0},
        user_attrs={**about, "design": f"{run:08x}{epoch:08x}", "student": f"{run}-{epoch}-x"},
    )


def serving(url: str) -> dict[str, Any]:
    """Time what the server does before it can answer."""
    view = StudyView(open_storage(url, create=False))
    explorer = Explorer(view)
    first = timed(lambda: explorer.points("looked-at"))
    later = timed(lambda: explorer.points("looked-at"))
    study = view.study("looked-at")
    known: Known = {}
    started = time.process_time()
    made = annotations(study, known=known)
    annotate = time.process_time() - started
    started = time.process_time()
    annotations(study, known=known)
    again = time.process_time() - started
    view.engine.dispose()
    return {
        "server_s": {"first": round(first, 2), "later": round(later, 3)},
        "sent_bytes": len(explorer.points("looked-at")[0]),
        "annotate_s": {"first": round(annotate, 2), "later": round(again, 2)},
        "annotations_bytes": sum(len(str(value)) for value in made.values()),
        "share_of_a_core": SHARE,
    }


def timed(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def storing(url: str) -> dict[str, Any]:
    """Return what it takes to write notes and figures into the database, and how much that is."""
    storage = open_storage(url)
    study = load(storage, "looked-at")
    started = time.process_time()
    first = store(study)
    took = time.process_time() - started
    storage.engine.dispose()
    return {"cpu_s": round(took, 2), "bytes": first.bytes, "rows": first.written, "notes": first.notes}


# ---- a browser ----------------------------------------------------------------------------------


def chromium(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox"] if os.geteuid() == 0 else []
    )


def browsing(url: str, repeats: int) -> dict[str, Any]:
    """Time what a person waits for."""
    server = listen(url, port=0)
    threading.Thread(target=server.serve, daemon=True).start()
    Explorer(server.view).points("looked-at")  # as after the first look of anyone
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(f"{server.url}/explorer/looked-at")
        page.wait_for_selector("html[data-ready]")
        page.reload()  # what a browser keeps is there now
        page.wait_for_selector("html[data-ready]")
        found = page.evaluate(
            """() => ({
                first_paint_s: performance.getEntriesByName("first-contentful-paint")[0].startTime / 1000,
                drawn_s: performance.getEntriesByName("drawn")[0].startTime / 1000,
                ready_s: performance.getEntriesByName("ready")[0].startTime / 1000,
            })"""
        )
        found = {key: round(value, 2) for key, value in found.items()}
        found["interactions"] = Interactions(page).all(repeats)
        browser.close()
    server.close()
    return found


class Interactions:
    """What a person does with the explorer, and how soon it answers."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.evaluate(
            """() => {
                window.seen = [];
                const note = (list) => seen.push(...list.getEntries().map((entry) => entry.duration));
                const watch = new PerformanceObserver(note);
                watch.observe({ type: "event", durationThreshold: 16 });
            }"""
        )
        self.session = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def all(self, repeats: int) -> dict[str, Any]:
        page, found = self.page, {}
        for name in ("axis", "score"):
            found[f"another {name}"] = self.timed(
                lambda k, name=name: page.press(f"#{name}", "ArrowUp" if k % 2 else "ArrowDown"), repeats
            )
        page.select_option("#score", "mean_auc")  # which has intervals
        found["intervals on or off"] = self.timed(lambda k: page.click("#intervals"), repeats)
        found["along the front"] = self.timed(lambda k: page.press("#front", "ArrowRight"), repeats)
        found["brush the front"] = self.timed(self.brush_front, repeats, self.clear)
        found["clear a selection"] = self.timed(lambda k: page.click("#clear"), repeats, self.brush_front)
        page.locator("#parameters").evaluate("node => node.scrollIntoView({block: 'center'})")
        found["brush a parameter by keyboard"] = self.timed(
            lambda k: page.press(".axis:nth-child(2)", "ArrowUp"), repeats
        )
        self.clear()
        found["brush a parameter"] = self.timed(self.brush_parameter, repeats, self.clear)
        self.clear()
        found["light or dark"] = self.timed(lambda k: page.click("#theme"), repeats)
        return found

    def brush_front(self, k: int = 0) -> None:
        box = self.page.locator("#front .nsewdrag").first.bounding_box()
        assert box is not None
        self.drag(box, (0.3 + 0.01 * k, 0.01), (0.8, 0.7))

    def brush_parameter(self, k: int) -> None:
        box = self.page.locator(".axis").nth(1).bounding_box()
        assert box is not None
        self.drag(box, (0.5, 0.2), (0.5, 0.6))

    def drag(self, box: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
        mouse.down()
        mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=4)
        mouse.up()

    def clear(self, k: int = 0) -> None:
        if self.page.is_enabled("#clear"):
            self.page.click("#clear")
        self.page.wait_for_timeout(400)

    def timed(
        self, act: Callable[[int], object], repeats: int, before: Callable[[int], object] | None = None
    ) -> dict[str, Any]:
        measured = [self.once(k, act, before) for k in range(repeats)]
        # What is drawn in the frames after the answer is left out.
        self.page.evaluate(
            """() => {
                window.kept = [drawParameters, paintParameters];
                drawParameters = paintParameters = () => {};
            }"""
        )
        answers = [self.once(k, act, before) for k in range(repeats)]
        self.page.evaluate("() => { [drawParameters, paintParameters] = kept; drawParameters(); }")
        times = [one[0] for one in measured]
        return {
            "ms": {"median": statistics.median(times), "worst": max(times)},
            "answer_cpu_ms": round(statistics.median(one[1] for one in answers)),
            "all_cpu_ms": round(statistics.median(one[1] for one in measured)),
            "browser_cpu_ms": round(statistics.median(one[2] for one in measured)),
        }

    def once(
        self, k: int, act: Callable[[int], object], before: Callable[[int], object] | None
    ) -> tuple[float, float, float]:
        """Return ms to the answer, and of processor time of the page's thread and of the browser."""
        if before is not None:
            before(k)
        self.page.wait_for_timeout(400)
        self.page.evaluate("seen.length = 0")
        cpu, everything = self.cpu(), processor_seconds(psutil.Process())
        act(k)
        self.page.wait_for_timeout(600)
        browser = processor_seconds(psutil.Process()) - everything
        cpu = self.cpu() - cpu
        return max(self.page.evaluate("seen"), default=16), 1000 * cpu, 1000 * browser

    def cpu(self) -> float:
        """Return the processor seconds of the page's thread so far."""
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor seconds of the processes below `process` that live."""
    found = 0.0
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found += times.user + times.system
    return found


# ---- beside a running study ---------------------------------------------------------------------


def beside(name: str) -> dict[str, Any]:
    """Run a study with both dashboards open; return what they took of the processors while it ran."""
    file = load_study_file(find_study_file(name))
    url = home.default_storage()
    storage = open_storage(url)
    study, there = create_or_resume(storage, file)
    if there and study.trials():
        raise SystemExit(f"study {file.study!r} is there already: set SWEEP_HOME to a folder without it")
    server = listen(url, port=0)
    threading.Thread(target=server.serve, daemon=True).start()
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        pages = [browser.new_page() for _ in range(2)]
        pages[0].goto(f"{server.url}/dashboard/studies/{study.id}")
        pages[1].goto(f"{server.url}/explorer/{file.study}")
        began, cpu = time.monotonic(), time.process_time()
        run = subprocess.Popen([sys.executable, "-m", "sweep", "run", name], stdout=subprocess.DEVNULL)
        while run.poll() is None:
            pages[0].wait_for_timeout(1000)
        server_cpu, wall = time.process_time() - cpu, time.monotonic() - began
        made = server.annotated.cpu_seconds
        browser.close()
    if run.returncode:
        raise SystemExit(f"the study ended with {run.returncode}")
    server.close()
    runs = study.core_seconds()
    return {
        "study": file.study,
        "points": len(list(study.points())),
        "wall_s": round(wall),
        "runs_core_s": round(runs, 1),
        "notes_and_figures_cpu_s": round(made, 2),
        "notes_and_figures_share": round(made / runs, 4),
        "server_and_driver_cpu_s": round(server_cpu, 1),
    }


def rows(folder: Path) -> int:
    """Return how many rows the tables of a database have."""
    with sqlite3.connect(folder / "sweep.db") as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return sum(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables)


if __name__ == "__main__":
    main()
