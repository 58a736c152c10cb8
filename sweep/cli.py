"""The command line: thin, and the roof over everything else."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from objectives.errors import CicadaError
from objectives.progress import Progress
from sweep import home

app = typer.Typer(
    name="sweep",
    help="Search quantized CICADA students: anomaly AUC against FPGA cost.\n\n"
    "Begin with `sweep run quickstart`: it generates collisions, trains a teacher, searches students"
    " and shows the front.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at and make region data in CICADA's h5 layouts.", no_args_is_help=True)
app.add_typer(data_app, name="data")
qkeras_app = typer.Typer(help="The environment that QKeras students are trained in.", no_args_is_help=True)
app.add_typer(qkeras_app, name="qkeras")


class Form(StrEnum):
    """What a student can be exported as."""

    keras = "keras"
    rtl = "rtl"
    hls = "hls"
    cmssw = "cmssw"
    all = "all"


storage_app = typer.Typer(help="The database of studies.", no_args_is_help=True)
app.add_typer(storage_app, name="storage")

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study file, or the name of one that comes with sweep.")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The name of a study, or its file.")]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage", metavar="URL", help="Database of studies.  [env: SWEEP_STORAGE; default: in SWEEP_HOME]"
    ),
]
ReferenceOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]PATH",
        help="A released CICADA to show beside the front: its folder, or an .npz of its weights;"
        " may be given again.",
    ),
]


class FigureFormat(StrEnum):
    """Kinds of files for figures."""

    pdf = "pdf"
    png = "png"
    svg = "svg"
    html = "html"


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def run(
    study: StudyArgument,
    storage: StorageOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes.  [default: one for each core]")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Training runs in all, instead of the file's budget.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the front as JSON at the end.")] = False,
) -> None:
    """Create or resume a study and work on it here until its budget is spent.

    Safe to stop at any time: the same command goes on where it was. A file of several studies is run
    one study after the other.
    """
    from sweep.study_file import find_study_file
    from sweep.tables import print_front
    from sweep.variants import load_studies

    console = Console(stderr=as_json)
    variants = load_studies(find_study_file(study))
    fronts = []
    for variant in variants:
        file = variant.file
        if trials is not None:
            file = file.model_copy(update={"budget": file.budget.model_copy(update={"trials": trials})})
        front = _run(file, study, storage or home.default_storage(), workers, console)
        fronts.append(front.as_json())
        if not as_json:
            print_front(console, front)
    if as_json:
        _print_json(fronts[0] if len(variants) == 1 else fronts)


def _run(file: Any, study: str, url: str, workers: int | None, console: Console) -> Any:
    """Work on the study of a file here until its budget is spent, and return its front."""
    from sweep.display import Display
    from sweep.front import front_of
    from sweep.local import run_here
    from sweep.storage.database import masked, open_storage
    from sweep.storage.slots import Slots
    from sweep.study import create_or_resume
    from sweep.worker.name import worker_name

    database = open_storage(url)
    made, resumed = create_or_resume(database, file)
    slots = Slots(database.engine, made.id, worker_name())
    done, budget = slots.done(), file.budget.trials
    if done >= budget:
        console.print(
            f"Study {made.name} is done: {done} of {budget} runs. `--trials N` adds more.", highlight=False
        )
    elif made.hours_are_spent():
        console.print(
            f"Study {made.name} is done: {done} runs took {made.core_seconds() / 3600:.3g} core-hours,"
            f" the budget is {file.budget.core_hours:g}.",
            highlight=False,
        )
    else:
        state = f"goes on after {done} of" if resumed else "begins:"
        console.print(
            f"Study {made.name} {state} {budget} runs, in {masked(url)}", highlight=False, soft_wrap=True
        )
        with Display(console, budget, done) as display:
            try:
                run_here(made, url, workers or os.cpu_count() or 1, display)
            except KeyboardInterrupt:
                console.print(f"Stopped. `sweep run {study}` goes on where this was.", highlight=False)
                raise typer.Exit(130) from None
    return front_of(made)


@app.command()
def worker(
    study: StudyName,
    storage: StorageOption = None,
    max_trials: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N runs.  [default: no limit]")
    ] = None,
    idle_exit: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="End after so long without work.  [default: when all runs are done]",
        ),
    ] = None,
    run_seconds: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Fail a run that trains longer.")
    ] = None,
    memory_gib: Annotated[
        float | None, typer.Option(min=0, metavar="GIB", help="Fail a run that takes more memory.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads to train with.")] = 1,
    launch: Annotated[int | None, typer.Option(hidden=True)] = None,
    succeeds: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Work on a study that is there, until its budget is spent: one of any number of equal workers.

    On SIGTERM it ends its epoch, keeps what it has, hands its run back, and exits with 0. Killed, it
    loses a minute of training: whoever is alive goes on with its run.
    """
    from sweep.display import Display
    from sweep.worker.here import go_on_anew, without, work_here
    from sweep.worker.runs import Limits
    from sweep.worker.worker import Options

    options = Options(max_trials, idle_exit, Limits(run_seconds, memory_gib), launch, succeeds)
    url = storage or home.default_storage()
    with Display(Console(), 0, 0) as display:
        opened, ended, worn_out = work_here(url, _name_of(study), options, threads, display)
    print(f"{ended} runs of {opened.name} ended here")
    if worn_out:
        go_on_anew(url, opened.name, without(options, ended), threads)


