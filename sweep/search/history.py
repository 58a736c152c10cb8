"""A study's trials as one worker knows them: each is looked at once, however many there will be.

Of a long history the sampler sees the front and what is recent: what else there is tells it little, and
a sampler that reads ten thousand points for every draw would become the job.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from objectives.recipe import Recipe
from objectives.students.architecture import Architecture
from sweep import records
from sweep.search.screening import Known, compared_cost, compared_scores
from sweep.study import Study

#: User attribute of a run: the number of the point that it goes on from.
STARTS_FROM = "starts_from"
#: A network may be gone on from if one of its students would be on the front at so many times less cost.
NEAR = 1.5
#: Points that the sampler sees of a longer history, and how many of these may be the front's.
SEEN, SEEN_OF_FRONT = 400, 200

Granularity = tuple[str, str]
#: What a study may choose of a student besides how it is trained.
Network = tuple[Architecture, Granularity]


class History:
    """What is known of a study; `refresh` reads what is new."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.runs: dict[int, FrozenTrial] = {}
        self.finished_runs = 0
        self.core_seconds = 0.0
        #: Digests of all runs, and of those that began anew.
        self.digests: set[str] = set()
        self.digests_anew: set[str] = set()
        #: What runs that began anew have trained.
        self.networks: set[Network] = set()
        #: How often a point has been a parent, and students of a network have.
        self.children: Counter[int] = Counter()
        self.children_of_network: Counter[Network] = Counter()
        self._network_of_run: dict[int, Network] = {}
        self._trials: list[FrozenTrial] = []
        self._looked_at = 0
        self._unfinished: set[int] = set()
        self._points: list[int] = []
        self._fronts: dict[bool, list[int]] = {True: [], False: []}  # of the feasible ones, and of all
        self._fronts_of_networks: dict[Network, list[int]] = defaultdict(list)  # of the feasible ones
        self._known: dict[Network, list[tuple[int, Known]]] = defaultdict(list)
        self._signs = np.array([-1.0 if d == "maximize" else 1.0 for d in study.file.directions])
        self._reference = study.file.reference_point and self._signs * study.file.reference_point
        self._compared_cost = compared_cost(study.file)
        # A student of fewer bits may well be the slower one.
        self._limits = {
            name: bound
            for name, bound in study.file.constraints.items()
            if bound.max is not None and name != "latency_ns"
        }

    def refresh(self) -> None:
        """Look at the trials that are new, or have ended since."""
        self._trials = trials = self.study.trials()
        new = [*sorted(self._unfinished), *range(self._looked_at, len(trials))]
        self._looked_at = len(trials)
        points = []
        for trial in (trials[number] for number in new):
            self._note_run(trial)
            if not trial.state.is_finished():
                self._unfinished.add(trial.number)
                continue
            self._unfinished.discard(trial.number)
            if trial.user_attrs.get("role") == "run" and "digest" in trial.user_attrs:
                self.finished_runs += 1
            self.core_seconds += trial.user_attrs.get("core_seconds", 0.0)
            if trial.state == TrialState.COMPLETE:
                self._points.append(trial.number)
                if "cost" in trial.user_attrs:
                    points.append(trial)
        self._extend_fronts(points)
        for point in points:
            self._note_known(point)

    def _note_run(self, trial: FrozenTrial) -> None:
        about = trial.user_attrs
        if about.get("role") != "run" or "digest" not in about:
            return
        if trial.number not in self.runs:
            network = network_of(Recipe.model_validate_json(about["recipe"]))
            self._network_of_run[trial.number] = network
            self.digests.add(about["digest"])
            if STARTS_FROM in about:
                self.children[about[STARTS_FROM]] += 1
                self.children_of_network[network] += 1
            else:
                self.digests_anew.add(about["digest"])
                self.networks.add(network)
        self.runs[trial.number] = trial

    # --- the front ---------------------------------------------------------------------------

    def front(self) -> list[FrozenTrial]:
        """Return the non-dominated points, as they were told; feasible ones where there are any."""
        return self._trials_of(self._fronts[True] or self._fronts[False])

    def near_front(self) -> list[FrozenTrial]:
        """Return the points worth going on from: the front, and of each network what is not far behind it.

        A network that was trained once is compared with those that many runs have gone on from: its own
        non-dominated points are near as long as the front beats none of them at 1/`NEAR` of the cost.
        Where the study says from where its front counts (`reference_point`), what lies below does not, as
        long as there is something above.
        """
        front = self._above_reference(self._fronts[True]) or self._fronts[True]
        if not front:
            return self.front()
        candidates = {n for own in self._fronts_of_networks.values() for n in own} - {*self._fronts[True]}
        others = self._above_reference(sorted(candidates))
        if not others:
            return self._trials_of(front)
        best, losses = self.losses(self._trials_of(front)), self.losses(self._trials_of(others))
        losses[:, self._signs > 0] -= np.log(NEAR)
        beaten = (best[None] <= losses[:, None]).all(axis=-1).any(axis=-1)
        return self._trials_of(sorted([*front, *(others[i] for i in np.flatnonzero(~beaten))]))

    def _above_reference(self, numbers: list[int]) -> list[int]:
        if self._reference is None or not numbers:
            return numbers
        return [numbers[i] for i in np.flatnonzero((self._losses(numbers) < self._reference).all(axis=1))]

    def losses(self, points: Sequence[FrozenTrial]) -> NDArray[np.float64]:
        """Return the objectives of points (n, objectives), the lower the better, costs as logarithms."""
        losses = self._losses([point.number for point in points])
        costs = self._signs > 0
        losses[:, costs] = np.log1p(losses[:, costs])
        return losses

    def network(self, point: FrozenTrial) -> Network | None:
        """Return the network of a point; None where its run is not of this program."""
        return self._network_of_run.get(point.user_attrs.get("parent", point.number))

    def _trials_of(self, numbers: Iterable[int]) -> list[FrozenTrial]:
        return [self._trials[number] for number in numbers]

    def _extend_fronts(self, points: list[FrozenTrial]) -> None:
        feasible = [point for point in points if self._is_feasible(point)]
        for only, new in ((True, feasible), (False, points)):
            if new:
                # What was dominated once stays so.
                candidates = sorted([*self._fronts[only], *(point.number for point in new)])
                best = np.flatnonzero(moocore.is_nondominated(self._losses(candidates)))
                self._fronts[only] = [candidates[i] for i in best]
        by_network = defaultdict(list)
        for point in feasible:
            if (network := self.network(point)) is not None:
                by_network[network].append(point.number)
        for network, numbers in by_network.items():
            candidates = sorted([*self._fronts_of_networks[network], *numbers])
            best = np.flatnonzero(moocore.is_nondominated(self._losses(candidates)))
            self._fronts_of_networks[network] = [candidates[i] for i in best]

    def _is_feasible(self, point: FrozenTrial) -> bool:
        about = point.user_attrs
        kept = records.constraint_values(self.study.file.constraints, about["validation"], about["cost"])
        return all(value <= 0 for value in kept.values())

    def _is_too_slow(self, point: FrozenTrial) -> bool:
        limits = {n: bound for n, bound in self.study.file.constraints.items() if n == "latency_ns"}
        return any(x > 0 for x in records.constraint_values(limits, {}, point.user_attrs["cost"]).values())

    def _losses(self, numbers: list[int]) -> NDArray[np.float64]:
        values = np.array([self._trials[number].values for number in numbers])
        return np.asarray(values * self._signs, np.float64)

    def freshness(self) -> float:
        """Return how little runs have gone on from the front and near it: the mean of 1 / (1 + children)."""
        points = self.near_front()
        return float(np.mean([1 / (1 + self.children[point.number]) for point in points])) if points else 1.0

    # --- what screening compares with --------------------------------------------------------

    def known(self, recipe: Recipe, run: int) -> list[Known]:
        """Return the points that other runs than `run` gave, as they compare with the students of a recipe.

        An earlier attempt's of this run would make the second one choose otherwise.
        """
        mine = network_of(recipe)
        counts = self._reference is not None and self._above_reference(self._fronts[True])
        least = [Known.of_reference(self.study.file)] if counts else []
        return least + [
            known if network == mine else known.of_another_network(self._compared_cost)
            for network, points in self._known.items()
            for parent, known in points
            if parent != run
        ]

    def _note_known(self, point: FrozenTrial) -> None:
        about = point.user_attrs
        parent = self._trials[about.get("parent", point.number)]
        if "recipe" not in parent.user_attrs:
            return
        cost = about["cost"]["ebops"] if self._compared_cost == "ebops" else about.get("adder_bits")
        if cost is None:
            return  # versions before 0.6 did not record it
        kept = records.constraint_values(self._limits, about["validation"], about["cost"])
        known = Known(
            tuple(compared_scores(self.study.file, about["validation"]).values()),
            cost,
            any(value > 0 for value in kept.values()),
        )
        if self._is_too_slow(point) and not known.too_expensive:
            return  # it keeps no faster one from the front
        network = network_of(Recipe.model_validate_json(parent.user_attrs["recipe"]))
        self._known[network].append((parent.number, known))

    # --- what the sampler sees ---------------------------------------------------------------

    def seen_by_sampler(self, *, all_of_it: bool = False) -> list[FrozenTrial]:
        """Return finished and running trials for a sampler, by number; not all of a long history."""
        chosen = self._points
        if len(chosen) > SEEN and not all_of_it:
            front = self._fronts[True] or self._fronts[False]
            spread = np.unique(np.linspace(0, len(front) - 1, min(len(front), SEEN_OF_FRONT)).astype(int))
            best = {front[i] for i in spread} if front else set()
            recent: list[int] = []
            for number in reversed(chosen):
                if len(recent) + len(best) >= SEEN:
                    break
                if number not in best:
                    recent.append(number)
            chosen = sorted([*best, *recent])
        running = [n for n in self._unfinished if self._trials[n].state == TrialState.RUNNING]
        return [self._trials[number] for number in sorted([*chosen, *running])]

    def trial(self, number: int) -> FrozenTrial:
        """Return a trial, as it was when it was last looked at."""
        return self._trials[number]


def network_of(recipe: Recipe) -> Network:
    """Return a recipe's architecture and granularities."""
    return recipe.student, (recipe.quantization.weights.granularity, recipe.quantization.data.granularity)
