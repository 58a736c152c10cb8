"""Learning rate and beta at each epoch."""

import math
from dataclasses import dataclass, replace
from typing import Self

from objectives.training.config import BetaSchedule, Training

#: How strongly an ebops-ramp answers EBOPs that are off their line, and by what factor an epoch at most.
#: Bits follow beta late: one that answers in full overshoots, and the student dies.
ANSWER, LARGEST_ANSWER = 0.5, 1.5
#: What a death leaves of beta and of the learning rate, and by what factor an epoch beta may rise again.
BETA_AFTER_DEATH, RATE_AFTER_DEATH, RECOVERY = 0.1, 0.7, 1.15
#: A cosine cycle ends at this share of its first learning rate.
FLOOR = 0.01


@dataclass(frozen=True)
class Course:
    """What an ebops-ramp goes by: beta and EBOPs of the last epoch that the student survived.

    Beta stays below `limit`, and the learning rate is `slowdown` of the recipe's, for its `deaths` so far.
    """

    beta: float = 0.0
    ebops: int | None = None
    limit: float = math.inf
    slowdown: float = 1.0
    deaths: int = 0

    def survived(self, beta: float, ebops: int) -> Self:
        """Return the course after an epoch with this beta that left these EBOPs."""
        return replace(self, beta=beta, ebops=ebops, limit=self.limit * RECOVERY)

    def died(self, beta: float) -> Self:
        """Return the course of the student of the epoch before, after an epoch that killed it."""
        beta *= BETA_AFTER_DEATH
        slowdown = self.slowdown * RATE_AFTER_DEATH
        return replace(self, beta=beta, limit=beta, slowdown=slowdown, deaths=self.deaths + 1)


def learning_rate(training: Training, epoch: int) -> float:
    """Return the learning rate of `epoch` (from 0): held, or in cosine cycles of equal length."""
    if training.restarts == 0:
        return training.learning_rate
    # In whole numbers: a cycle of 5/3 epochs, say, would have its remainders rounded to a wrong end.
    done = epoch * training.restarts % training.epochs / training.epochs
    return training.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def beta(schedule: BetaSchedule, epoch: int, epochs: int, course: Course = Course()) -> float:
    """Return HGQ's beta of `epoch` (from 0); the last epoch of a log-ramp has `final`.

    An ebops-ramp multiplies beta of the epoch before by (EBOPs / where they should be now) ** `ANSWER`,
    within `LARGEST_ANSWER`; `course` is what it knows of the epochs before.
    """
    if schedule.schedule == "constant":
        return schedule.final
    last = epochs - 1
    start = schedule.warm_up * last
    done = 1.0 if epoch >= last else max((epoch - start) / (last - start), 0.0)
    if schedule.schedule == "log-ramp":
        return float(schedule.initial * (schedule.final / schedule.initial) ** done)
    if course.ebops is None or done == 0.0:
        return schedule.initial
    wanted = schedule.first_ebops * (schedule.last_ebops / schedule.first_ebops) ** done
    answer = (max(course.ebops, 1) / wanted) ** ANSWER
    beta = course.beta * min(max(answer, 1 / LARGEST_ANSWER), LARGEST_ANSWER)
    return float(max(min(beta, course.limit, schedule.final), schedule.initial))