@app.command()
def launch(
    study: StudyArgument,
    storage: StorageOption = None,
    engine: Annotated[str, typer.Option(help="local, slurm or htcondor.")] = "local",
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="How many workers.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be started or submitted, no more.")
    ] = False,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of a worker.")] = 1,
    memory_gib: Annotated[float, typer.Option(min=0.1, help="Memory of a worker.")] = 3.0,
    minutes: Annotated[int, typer.Option(min=1, help="Time limit of a job; it is requeued then.")] = 1440,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a worker.")] = 0,
    partition: Annotated[str | None, typer.Option(help="Slurm's partition.")] = None,
    account: Annotated[str | None, typer.Option(help="Slurm's account or HTCondor's group.")] = None,
    idle_exit: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="As of `sweep worker`.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(min=1, metavar="N", help="As of `sweep worker`.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start workers of a study that go on by themselves: on this machine, on Slurm or on HTCondor.

    Creates or resumes the study and prepares its data first. `sweep status` shows how it goes, `sweep
    stop` ends it.
    """
    from sweep.display import Display
    from sweep.launch.launch import describe, launcher_for, order_of, refuse_sqlite, start
    from sweep.launch.launcher import Resources
    from sweep.local import prepare_here
    from sweep.storage.database import masked, open_storage
    from sweep.study import create_or_resume
    from sweep.study_file import find_study_file, load_study_file

    file = load_study_file(find_study_file(study))
    url = storage or home.default_storage()
    launcher = launcher_for(engine)
    resources = Resources(cpus, memory_gib, minutes, gpus, partition, account)
    chosen = {"--idle-exit": idle_exit, "--max-trials": max_trials}
    options = [word for name, value in chosen.items() if value is not None for word in (name, str(value))]
    if dry_run:
        print(describe(launcher, order_of(file.study, url, workers, resources, *options)), end="")
        return
    refuse_sqlite(launcher, url)
    console = Console(stderr=as_json)
    made, _ = create_or_resume(open_storage(url), file)
    if file.simulation is None:
        with Display(console, 0, 0) as display:
            prepare_here(made, os.cpu_count() or 1, display)
    number, jobs = start(made, launcher, url, workers, resources, *options)
    if as_json:
        _print_json({"study": file.study, "launch": number, "engine": engine, "jobs": jobs})
        return
    console.print(
        f"Launch {number} of {file.study}: {len(jobs)} workers by {engine}, in {masked(url)}."
        f" `sweep status {file.study}` shows how it goes, `sweep stop {file.study}` ends it.",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def stop(study: StudyName, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Let every worker of a study end its epoch and hand back its run; what waits in a queue is taken out."""
    from sweep.launch.launch import stop as stop_all

    stopped = stop_all(_open_study(study, storage))
    if as_json:
        _print_json(stopped)
    else:
        print(f"{stopped['workers_asked']} workers asked to stop, {stopped['jobs_stopped']} jobs ended")


