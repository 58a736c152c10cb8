"""The loop of a worker: claim a run, draw it, have it trained, and store what it gave.

Workers are equal and expendable. Any of them may be killed at any instruction; whoever is alive takes
over what it held. What a run gave is stored in one transaction, which only the holder of its slot can
commit: a worker that comes too late changes nothing.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.errors import CicadaError, TrainingError
from sweep import records
from sweep.annotating import Annotating
from sweep.artifacts.attributes import attributes
from sweep.artifacts.stores import check_place
from sweep.errors import ArtifactError, StudyError
from sweep.messages import Noticed, PointFound, RunEnded, Tell
from sweep.search.history import History
from sweep.storage import trial_rows
from sweep.storage.patience import waited_out
from sweep.storage.register import Register
from sweep.storage.slots import FAILED, HANDED_BACK, Claim, ClaimLost, Slots
from sweep.study import Study
from sweep.worker.drawing import Drawing
from sweep.worker.keeping import NOTHING, Kept, RunLog, keep
from sweep.worker.name import is_dead, worker_name
from sweep.worker.runs import NO_LIMITS, HandBack, Limits, Measured, Result, Runs, Watch

#: Seconds between two looks for runs that others may leave behind.
POLL = 2.0


@dataclass(frozen=True)
class Options:
    """How long a worker works: for so many runs, and for so many idle seconds while others finish theirs.

    `launch` is the number of the launch that started it, `succeeds` the worker whose place it takes.
    """

    max_trials: int | None = None
    idle_exit: float | None = None
    limits: Limits = NO_LIMITS
    launch: int | None = None
    succeeds: str | None = None


class Worker:
    """One process that works on a study until its budget is spent or it is told to stop."""

    def __init__(
        self,
        study: Study,
        tell: Tell,
        *,
        options: Options = Options(),
        stop: threading.Event | None = None,
        runs: Runs | None = None,
        annotating: Annotating | None = None,
    ) -> None:
        self.study = study
        self.log = RunLog(tell)
        self.tell: Tell = self.log
        self.options = options or Options()
        self.stop = stop or threading.Event()
        self.annotating = annotating
        self.name = worker_name()
        self.space = study.file.recipe_space()
        self.slots = Slots(study.storage.engine, study.id, self.name)
        self.register = Register(study.storage.engine, study.id, self.name)
        self.history = History(study)
        self.runs = runs or _runs_of(study, self.history, self.tell, self.name)
        self.drawing = Drawing(study, self.space, self.history, self.runs)
        self._exhausted = False
        #: After `work`: whether there is more to do, but another process is to do it.
        self.worn_out = False

    def work(self) -> int:
        """Take runs until the budget is spent, or as long as `options` say; return how many ended here.

        It ends early, and `worn_out`, when the process holds too much that it cannot give back.
        """
        ended = 0
        if (place := self.study.artifacts) is not None:
            check_place(place)  # rather than after hours of training
        with ExitStack() as stack:
            stack.enter_context(self.register.entered(self.options.launch, self.options.succeeds))
            stack.enter_context(self.runs)
            self._fail_orphans()
            idle_since = None
            while self._why_stop() is None and not self._spent(ended):
                self.history.refresh()
                claim = self.slots.claim(self._budget())
                if claim is not None:
                    idle_since = None
                    ended += self._hold(claim)
                    self.register.runs = ended
                    self._annotate()
                    if self.runs.is_worn_out and self._why_stop() is None and not self._spent(ended):
                        self.worn_out = self.register.has_successor = True
                        break
                    continue
                if not self._wait(idle_since):
                    self._annotate(over=not self.slots.open())
                    break
                idle_since = idle_since or time.monotonic()
        return ended

    # --- whether to go on --------------------------------------------------------------------

    def _why_stop(self) -> str | None:
        if self.stop.is_set():
            return "the worker was told to stop"
        return "`sweep stop` was asked for" if self.register.stop else None

    def _spent(self, ended: int) -> bool:
        return self.options.max_trials is not None and ended >= self.options.max_trials

    def _budget(self) -> int:
        """Return the slots there may be; none are opened once the hours are spent."""
        hours = self.study.file.budget.core_hours
        spent = hours is not None and self.history.core_seconds >= hours * 3600
        return 0 if spent else self.study.file.budget.trials

    def _wait(self, idle_since: float | None) -> bool:
        """Wait for what others hold: it may be left behind. False when there is nothing to wait for."""
        for worker in {*self.slots.open().values()}:
            if is_dead(worker):
                self.slots.release_of(worker)
        if not self.slots.open():
            return False
        idle, allowed = idle_since or time.monotonic(), self.options.idle_exit
        if allowed is not None and time.monotonic() - idle >= allowed:
            return False
        self.register.doing = "waiting for runs that others may leave behind"
        self.stop.wait(POLL)
        return True

    def _annotate(self, *, over: bool = False) -> None:
        if self.annotating is not None:
            self.annotating.after_run(self.history.core_seconds, over=over)

    # --- one run -----------------------------------------------------------------------------

    def _hold(self, claim: Claim) -> bool:
        """Run a claim to its end, or hand it back; tell whether it ended here."""
        try:
            with self.slots.held(claim) as lost:
                return self._run(claim, lost)
        except ClaimLost:
            self.tell(
                Noticed(self.name, f"slot {claim.slot} was taken over by another worker; result dropped")
            )
        except HandBack as reason:
            self.slots.release(claim, HANDED_BACK, str(reason))
            self.tell(Noticed(self.name, f"slot {claim.slot} is handed back: {reason}"))
        except ArtifactError as error:  # not the run's fault
            self.slots.release(claim, HANDED_BACK, str(error))
            raise
        except CicadaError as error:
            self.slots.release(claim, FAILED, str(error))
            raise
        except OSError as error:  # a full disk, say: not the run's fault
            self.slots.release(claim, HANDED_BACK, str(error))
            where = f"{error.filename}: " if error.filename else ""
            raise StudyError(
                f"{where}cannot be written ({error.strerror or error}); make room, nothing stored is lost"
            ) from error
        except BaseException:
            self.slots.release(claim, HANDED_BACK, "the worker was interrupted")
            raise
        return False

    def _run(self, claim: Claim, lost: threading.Event) -> bool:
        run = self._trial_of(claim)
        if run is None:
            if not self._exhausted:  # once, not for each run that the budget still has
                self.tell(Noticed(self.name, "every configuration of this search space has been tried"))
            self._exhausted = True
            self.slots.finish(claim, lambda _: None)
            return True
        if run.state.is_finished():  # by a version before 0.3 that was killed in between
            self.slots.finish(claim, lambda _: None)
            return True

        def why_stop() -> str | None:
            if lost.is_set():
                raise ClaimLost
            return self._why_stop()

        self.register.doing = f"run {run.number}"
        self.log.begin(f"run {run.number}, attempt {claim.attempt}, worker {self.name}")
        watch = Watch(why_stop, self.options.limits)
        try:
            result = self.runs.train(run, watch)
        except TrainingError as error:
            result = Result((), None, str(error))
        seconds = watch.seconds()
        earlier = self._earlier_points(run, claim)
        kept = keep(self.study, result, self.log)
        numbers = self.slots.finish(
            claim, lambda connection: self._store(connection, run, result, seconds, earlier, kept)
        )
        self.runs.forget(run)
        if numbers is not None:
            self._tell(run, result, numbers, seconds)
        return True

    def _trial_of(self, claim: Claim) -> FrozenTrial | None:
        """Return the claim's trial, begun by an earlier attempt or drawn now; None if nothing new is left."""
        if claim.trial_id is not None:
            return self.study.storage.get_trial(claim.trial_id)
        taken: set[str] = set()
        while (drawn := self.drawing.draw(claim.slot, taken)) is not None:
            trial = drawn.trial

            def insert(connection: sa.Connection, trial: FrozenTrial = trial) -> int:
                ((trial._trial_id, trial.number),) = trial_rows.insert(connection, self.study.id, [trial])
                return trial._trial_id

            trial_id = self.slots.begin(claim, drawn.digest, insert)
            if trial_id is not None:
                return trial
            taken.add(drawn.digest)  # another worker has begun with it in this moment
        return None

    # --- what it gave ------------------------------------------------------------------------

    def _earlier_points(self, run: FrozenTrial, claim: Claim) -> frozenset[int]:
        """Return the epochs of the run that are in the study already.

        Versions before 0.3 stored points one by one, and may have been killed in between.
        """
        if claim.attempt == 1:
            return frozenset()
        mine = {"role": "point", "parent": run.number}.items()
        return frozenset(t.user_attrs["epoch"] for t in self.study.trials() if mine <= t.user_attrs.items())

    def _store(
        self,
        connection: sa.Connection,
        run: FrozenTrial,
        result: Result,
        seconds: float,
        earlier: frozenset[int],
        kept: Kept = NOTHING,
    ) -> list[int]:
        """Write all that a run gave; return the numbers of its points' trials, -1 for those there were."""
        new = [point for point in result.points if point.epoch not in earlier]
        added = trial_rows.insert(connection, self.study.id, [self._child(run, point, kept) for point in new])
        about = {"core_seconds": seconds, "versions": records.versions(), **result.attributes}
        end = result.end if result.problem is None else None
        if end is None:
            about["problem"] = result.problem
            trial_rows.complete(connection, run._trial_id, None, about, attributes(kept.run))
        else:
            constraints = create_trial(values=list(end.values or ()), constraints=dict(end.constraints))
            system = {**constraints.system_attrs, **attributes(kept.run)}
            trial_rows.complete(connection, run._trial_id, end.values, {**end.attributes, **about}, system)
        numbers = {point.epoch: number for point, (_, number) in zip(new, added, strict=True)}
        return [numbers.get(point.epoch, -1) for point in result.points]

    def _child(self, run: FrozenTrial, point: Measured, kept: Kept) -> FrozenTrial:
        """Return a harvested epoch as a finished trial of its own."""
        # A beta that the space cannot express belongs to no parameters that the sampler knows.
        params = self.space.params_at_beta(run.params, point.beta) or {}
        about = {"role": "point", "parent": run.number, "epoch": point.epoch, "beta": point.beta}
        return create_trial(
            state=TrialState.FAIL if point.values is None else TrialState.COMPLETE,
            values=None if point.values is None else list(point.values),
            params=params,
            distributions={name: self.space.distributions[name] for name in params},
            user_attrs={**about, **point.attributes},
            constraints=dict(point.constraints),
            system_attrs=attributes(kept.points.get(point.epoch, {})),
        )

    def _tell(self, run: FrozenTrial, result: Result, numbers: Sequence[int], seconds: float) -> None:
        points = [(number, p) for number, p in zip(numbers, result.points, strict=True) if p.values]
        if result.end is not None and result.problem is None:
            points.insert(0, (run.number, result.end))
        for number, point in points:
            named = zip(self.study.file.objectives, point.values or (), strict=True)
            shown = " · ".join(f"{name} {value:.4g}" for name, value in named)
            self.tell(PointFound(self.name, number, run.number, point.epoch, shown))
        self.tell(RunEnded(self.name, run.number, len(points), seconds, result.problem))

    @waited_out
    def _fail_orphans(self) -> None:
        """Close running trials without a slot: versions before 0.3 could be killed in between."""
        running = self.study.trials(TrialState.RUNNING)
        owned = self.slots.trial_ids()  # read later than the trials, or one could be noted in between
        orphans = [trial._trial_id for trial in running if trial._trial_id not in owned]
        with self.study.storage.engine.begin() as connection:
            for trial_id in orphans:
                problem = {"problem": "its worker died before it began"}
                trial_rows.complete(connection, trial_id, None, problem, {})


def _runs_of(study: Study, history: History, tell: Tell, name: str) -> Runs:
    if study.file.simulation is not None:
        from sweep.testing import SimulatedRuns

        return SimulatedRuns(study)
    from sweep.worker.training_run import TrainingRuns  # brings TensorFlow, which takes seconds

    return TrainingRuns(study, history, tell, name)
