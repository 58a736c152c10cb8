"""A worker: claims runs of a study, trains them, and puts their points into the study."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import psutil
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from objectives.config import content_digest
from objectives.costs.adder_graph import AdderGraph
from objectives.costs.compiler import Compiler, compiler
from objectives.errors import CostError, TrainingError
from objectives.measurement import Point, measure_point
from objectives.recipe import Recipe
from objectives.students.network import QuantizedNetwork
from objectives.training.student_trainer import StudentTrainer
from objectives.training.trajectory import Snapshot, Trajectory, run_trajectory, thin
from sweep import home, records
from sweep.calibration.correction import Correction, correction_for
from sweep.continuation import STARTS_FROM, Continuation, choose_parent, parent_state
from sweep.messages import Message, Noticed, PointFound, RunEnded, Working
from sweep.screening import Known, worth_measuring
from sweep.slots import Claim, Slots
from sweep.start import START_DESIGN, start_network
from sweep.study import Study, sampler_for, with_fixed
from sweep.study_file import direction_of
from sweep.training_ground import TrainingGround
from sweep.worker_name import worker_name

#: Draws after which a space counts as exhausted.
MAX_DRAWS = 50

Tell = Callable[[Message], None]


@dataclass(frozen=True)
class Harvest:
    """What a run gave the study: how many points, the values of its own end, and what went wrong."""

    points: int
    end: list[float] | None
    problem: str | None


@dataclass(frozen=True)
class Finished:
    """A calibrated student whose adder graph is being compiled."""

    snapshot: Snapshot
    network: QuantizedNetwork
    outputs: np.ndarray[Any, Any]
    ebops: int
    graph: Future[Any]


class Worker:
    """One process that trains; compiled graphs and resident data are kept from run to run."""

    def __init__(self, study: Study, tell: Tell) -> None:
        self.study = study
        self.tell = tell
        self.name = worker_name()
        self.space = study.file.recipe_space()
        self.slots = Slots(study.storage.engine, study.id, self.name)
        self.ground = TrainingGround(study.file)

    def work(self) -> int:
        """Take runs until the budget is spent; return how many this worker ended."""
        ended = 0
        with compiler(self.study.file.hardware) as graphs, closing(self.ground):
            while not self._hours_are_spent() and (claim := self.slots.claim(self.study.file.budget.trials)):
                with self._held(claim):
                    ended += self._run(claim, graphs)
        self._fail_orphans(None)
        return ended

    def _hours_are_spent(self) -> bool:
        return self.study.hours_are_spent()

    @contextmanager
    def _held(self, claim: Claim) -> Iterator[None]:
        try:
            with self.slots.held(claim):
                yield
        except BaseException:
            self.slots.release(claim)
            raise

    # --- one run -----------------------------------------------------------------------------

    def _run(self, claim: Claim, graphs: Compiler) -> bool:
        started = _core_seconds()
        trial = self._trial_of(claim)
        if trial is not None and self.study.is_finished(trial.number):
            return self.slots.finish(claim)  # its worker died after telling the result
        if trial is None:
            self.tell(Noticed(self.name, "every configuration of this search space has been tried"))
            return self.slots.finish(claim)
        recipe = Recipe.model_validate_json(trial.user_attrs["recipe"])
        seed = _training_seed(self.study.file.seed, claim.slot)
        try:
            if not self.ground.is_compiled(recipe):
                self.tell(Working(self.name, trial.number, "compiling", 0, 1))
            trainer = self.ground.trainer(recipe)
            trajectory = run_trajectory(
                trainer,
                recipe,
                seed,
                self.ground.judge,
                on_epoch=self._epoch_teller(trial.number, recipe),
                parent=parent_state(self.study, trial.user_attrs, trainer),
            )
            harvest = self._harvest(trial, recipe, trainer, trajectory, graphs)
        except TrainingError as error:
            harvest = Harvest(0, None, str(error))
        seconds = _core_seconds() - started
        if not self.slots.renew(claim):
            self.tell(
                Noticed(self.name, f"run {trial.number} was taken over by another worker; result dropped")
            )
            return False
        self._end(trial, harvest, seconds)
        self.tell(RunEnded(self.name, trial.number, harvest.points, seconds, harvest.problem))
        return self.slots.finish(claim)

    def _trial_of(self, claim: Claim) -> Trial | None:
        """Return the claim's trial, begun by an earlier attempt or drawn now; None if nothing new is left."""
        if claim.trial_id is not None:
            return Trial(self.study.optuna, claim.trial_id)
        self._fail_orphans(claim)
        runs = self._begun_runs()
        anew = {t.user_attrs["digest"] for t in runs if STARTS_FROM not in t.user_attrs}
        size = self.space.size()
        exhausted = size is not None and len(anew) >= size
        continuation = self._continuation(claim, exhausted)
        if continuation is None and exhausted:
            return None
        known = {t.user_attrs["digest"] for t in runs}
        fixed = self._fixed_params(claim, continuation)
        sampler = sampler_for(self.study.file, claim.slot, sum(t.state.is_finished() for t in runs))
        for draw in range(MAX_DRAWS):
            if draw == MAX_DRAWS // 2:  # a sampler may insist on what it likes best
                sampler = optuna.samplers.RandomSampler(seed=claim.slot)
            self.study.optuna.sampler = with_fixed(sampler, fixed)
            trial = self.study.optuna.ask()
            recipe = self.space.suggest(trial)
            digest = recipe.digest()
            if continuation is not None:
                recipe = continuation.continued(recipe, self.study.file.continuation.epochs)
                digest = content_digest([recipe.digest(), continuation.parent.user_attrs["design"]])
            if digest not in known and self.slots.reserve(claim, digest):
                if continuation is not None:
                    trial.set_user_attr(STARTS_FROM, continuation.parent.number)
                elif (start := start_network(self.study)) is not None:
                    trial.set_user_attr(START_DESIGN, start.digest())
                trial.set_user_attr("role", "run")
                trial.set_user_attr("digest", digest)
                trial.set_user_attr("slot", claim.slot)
                trial.set_user_attr("seed", _training_seed(self.study.file.seed, claim.slot))
                trial.set_user_attr("recipe", recipe.model_dump_json())
                self.slots.begin(claim, trial._trial_id)
                return trial
            trial.set_user_attr("problem", "drawn before; not trained again")
            self.study.optuna.tell(trial, state=TrialState.FAIL)
        return None

    def _continuation(self, claim: Claim, exhausted: bool) -> Continuation | None:
        """Decide whether this run goes on from a point of the front, and from which.

        Where every configuration has been tried, it does if any run may.
        """
        rng = np.random.default_rng([self.study.file.seed, claim.slot])
        share = self.study.file.continuation.share
        by_chance = rng.random() < share and claim.slot >= len(self.study.file.sampler.first)
        if not by_chance and not (exhausted and share > 0):
            return None
        return choose_parent(self.study, self.space, self.ground.is_compiled, rng)

    def _fixed_params(self, claim: Claim, continuation: Continuation | None) -> dict[str, Any]:
        """Return the parameters that are not for the sampler to choose."""
        if continuation is not None:
            return continuation.params
        first = self.study.file.sampler.first
        return first[claim.slot] if claim.slot < len(first) else {}

    def _begun_runs(self) -> list[FrozenTrial]:
        """Return the runs that belong to a slot; a worker died, or is about, to note any other."""
        runs = self.study.runs()
        owned = self.slots.trial_ids()  # read later than the runs, or one could be noted in between
        return [t for t in runs if t._trial_id in owned]

    def _fail_orphans(self, claim: Claim | None) -> None:
        """Close trials whose worker died between drawing them and noting them in its slot."""
        running = self.study.trials(TrialState.RUNNING)
        if self.slots.drawing(claim):
            return  # one of them may be somebody's
        owned = self.slots.trial_ids()
        for trial in running:
            if trial._trial_id not in owned:
                self.study.optuna.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _harvest(
        self, trial: Trial, recipe: Recipe, trainer: StudentTrainer, trajectory: Trajectory, graphs: Compiler
    ) -> Harvest:
        """Measure the run's students and put them into the study."""
        problem = None
        if trajectory.died_at is not None:
            trial.set_user_attr("died_at", trajectory.died_at)
            problem = (
                f"the student died in epoch {trajectory.died_at} (constant score): beta is too high for it"
            )
        end_values, count = None, 0
        correction = correction_for(self.study.storage.engine, self.study.file.target)
        finished = self._calibrate(trial, recipe, trainer, trajectory, graphs)
        for number, student in enumerate(finished):
            self.tell(Working(self.name, trial.number, "measuring", number, len(finished)))
            is_end = student.snapshot is trajectory.end
            try:
                graph = graphs.result(student.graph)
                point = self._measure(student, graph)
            except CostError as error:
                if is_end:
                    problem = str(error)
                else:
                    self._add_failed(trial, student.snapshot, str(error))
                continue
            cost = self._corrected(correction, point)
            attributes = self._save(trial, recipe, trainer, student, graph, point, cost)
            if is_end:
                end_values = self._values(attributes)
                self._record_end(trial, attributes)
            else:
                self._add_point(trial, student.snapshot, attributes)
            count += 1
        return Harvest(count, end_values, problem)

    def _calibrate(
        self, trial: Trial, recipe: Recipe, trainer: StudentTrainer, trajectory: Trajectory, graphs: Compiler
    ) -> list[Finished]:
        """Calibrate the students worth measuring, while those before them are compiled."""
        promising = worth_measuring(trajectory.snapshots, self._known_points(trial, recipe))
        chosen = thin(promising, self.study.file.harvest.points)
        if trajectory.end is not None and trajectory.end not in chosen:
            chosen = [trajectory.end, *chosen]
        finished = []
        for number, snapshot in enumerate(chosen):
            self.tell(Working(self.name, trial.number, "calibrating", number, len(chosen)))
            trainer.load(snapshot.state)
            network, outputs, ebops = trainer.finish()
            finished.append(Finished(snapshot, network, outputs, ebops, graphs.submit(network)))
        return finished

    def _known_points(self, trial: Trial, recipe: Recipe) -> list[Known]:
        """Return the points of the recipe's granularity that other runs gave the study.

        An earlier attempt's of this run would make the second one choose otherwise.
        """
        file = self.study.file
        scores = [name for name in file.objectives if direction_of(name) == "maximize"]
        # A student of fewer bits may well be the slower one.
        costs = {
            name: bound
            for name, bound in file.constraints.items()
            if bound.max is not None and name != "latency_ns"
        }
        trials = self.study.trials()
        known = []
        for point in self.study.points():
            about = point.user_attrs
            run = trials[about.get("parent", point.number)]
            if run.number == trial.number:
                continue
            if _granularity(Recipe.model_validate_json(run.user_attrs["recipe"])) != _granularity(recipe):
                continue
            kept = records.constraint_values(costs, about["validation"], about["cost"])
            known.append(
                Known(
                    tuple(records.metric(name, about["validation"], about["cost"]) for name in scores),
                    about["cost"]["ebops"],
                    any(value > 0 for value in kept.values()),
                )
            )
        return known

    def _measure(self, student: Finished, graph: AdderGraph) -> Point:
        dataset = self.ground.dataset
        return measure_point(
            student.network,
            graph,
            student.outputs,
            student.ebops,
            dataset.validation,
            dataset.test,
            rate_khz=self.ground.rate_khz,
        )

    def _corrected(self, correction: Correction, point: Point) -> dict[str, Any]:
        """Return the point's cost, corrected by what synthesis said so far."""
        cost = point.cost.as_json()
        if not self.study.file.synthesis.calibration:
            return cost
        return correction.apply(cost, self.study.file.hardware.clock_ns)

    def _values(self, attributes: Mapping[str, Any]) -> list[float]:
        validation, cost = attributes["validation"], attributes["cost"]
        return [records.metric(name, validation, cost) for name in self.study.file.objectives]

    def _constraints(self, attributes: Mapping[str, Any]) -> dict[str, float]:
        validation, cost = attributes["validation"], attributes["cost"]
        return records.constraint_values(self.study.file.constraints, validation, cost)

    def _save(
        self,
        trial: Trial,
        recipe: Recipe,
        trainer: StudentTrainer,
        student: Finished,
        graph: AdderGraph,
        point: Point,
        cost: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the student to disk and return what its trial records of it."""
        trainer.load(student.snapshot.state)
        trainer.calibrate()
        design = student.network.digest()
        attributes = records.point_attributes(
            point,
            cost,
            epoch=student.snapshot.epoch,
            beta=student.snapshot.beta,
            loss=student.snapshot.loss,
            design=design,
            student=f"{trial.number}-{student.snapshot.epoch}-{design}",
        )
        if trainer.versions:
            attributes["environment"] = dict(trainer.versions)
        folder = home.students_folder(self.study.name)
        records.save_student(
            folder, attributes["student"], trainer, student.network, graph, recipe, attributes
        )
        return attributes

    # --- the study ---------------------------------------------------------------------------

    def _record_end(self, trial: Trial, attributes: Mapping[str, Any]) -> None:
        """Let the run's own trial be the point at its end."""
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        for name, value in self._constraints(attributes).items():
            if name not in trial.constraints:  # set by an earlier attempt, to the same value
                trial.set_constraint(name, value)
        self._tell_point(trial.number, trial.number, attributes)

    def _add_point(self, trial: Trial, snapshot: Snapshot, attributes: Mapping[str, Any]) -> None:
        """Put a harvested epoch into the study as a finished trial of its own."""
        number = self._add_child(
            trial,
            snapshot,
            attributes,
            values=self._values(attributes),
            constraints=self._constraints(attributes),
        )
        self._tell_point(number, trial.number, attributes)

    def _tell_point(self, number: int, run: int, attributes: Mapping[str, Any]) -> None:
        named = zip(self.study.file.objectives, self._values(attributes), strict=True)
        shown = " · ".join(f"{name} {value:.4g}" for name, value in named)
        self.tell(PointFound(self.name, number, run, attributes["epoch"], shown))

    def _add_failed(self, trial: Trial, snapshot: Snapshot, problem: str) -> None:
        attributes = {"epoch": snapshot.epoch, "beta": snapshot.beta, "problem": problem}
        self._add_child(trial, snapshot, attributes, state=TrialState.FAIL)
        self.tell(Noticed(self.name, f"run {trial.number}, epoch {snapshot.epoch}: {problem}"))

    def _add_child(self, trial: Trial, snapshot: Snapshot, attributes: Mapping[str, Any], **more: Any) -> int:
        """Add a harvested epoch as a trial, unless an earlier attempt has; return its number."""
        known = self._child(trial.number, snapshot.epoch)
        if known is None:
            # A beta that the space cannot express belongs to no parameters that the sampler knows.
            params = self.space.params_at_beta(trial.params, snapshot.beta) or {}
            child = create_trial(
                params=params,
                distributions={name: self.space.distributions[name] for name in params},
                user_attrs={"role": "point", "parent": trial.number, **attributes},
                **more,
            )
            self.study.optuna.add_trial(child)
            known = self._child(trial.number, snapshot.epoch)
        return -1 if known is None else known.number

    def _child(self, parent: int, epoch: int) -> FrozenTrial | None:
        wanted = {"role": "point", "parent": parent, "epoch": epoch}.items()
        return next((t for t in self.study.trials() if wanted <= t.user_attrs.items()), None)

    def _end(self, trial: Trial, harvest: Harvest, seconds: float) -> None:
        trial.set_user_attr("core_seconds", seconds)
        trial.set_user_attr("versions", records.versions())
        if harvest.end is None or harvest.problem is not None:
            trial.set_user_attr("problem", harvest.problem or "no student of this run could be measured")
            self.study.optuna.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self.study.optuna.tell(trial, harvest.end, skip_if_finished=True)

    def _epoch_teller(self, run: int, recipe: Recipe) -> Callable[..., None]:
        def tell(epoch: int, loss: float, scores: Mapping[str, float], ebops: int) -> None:
            best = " · ".join(f"{name} {value:.3f}" for name, value in scores.items())
            self.tell(
                Working(
                    self.name, run, "training", epoch + 1, recipe.training.epochs, f"{best} · {ebops:,} EBOPs"
                )
            )

        return tell


def _granularity(recipe: Recipe) -> tuple[str, str]:
    return recipe.quantization.weights.granularity, recipe.quantization.data.granularity


def _core_seconds() -> float:
    """Return the processor time of this process and the compiler beside it, in seconds."""
    me = psutil.Process()
    times = [p.cpu_times() for p in (me, *me.children(recursive=True))]
    return float(sum(t.user + t.system for t in times))


def _training_seed(study_seed: int, slot: int) -> int:
    return int(np.random.SeedSequence([study_seed, slot]).generate_state(1)[0] % 2**31)