@app.command()
def status(study: StudyName, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Show how far a study is: runs, points, front, and what went wrong."""
    from sweep.status import status_of
    from sweep.tables import print_status

    result = status_of(_open_study(study, storage))
    if as_json:
        _print_json(result)
    else:
        print_status(Console(), result)


@app.command()
def front(
    study: StudyName,
    storage: StorageOption = None,
    as_json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the front as a figure: .html, .svg, .png or .pdf."),
    ] = None,
    reference: ReferenceOption = None,
) -> None:
    """Show a study's Pareto front: its feasible points that no other beats in every objective."""
    from sweep.front import front_of
    from sweep.tables import print_front, write_csv

    opened = _open_study(study, storage)
    result = front_of(opened)
    references = _measure_references(opened, reference)
    if plot is not None:
        from dashboards.figure_file import write_figure
        from dashboards.front_figure import front_figure

        write_figure(front_figure(result, references), plot)
    if as_json:
        _print_json(result.as_json(references))
    elif csv:
        write_csv(sys.stdout, result, references)
    else:
        print_front(Console(), result, references)


@app.command()
def compare(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="STUDY…", help="Names of studies, or their files.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=STUDY,STUDY…",
            help="Studies that repeat one, as from other seeds: their median and range; may be given again.",
        ),
    ] = None,
    reference: ReferenceOption = None,
    storage: StorageOption = None,
    score: Annotated[
        str | None,
        typer.Option(help="A score that all optimized.  [default: the first objective of its kind]"),
    ] = None,
    cost: Annotated[
        str | None, typer.Option(help="A cost that all optimized.  [default: as for --score]")
    ] = None,
    at_score: Annotated[
        list[float] | None,
        typer.Option(metavar="LEVEL", help="Compare costs at this score; may be given again."),
    ] = None,
    at_cost: Annotated[
        list[float] | None,
        typer.Option(metavar="LEVEL", help="Compare scores at this cost; may be given again."),
    ] = None,
    resamplings: Annotated[int, typer.Option(min=50, help="Resamplings of the test events.")] = 200,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it instead of tables.")
    ] = None,
    as_markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the fronts as a figure: .html, .svg, .png or .pdf."),
    ] = None,
) -> None:
    """Compare studies of the same events: resources at equal performance, performance at equal resources."""
    from rich.markdown import Markdown

    from sweep.comparison.comparing import compare_studies, parse_groups
    from sweep.comparison.markdown import markdown
    from sweep.display import Display
    from sweep.messages import Working
    from sweep.references import parse_references
    from sweep.text_file import write_text

    groups = {
        name: [_open_study(study, storage) for study in members]
        for name, members in parse_groups(studies or [], group or []).items()
    }
    references = parse_references(reference or [])
    with Display(Console(stderr=True), 0, 0) as display:
        comparison = compare_studies(
            groups,
            references,
            score=score,
            cost=cost,
            resamplings=resamplings,
            progress=lambda what, done, total: display.show(Working("preparation", None, what, done, total)),
        )
    report = comparison.as_json(at_score or (), at_cost or ())
    if plot is not None:
        from dashboards.comparison_figure import comparison_figure
        from dashboards.figure_file import write_figure

        write_figure(comparison_figure(report), plot)
    text = markdown(report)
    if as_markdown is not None:
        write_text(as_markdown, text)
    if as_json is not None and str(as_json) != "-":
        write_text(as_json, json.dumps(report, indent=2, allow_nan=False) + "\n")
    if str(as_json) == "-":
        _print_json(report)
    else:
        Console().print(Markdown(text))


