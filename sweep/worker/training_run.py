"""A run, trained and measured: from a drawn recipe to students on disk and what their trials record."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from optuna.trial import FrozenTrial

from objectives.costs.adder_bits import adder_bits
from objectives.costs.adder_graph import AdderGraph
from objectives.costs.compiler import Compiler, compiler
from objectives.errors import CostError, TrainingError
from objectives.measurement import Point, measure_point
from objectives.recipe import Recipe
from objectives.students.network import QuantizedNetwork
from objectives.training.checkpoint import Checkpoint
from objectives.training.student_trainer import StudentTrainer
from objectives.training.trajectory import Snapshot, Trajectory, run_trajectory, thin
from sweep import home, records
from sweep.calibration.correction import Correction, correction_for
from sweep.messages import Noticed, Tell, Working
from sweep.search.continuation import compare_start, parent_state
from sweep.search.history import History
from sweep.search.screening import compared_cost, worth_measuring
from sweep.start import START_DESIGN
from sweep.study import Study
from sweep.worker.runs import Measured, Result, Watch
from sweep.worker.training_ground import TrainingGround


@dataclass(frozen=True)
class Finished:
    """A calibrated student whose adder graph is being compiled."""

    snapshot: Snapshot
    network: QuantizedNetwork
    outputs: np.ndarray[Any, Any]
    ebops: int
    graph: Future[Any]


class TrainingRuns:
    """Trains and measures runs; compiled graphs and resident data are kept from one to the next."""

    def __init__(self, study: Study, history: History, tell: Tell, worker: str) -> None:
        self.study = study
        self.history = history
        self.tell = tell
        self.name = worker
        self.ground = TrainingGround(study.file)
        self._open = ExitStack()
        self._graphs: Compiler | None = None

    def __enter__(self) -> Self:
        self._graphs = self._open.enter_context(compiler(self.study.file.hardware))
        self._open.enter_context(closing(self.ground))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def is_compiled(self, recipe: Recipe) -> bool:
        """Tell whether a run of this recipe needs no new graph."""
        return self.ground.is_compiled(recipe)

    @property
    def is_worn_out(self) -> bool:
        """Tell whether another process should go on."""
        return self.ground.is_worn_out

    def train(self, run: FrozenTrial, watch: Watch) -> Result:
        """Train a run to its end, or from where an earlier attempt was left, and measure its students."""
        recipe = Recipe.model_validate_json(run.user_attrs["recipe"])
        if not self.ground.is_compiled(recipe):
            self.tell(Working(self.name, run.number, "compiling", 0, 1))
        trainer = self.ground.trainer(recipe)
        left = self._checkpoint(run)
        watch.earlier_seconds = left.seconds if left else 0.0
        parent = parent_state(self.study, run.user_attrs, trainer)
        if parent is not None and left is None and START_DESIGN in run.user_attrs:
            said = compare_start(self.study, trainer, parent)
            self.tell(Noticed(self.name, f"run {run.number} {said}"))
        trajectory = run_trajectory(
            trainer,
            recipe,
            run.user_attrs["seed"],
            self.ground.judge,
            compared_by=compared_cost(self.study.file),
            on_epoch=self._epoch_teller(run.number, recipe),
            parent=parent,
            resume=left,
            between_epochs=lambda epochs, checkpoint: watch.look(
                lambda: self._save(run, watch, checkpoint), trained=epochs == recipe.training.epochs
            ),
        )
        return self._harvest(run, recipe, trainer, trajectory, watch)

    # --- checkpoints -------------------------------------------------------------------------

    def _checkpoint(self, run: FrozenTrial) -> Checkpoint | None:
        """Return where an earlier attempt left the run; None to start from its beginning."""
        file = home.checkpoint_file(self.study.name, run.number)
        if not file.exists():
            return None
        try:
            return Checkpoint.load(file, _identity(run))
        except TrainingError as error:
            self.tell(Noticed(self.name, f"run {run.number} starts from its beginning: {error}"))
            return None

    def _save(self, run: FrozenTrial, watch: Watch, make: Callable[[], Checkpoint | None]) -> None:
        checkpoint = make()
        if checkpoint is None:
            return
        file = home.checkpoint_file(self.study.name, run.number)
        try:
            replace(checkpoint, seconds=watch.seconds()).save(file, _identity(run))
        except OSError as error:  # training goes on without it
            self.tell(Noticed(self.name, f"{file}: no checkpoint could be written ({error.strerror})"))

    def forget(self, run: FrozenTrial) -> None:
        """Remove what was kept of a run for the case that its worker dies."""
        home.checkpoint_file(self.study.name, run.number).unlink(missing_ok=True)

    # --- measuring ---------------------------------------------------------------------------

    def _harvest(
        self,
        trial: FrozenTrial,
        recipe: Recipe,
        trainer: StudentTrainer,
        trajectory: Trajectory,
        watch: Watch,
    ) -> Result:
        """Measure the run's students."""
        assert self._graphs is not None, "only between __enter__ and __exit__"
        graphs, problem, more = self._graphs, None, {}
        if trajectory.died_at is not None:
            more = {"died_at": trajectory.died_at}
            why = ": beta is too high for it" if trainer.anneals else ", as some first weights do"
            problem = f"the student died in epoch {trajectory.died_at} (constant score){why}"
        end: Measured | None = None
        points: list[Measured] = []
        correction = correction_for(self.study.storage.engine, self.study.file.target)
        finished = self._calibrate(trial, recipe, trainer, trajectory, graphs, watch)
        for number, student in enumerate(finished):
            watch.look()
            self.tell(Working(self.name, trial.number, "measuring", number, len(finished)))
            is_end = student.snapshot is trajectory.end
            try:
                graph = graphs.result(student.graph)
                point = self._measure(student, graph)
            except CostError as error:
                watch.look()  # a signal to the whole group may have ended the compiler, too
                if is_end:
                    problem = str(error)
                else:
                    points.append(self._failed(student.snapshot, str(error)))
                    text = f"run {trial.number}, epoch {student.snapshot.epoch}: {error}"
                    self.tell(Noticed(self.name, text))
                continue
            cost = self._corrected(correction, point)
            attributes, folder = self._save_student(trial, recipe, trainer, student, graph, point, cost)
            measured = Measured.of(self.study.file, attributes, folder)
            if is_end:
                end = measured
            else:
                points.append(measured)
        if end is None and problem is None:
            problem = "no student of this run could be measured"
        return Result(tuple(points), end, problem, more)

    def _failed(self, snapshot: Snapshot, problem: str) -> Measured:
        return Measured(snapshot.epoch, snapshot.beta, {"problem": problem}, None, {})

    def _calibrate(
        self,
        trial: FrozenTrial,
        recipe: Recipe,
        trainer: StudentTrainer,
        trajectory: Trajectory,
        graphs: Compiler,
        watch: Watch,
    ) -> list[Finished]:
        """Calibrate the students worth measuring, while those before them are compiled."""
        promising = worth_measuring(trajectory.snapshots, self.history.known(recipe, trial.number))
        chosen = thin(promising, self.study.file.harvest.points)
        if trajectory.end is not None and trajectory.end not in chosen:
            chosen = [trajectory.end, *chosen]
        finished = []
        for number, snapshot in enumerate(chosen):
            watch.look()
            self.tell(Working(self.name, trial.number, "calibrating", number, len(chosen)))
            trainer.load(snapshot.state)
            network, outputs, ebops = trainer.finish()
            finished.append(Finished(snapshot, network, outputs, ebops, graphs.submit(network)))
        return finished

    def _measure(self, student: Finished, graph: AdderGraph) -> Point:
        dataset = self.ground.dataset
        return measure_point(
            student.network,
            graph,
            student.outputs,
            student.ebops,
            dataset.validation,
            dataset.test,
            rate_khz=self.ground.file.rate_khz,
            other_rates_khz=self.ground.file.other_rates_khz,
        )

    def _corrected(self, correction: Correction, point: Point) -> dict[str, Any]:
        """Return the point's cost, corrected by what synthesis said so far."""
        cost = point.cost.as_json()
        if not self.study.file.synthesis.calibration:
            return cost
        return correction.apply(cost, self.study.file.hardware.clock_ns)

    def _save_student(
        self,
        trial: FrozenTrial,
        recipe: Recipe,
        trainer: StudentTrainer,
        student: Finished,
        graph: AdderGraph,
        point: Point,
        cost: Mapping[str, Any],
    ) -> tuple[dict[str, Any], Path]:
        """Write the student to disk; return what its trial records of it, and its folder."""
        trainer.load(student.snapshot.state)
        trainer.calibrate()
        design = student.network.digest()
        attributes = records.point_attributes(
            point,
            cost,
            epoch=student.snapshot.epoch,
            beta=student.snapshot.beta,
            loss=student.snapshot.loss,
            adder_bits=adder_bits(student.network),
            design=design,
            student=f"{trial.number}-{student.snapshot.epoch}-{design}",
        )
        if trainer.versions:
            attributes["environment"] = dict(trainer.versions)
        students = home.students_folder(self.study.name)
        folder = records.save_student(
            students, attributes["student"], trainer, student.network, graph, recipe, attributes
        )
        return attributes, folder

    def _epoch_teller(self, run: int, recipe: Recipe) -> Callable[..., None]:
        def tell(epoch: int, loss: float, scores: Mapping[str, float], ebops: int) -> None:
            objectives = ((name, scores[name]) for name in self.study.file.objectives if name in scores)
            best = " · ".join(f"{name} {value:.3f}" for name, value in objectives)
            self.tell(
                Working(
                    self.name, run, "training", epoch + 1, recipe.training.epochs, f"{best} · {ebops:,} EBOPs"
                )
            )

        return tell


def _identity(run: FrozenTrial) -> str:
    """Return what a checkpoint must be of to be this run's: recipe, seed, and the same packages."""
    about = run.user_attrs
    return f"{about['digest']} {about['seed']} {sorted(records.versions().items())}"
