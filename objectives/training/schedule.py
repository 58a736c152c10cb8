"""Learning rate and beta at each epoch."""

import math

from objectives.training.config import BetaSchedule, Training

#: A cosine cycle ends at this share of its first learning rate.
FLOOR = 0.01


def learning_rate(training: Training, epoch: int) -> float:
    """Return the learning rate of `epoch` (from 0): held, or in cosine cycles of equal length."""
    if training.restarts == 0:
        return training.learning_rate
    # In whole numbers: a cycle of 5/3 epochs, say, would have its remainders rounded to a wrong end.
    done = epoch * training.restarts % training.epochs / training.epochs
    return training.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def beta(schedule: BetaSchedule, epoch: int, epochs: int) -> float:
    """Return HGQ's beta of `epoch` (from 0); the last epoch has `final`."""
    if schedule.schedule == "constant":
        return schedule.final
    last = epochs - 1
    start = schedule.warm_up * last
    done = 1.0 if epoch >= last else max((epoch - start) / (last - start), 0.0)
    return float(schedule.initial * (schedule.final / schedule.initial) ** done)
