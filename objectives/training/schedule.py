"""Learning rate and beta at each epoch."""

import math

from objectives.training.config import BetaSchedule, Training

#: How strongly an ebops-ramp answers EBOPs that are off their line, and by what factor an epoch at most.
#: Bits follow beta late: one that answers in full overshoots, and the student dies.
ANSWER, LARGEST_ANSWER = 0.5, 1.5
#: A cosine cycle ends at this share of its first learning rate.
FLOOR = 0.01


def learning_rate(training: Training, epoch: int) -> float:
    """Return the learning rate of `epoch` (from 0): held, or in cosine cycles of equal length."""
    if training.restarts == 0:
        return training.learning_rate
    # In whole numbers: a cycle of 5/3 epochs, say, would have its remainders rounded to a wrong end.
    done = epoch * training.restarts % training.epochs / training.epochs
    return training.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def beta(schedule: BetaSchedule, epoch: int, epochs: int, before: tuple[float, int] | None = None) -> float:
    """Return HGQ's beta of `epoch` (from 0); the last epoch of a log-ramp has `final`.

    `before` are beta and EBOPs of the epoch before, None for the first. An ebops-ramp multiplies beta by
    (EBOPs / where they should be now) ** `ANSWER`, within `LARGEST_ANSWER`.
    """
    if schedule.schedule == "constant":
        return schedule.final
    last = epochs - 1
    start = schedule.warm_up * last
    done = 1.0 if epoch >= last else max((epoch - start) / (last - start), 0.0)
    if schedule.schedule == "log-ramp":
        return float(schedule.initial * (schedule.final / schedule.initial) ** done)
    if before is None or done == 0.0:
        return schedule.initial
    beta, ebops = before
    wanted = schedule.first_ebops * (schedule.last_ebops / schedule.first_ebops) ** done
    answer = (max(ebops, 1) / wanted) ** ANSWER
    beta *= min(max(answer, 1 / LARGEST_ANSWER), LARGEST_ANSWER)
    return float(min(max(beta, schedule.initial), schedule.final))