@app.command()
def promote(
    study: StudyName,
    storage: StorageOption = None,
    top: Annotated[int | None, typer.Option(min=1, help="How many points.  [default: the file's]")] = None,
    policy: Annotated[
        str | None, typer.Option(help="hypervolume, knee, budget or named.  [default: the file's]")
    ] = None,
    under: Annotated[
        list[float] | None,
        typer.Option(metavar="COST", help="The best point under this cost; may be given again."),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(help="What --under limits, as lut or dsp.  [default: the objective]"),
    ] = None,
    trial: Annotated[
        list[int] | None, typer.Option(metavar="NUMBER", help="This trial; may be given again.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=0, help="Train each candidate again from this many seeds.")
    ] = None,
    tool: Annotated[str | None, typer.Option(help="yosys, vivado or vitis.  [default: the file's]")] = None,
    stage: Annotated[str | None, typer.Option(help="synthesized or routed.  [default: the file's]")] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Queue again what ended badly, unless the design was at fault.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the choice and why, no more.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Choose points of a study's front for synthesis, measure them again, and queue them."""
    from sweep.display import Display
    from sweep.front import front_of
    from sweep.messages import Working
    from sweep.promotion.choice import choose
    from sweep.promotion.options import with_options
    from sweep.promotion.promote import promote as queue
    from sweep.promotion.promote import try_again
    from sweep.synthesis.tables import print_chosen, print_promoted

    opened = with_options(
        _open_study(study, storage, with_file=True, write=not dry_run),
        promotion={
            "policy": policy,
            "size": top,
            "limits": under,
            "cost": cost,
            "trials": trial,
            "seeds": seeds,
        },
        synthesis={"tool": tool, "stage": stage},
    )
    known = front_of(opened)
    chosen = choose(known, opened.file.promotion)
    if dry_run:
        rows = [{"trial": c.trial.number, "reason": c.reason} for c in chosen]
        _print_json(rows) if as_json else print_chosen(Console(), known, chosen)
        return
    with Display(Console(stderr=True), 0, 0) as display:
        promoted = queue(
            opened,
            chosen,
            lambda what, done, total: display.show(Working("preparation", None, what, done, total)),
        )
    if retry:
        promoted = try_again(opened, promoted)
    if as_json:
        _print_json([p.as_json() for p in promoted])
    else:
        print_promoted(Console(), opened, promoted)


@app.command()
def synthesize(
    study: StudyName,
    storage: StorageOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Jobs at a time.  [default: one for each core]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Work off a study's queue of syntheses, here, until every job is done.

    Any number of these may run, on any machine that reaches the database and the students. Safe to
    stop at any time. The exit code is 1 if a job of the study ended otherwise than ok.
    """
    from sweep.display import Display
    from sweep.synthesis.local import synthesize_here
    from sweep.synthesis.tables import print_jobs

    opened = _open_study(study, storage, with_file=True)
    console = Console(stderr=as_json)
    with Display(console, 0, 0, unit="syntheses") as display:
        try:
            jobs = synthesize_here(opened, workers or os.cpu_count() or 1, display)
        except KeyboardInterrupt:
            console.print(f"Stopped. `sweep synthesize {study}` goes on where this was.", highlight=False)
            raise typer.Exit(130) from None
    if as_json:
        _print_json([job.as_json() for job in jobs])
    else:
        print_jobs(console, opened, jobs)
    raise typer.Exit(0 if all(job.outcome == "ok" for job in jobs) else 1)


@app.command()
def calibration(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Only what corrects the costs of this study.")
    ] = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the errors as a figure: .html, .svg, .png or .pdf."),
    ] = None,
) -> None:
    """Show estimates beside what synthesis said, how well one predicts the other, and what is corrected."""
    from sweep.calibration.report import report
    from sweep.calibration.tables import print_calibration
    from sweep.storage.database import open_storage

    if study is None:
        engine, target = open_storage(storage or home.default_storage(), create=False).engine, None
    else:
        opened = _open_study(study, storage)
        engine, target = opened.storage.engine, opened.file.target
    result = report(engine, target)
    if plot is not None:
        from dashboards.calibration_figure import calibration_figure
        from dashboards.figure_file import write_figure

        write_figure(calibration_figure(result), plot)
    if as_json:
        _print_json(result)
    else:
        print_calibration(Console(), result)


@app.command()
def export(
    study: StudyName,
    trial: Annotated[
        str,
        typer.Argument(metavar="TRIAL", help="A trial's number, knee, best-auc, or a limit as 'lut<=2000'."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write; not there yet.")
    ],
    forms: Annotated[
        list[Form], typer.Option("--as", help="The form; may be given again.", case_sensitive=False)
    ] = ["all"],  # type: ignore[list-item]  # noqa: B006
    emulator_version: Annotated[
        str | None,
        typer.Option(metavar="X.Y.Z", help="Version of the emulator package.  [default: 0.0.TRIAL]"),
    ] = None,
    events: Annotated[int, typer.Option(min=1000, help="Events to compare on.")] = 100_000,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a student for firmware and CMSSW, and prove that every form of it is the same, bit for bit."""
    from sweep.errors import StorageError
    from sweep.export.certificate import load_certificate
    from sweep.export.choice import choose_trial
    from sweep.export.exporter import Order, export_trial
    from sweep.export.remembered import remember
    from sweep.export.tables import print_verified
    from sweep.front import front_of

    known = front_of(_open_study(study, storage))
    chosen = choose_trial(known, trial)
    wanted = [form for form in Form if form is not Form.all] if Form.all in forms else forms
    names = tuple(dict.fromkeys(form.value for form in wanted))
    order = Order(names, output, force, emulator_version, events)
    with _preparation() as (progress, console):
        try:
            found = export_trial(known, chosen, order, progress)
        except KeyboardInterrupt:
            console.print("Stopped. Nothing was written.", highlight=False)
            raise typer.Exit(130) from None
        try:
            remember(known.study, chosen.number, output, load_certificate(output))
        except StorageError as error:
            console.print(f"Note: {error}", style="yellow", highlight=False)
    if as_json:
        _print_json({"study": known.study.name, "trial": chosen.number, **found.as_json()})
    else:
        print_verified(Console(), found, f"Trial {chosen.number} of {known.study.name} in {output}")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `sweep export` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Compare all forms of an export again, from the folder alone. It builds and runs what is in there.

    The exit code is 2 if a bit differs or a file was changed, 1 if something could not be verified here.
    """
    from sweep.export.tables import print_verified
    from sweep.export.verification import verify_folder

    with _preparation() as (progress, _):
        found = verify_folder(folder, progress)
    if as_json:
        _print_json(found.as_json())
    else:
        print_verified(Console(), found, str(folder))
    raise typer.Exit(0 if found.complete else 1)


@app.command()
def dashboard(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="The study to open; all are there.")
    ] = None,
    storage: StorageOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than this machine's own needs --public.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any that is free.")
    ] = 8080,
    public: Annotated[
        bool, typer.Option("--public", help="Allow a --host that other machines reach. There is no login.")
    ] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every change.")] = False,
    reference: ReferenceOption = None,
) -> None:
    """Open the Optuna dashboard and the explorer of the front in one server, until Ctrl-C.

    Notes and artifacts can be added there, nothing else of a study can be changed.
    """
    from dashboards.server import listen, pages
    from sweep.errors import StudyError

    if reference and study is None:
        raise StudyError("--reference is measured on the events of a study; name the STUDY")
    opened = None if study is None else _open_study(study, storage)
    chosen = opened.name if opened else None
    references = {chosen: _measure_references(opened, reference)} if chosen else {}
    url = storage or home.default_storage()
    server = listen(url, host, port, references=references, public=public, read_only=read_only)
    console = Console(stderr=True)
    try:
        for name, address in pages(server, chosen).items():
            console.print(f"{name:17} {address}", highlight=False, soft_wrap=True)
        if public:
            console.print(
                "There is no login: whoever reaches this address sees every study"
                + ("." if read_only else ", and can write notes and artifacts."),
                style="yellow",
                highlight=False,
            )
        console.print("Ctrl-C ends it.", highlight=False)
        server.serve(chosen)
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


@app.command()
def annotate(study: StudyName, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Write notes and figures of a study into its database, for an Optuna dashboard that is not `sweep`'s.

    Workers do so now and then. What somebody wrote or edited in a dashboard stays as it is.
    """
    from dataclasses import asdict

    from dashboards.optuna_view.stored import store

    opened = _open_study(study, storage)
    found = store(opened)
    if as_json:
        _print_json({"study": opened.name, **asdict(found)})
    else:
        print(
            f"{opened.name}: {found.notes} notes and {found.figures} figures, {found.bytes:,} bytes;"
            f" {found.written} rows written, {found.removed} removed"
        )


@app.command()
def report(
    study: StudyName,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .html file to write.")],
    storage: StorageOption = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the study's figures there, too, a file each.")
    ] = None,
    figure_format: Annotated[
        FigureFormat,
        typer.Option("--format", help="Of --figures; all but html need kaleido and Chrome."),
    ] = FigureFormat.pdf,
    reference: ReferenceOption = None,
) -> None:
    """Write a study as one HTML file that can be mailed: question, data, method, front, synthesis, choice."""
    from dashboards.report.report import write_figures, write_report
    from sweep.display import Display
    from sweep.front import front_of
    from sweep.messages import Working

    opened = _open_study(study, storage)
    known, references = front_of(opened), _measure_references(opened, reference)
    with Display(Console(stderr=True), 0, 0) as display:
        write_report(
            known,
            output,
            references,
            progress=lambda what, done, total: display.show(Working("preparation", None, what, done, total)),
        )
    print(output)
    if figures is not None:
        for path in write_figures(known, figures, figure_format.value, references):
            print(path)


@data_app.command("inspect")
def data_inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CICADA h5 files.")],
    as_json: JsonOption = False,
) -> None:
    """Show what region files hold: events, zeros, energies, flags."""
    from objectives.data.inspect import summarize
    from sweep.tables import print_files

    summaries = [summarize(file) for file in files]
    if as_json:
        _print_json([s.as_json() for s in summaries])
    else:
        print_files(Console(), summaries)


@data_app.command("validate")
def data_validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CICADA h5 files.")],
    as_json: JsonOption = False,
) -> None:
    """Check every event of region files; the exit code is 1 if one is bad."""
    from objectives.data.inspect import validate

    problems = validate(files)
    if as_json:
        _print_json([{"path": str(p.path), "problem": p.message} for p in problems])
    else:
        for problem in problems:
            print(problem.message)
        print(f"{len(files) - len({p.path for p in problems})} of {len(files)} files are good")
    raise typer.Exit(1 if problems else 0)


