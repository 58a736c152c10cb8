"""What a run trains: parameters drawn by the study's sampler, or inherited from a point of the front.

A draw happens in memory. The database learns of it with the slot that it belongs to, in one transaction:
no trial is ever without its slot, and nothing is noted of a draw that had been made before.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.config import content_digest
from objectives.recipe import Recipe
from sweep.search.continuation import Continuation, chance, choose_parent
from sweep.search.history import STARTS_FROM, History, network_of
from sweep.search.neighbour import neighbour
from sweep.search.space import SearchSpace
from sweep.start import START_DESIGN, start_network
from sweep.study import Study, sampler_for, with_fixed
from sweep.worker.runs import Runs

#: Draws in each way of drawing; after all of them a space counts as exhausted. The first ways are to find a
#: network that no run has begun with: what it is good for shows in one run; how to train it better, its
#: continuations find out.
DRAWS = 10


@dataclass(frozen=True)
class Drawn:
    """A run that could begin: its trial as it would be, and the digest of its configuration."""

    trial: FrozenTrial
    digest: str


@dataclass(frozen=True)
class _Attempt:
    """A way to draw: by a sampler that leaves `fixed` alone; `untried` if the network must be."""

    sampler: optuna.samplers.BaseSampler
    fixed: Mapping[str, Any]
    untried: bool = False


class Drawing:
    """Draws runs of one study."""

    def __init__(self, study: Study, space: SearchSpace, history: History, runs: Runs) -> None:
        self.study = study
        self.space = space
        self.history = history
        self.runs = runs

    def draw(self, slot: int, taken: Container[str] = ()) -> Drawn | None:
        """Return what the run of `slot` trains; None where all has been tried.

        `taken` are digests that other workers have begun with since the history was read.
        """
        history = self.history
        size = self.space.size()
        exhausted = size is not None and len(history.digests_anew) >= size
        continuation = self._continuation(slot, exhausted)
        if continuation is None and exhausted:
            return None
        learns_from_runs = self.study.file.sampler.name in ("nsga2", "nsga3")
        study = _study_in_memory(self.study, history.seen_by_sampler(all_of_it=learns_from_runs))
        for attempt in self._attempts(slot, continuation):
            study.sampler = with_fixed(attempt.sampler, attempt.fixed)
            trial = study.ask()
            recipe = self.space.suggest(trial)
            digest = recipe.digest()
            if continuation is not None:
                recipe = continuation.continued(recipe, self.study.file.continuation.epochs)
                digest = content_digest([recipe.digest(), continuation.parent.user_attrs["design"]])
            known = digest in history.digests or digest in taken
            if attempt.untried:
                known = known or network_of(recipe) in history.networks
            if not known:
                drawn = study._storage.get_trial(trial._trial_id)
                return Drawn(self._trial(slot, drawn, recipe, digest, continuation), digest)
            study.tell(trial, state=TrialState.FAIL)
        return None

    def _attempts(self, slot: int, continuation: Continuation | None) -> Iterator[_Attempt]:
        """Yield ways to draw the run of `slot`, until one gives what is not known yet."""
        by_sampler = sampler_for(self.study.file, slot, self.history.finished_runs)
        by_chance = optuna.samplers.RandomSampler(seed=slot)  # a sampler may insist on what it likes best
        fixed = self._fixed_params(slot, continuation)
        ramp = self._ramp(continuation)
        untried = continuation is None and slot >= len(self.study.file.sampler.first) and self._has_untried()
        rng = np.random.default_rng([self.study.file.seed, slot, *b"neighbour"])
        if untried:
            settings = self.study.file.sampler
            if settings.name != "random" and rng.random() < settings.neighbours:
                for _ in range(DRAWS):
                    near = neighbour(self.history, self.space, rng)
                    if near is not None:
                        yield _Attempt(by_chance, near | ramp, untried=True)
            for _ in range(DRAWS):
                yield _Attempt(by_sampler, ramp | fixed, untried=True)
            for _ in range(DRAWS):
                yield _Attempt(by_chance, ramp | fixed, untried=True)
        for _ in range(2 * DRAWS):
            yield _Attempt(by_chance if untried else by_sampler, ramp | fixed)
        for _ in range(2 * DRAWS):
            yield _Attempt(by_chance, fixed)

    def _has_untried(self) -> bool:
        """Tell whether there are networks that no run has begun with."""
        choices = self.space.networks()
        return choices is None or len(self.history.networks) < choices

    def _trial(
        self, slot: int, drawn: FrozenTrial, recipe: Recipe, digest: str, continuation: Continuation | None
    ) -> FrozenTrial:
        about: dict[str, Any] = {}
        if continuation is not None:
            about[STARTS_FROM] = continuation.parent.number
        elif (start := start_network(self.study)) is not None:
            about[START_DESIGN] = start.digest()
        about |= {
            "role": "run",
            "digest": digest,
            "slot": slot,
            "seed": training_seed(self.study.file.seed, slot),
            "recipe": recipe.model_dump_json(),
        }
        return create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs=about,
            system_attrs=drawn.system_attrs,
        )

    def _continuation(self, slot: int, exhausted: bool) -> Continuation | None:
        """Decide whether this run goes on from a point of the front, and from which.

        Where every configuration has been tried, it does if any run may.
        """
        rng = np.random.default_rng([self.study.file.seed, slot])
        share = self.study.file.continuation.share
        probable = chance(share, self.history.freshness())
        by_chance = rng.random() < probable and slot >= len(self.study.file.sampler.first)
        if not by_chance and not (exhausted and share > 0):
            return None
        return choose_parent(self.history, self.space, self.runs.is_compiled, rng)

    def _ramp(self, continuation: Continuation | None) -> dict[str, Any]:
        whole = continuation is None and self.study.file.harvest.whole_ramps
        return self.space.whole_ramp() if whole else {}

    def _fixed_params(self, slot: int, continuation: Continuation | None) -> dict[str, Any]:
        """Return the parameters that are not for the sampler to choose."""
        if continuation is not None:
            return continuation.params
        first = self.study.file.sampler.first
        return first[slot] if slot < len(first) else {}


class _History(InMemoryStorage):
    """Optuna's storage in memory, in front of trials that are there and are not copied."""

    def __init__(self, history: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._history = list(history)
        # Samplers tell trials apart by number or id: those drawn here come after all others.
        self._first = 1 + max((trial.number for trial in history), default=-1)
        self._max_trial_id = max((trial._trial_id for trial in history), default=-1)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self.get_trial(trial_id).number += self._first
        return trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        drawn = super().get_all_trials(study_id, deepcopy, states)
        return [trial for trial in self._history if states is None or trial.state in states] + drawn


def _study_in_memory(study: Study, history: Sequence[FrozenTrial]) -> optuna.Study:
    storage = _History(history)
    storage.create_new_study(study.optuna.directions, study.name)
    return optuna.load_study(
        study_name=study.name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0)
    )


def training_seed(study_seed: int, slot: int) -> int:
    """Return the seed from which the run of `slot` is trained."""
    return int(np.random.SeedSequence([study_seed, slot]).generate_state(1)[0] % 2**31)