@data_app.command("generate")
def data_generate(
    study: StudyArgument,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes.  [default: one for each core]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Generate the collisions of a study's dataset with Pythia, and say where they are."""
    from objectives.data.config import PythiaSource
    from objectives.data.dataset import pythia_folder
    from objectives.data.pythia import generate
    from sweep.display import Display
    from sweep.errors import StudyError
    from sweep.messages import Working
    from sweep.study_file import find_study_file
    from sweep.variants import load_studies

    source = load_studies(find_study_file(study))[0].file.dataset.source  # the same for all of a file
    if not isinstance(source, PythiaSource):
        raise StudyError(f"{study}: its dataset comes from files; only `kind: pythia` is generated")
    with Display(Console(stderr=True), 0, 0) as display:
        files = generate(
            source,
            pythia_folder(source, home.data_cache()),
            processes=processes or os.cpu_count() or 1,
            progress=lambda what, done, total: display.show(Working("preparation", None, what, done, total)),
        )
    if as_json:
        _print_json({name: str(path) for name, path in files.items()})
    else:
        for name, path in files.items():
            print(f"{name:14} {path}")


@qkeras_app.command("install")
def qkeras_install(
    force: Annotated[bool, typer.Option("--force", help="Make it anew if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the environment of QKeras students, if it is not there; `sweep run` does so when it is needed."""
    from sweep import qkeras_environment

    with Console(stderr=True).status("installing QKeras, once"):
        python = qkeras_environment.install(force=force)
    if as_json:
        _print_json({"python": str(python), "packages": qkeras_environment.PACKAGES})
    else:
        print(python)


@storage_app.command("init")
def storage_init(storage: StorageOption = None) -> None:
    """Make the tables of a new database; one that has them stays as it is."""
    from sweep.storage.database import masked, open_storage

    url = storage or home.default_storage()
    open_storage(url).engine.dispose()
    print(f"{masked(url)}: ready")


@storage_app.command("upgrade")
def storage_upgrade(storage: StorageOption = None) -> None:
    """Bring the tables of an older version up to date, with all that is in them."""
    from sweep.storage.check import check
    from sweep.storage.database import masked, open_storage

    url = storage or home.default_storage()
    before = check(url)
    open_storage(url, create=False).engine.dispose()
    print(f"{masked(url)}: {before.state}, version {before.version or 'none'}; now {check(url).version}")


@storage_app.command("check")
def storage_check(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Look at a database and change nothing; the exit code is 1 unless its tables are current."""
    from sweep.storage.check import check

    found = check(storage or home.default_storage())
    if as_json:
        _print_json(found.as_json())
    else:
        print(f"{found.url}: {found.server}, tables {found.state}. {found.advice}".strip())
        print(f"{found.studies} studies, {found.trials} trials, {found.stuck} stuck")
        print(f"{found.round_trip_ms:g} ms a round trip; this clock is {found.clock_offset_s:+g} s off")
    raise typer.Exit(0 if found.state == "current" else 1)


@storage_app.command("serve")
def storage_serve(
    folder: Annotated[
        Path | None, typer.Option(help="Where the data are kept.  [default: in SWEEP_HOME]")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on: this machine's, for workers of others.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5433,
) -> None:
    """Run a PostgreSQL from PyPI until Ctrl-C, and say how workers reach it."""
    from sweep.storage.embedded_postgresql import serve

    with serve(folder or home.server_folder(), host, port) as served:
        print(f"export PGPASSFILE={served.passfile}\nexport SWEEP_STORAGE={served.url}", flush=True)
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        stopped.wait()


@app.command()
def doctor(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Tell what is installed and reachable here, and what to do about what is not."""
    from sweep.doctor import examine
    from sweep.tables import print_findings

    findings = examine(storage or home.default_storage())
    if as_json:
        _print_json([f.as_json() for f in findings])
    else:
        print_findings(Console(), findings)
    raise typer.Exit(1 if any(f.status == "broken" for f in findings) else 0)


def _open_study(name: str, storage: str | None, *, with_file: bool = False, write: bool = True) -> Any:
    """Return the study called `name`, or that of a study file; `with_file` takes over what the file says.

    Without `write`, the database keeps the file that it has.
    """
    from sweep.storage.database import open_storage
    from sweep.study import load, resume
    from sweep.study_file import load_study_file

    file = load_study_file(Path(name)) if _is_file(name) else None
    database = open_storage(storage or home.default_storage(), create=False)
    study = load(database, file.study if file else name)
    return resume(study, file, write=write) if file and with_file else study


def _measure_references(study: Any, texts: list[str] | None) -> list[Any]:
    """Return the references given, measured on a study's events."""
    if not texts:
        return []
    from sweep.display import Display
    from sweep.messages import Working
    from sweep.references import measure_references, parse_references

    paths = parse_references(texts)
    with Display(Console(stderr=True), 0, 0) as display:
        return measure_references(
            study,
            paths,
            lambda what, done, total: display.show(Working("preparation", None, what, done, total)),
        )


@contextmanager
def _preparation() -> Iterator[tuple[Progress, Console]]:
    """Show what goes on, on standard error."""
    from sweep.display import Display
    from sweep.messages import Working

    console = Console(stderr=True)
    with Display(console, 0, 0) as display:

        def progress(what: str, done: int, total: int) -> None:
            display.show(Working("preparation", None, what, done, total))

        yield progress, console


def _is_file(study: str) -> bool:
    return study.endswith((".yaml", ".yml"))


def _name_of(study: str) -> str:
    """Return the name of a study, or of that of a study file."""
    from sweep.study_file import load_study_file

    return load_study_file(Path(study)).study if _is_file(study) else study


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, allow_nan=False))


def main() -> None:
    """Entry point of `sweep`: an error is one line on standard error, with a non-zero exit code."""
    try:
        app(prog_name="sweep")  # also where it was started as `python -m sweep`
    except CicadaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
