"""How a student is trained: epochs, batch, learning rate and HGQ's beta over the epochs."""

from typing import Literal, Self

from pydantic import Field, model_validator

from objectives.config import Config


class BetaSchedule(Config):
    """HGQ's bit-cost regularizer over the epochs.

    `constant` holds `final` throughout. `log-ramp` holds `initial` for `warm_up` of the epochs,
    then goes to `final` along a straight line in log(beta). `ebops-ramp` holds `initial` for as long,
    then sets beta, between `initial` and `final`, so that the student's EBOPs go from `first_ebops` to
    `last_ebops` along a straight line in log(EBOPs) (`schedule.beta`).
    """

    schedule: Literal["constant", "log-ramp", "ebops-ramp"] = "log-ramp"
    initial: float = Field(1e-7, gt=0, le=1)
    final: float = Field(1e-3, gt=0, le=1)
    warm_up: float = Field(0.1, ge=0, lt=1)
    first_ebops: float = Field(20_000.0, gt=0, le=1e9)
    last_ebops: float = Field(100.0, gt=0, le=1e9)

    @model_validator(mode="after")
    def _ramp_goes_up(self) -> Self:
        if self.schedule != "constant" and self.final < self.initial:
            raise ValueError("a ramp needs final >= initial")
        if self.schedule == "ebops-ramp" and self.last_ebops > self.first_ebops:
            raise ValueError("an ebops-ramp needs first_ebops >= last_ebops")
        return self


class Training(Config):
    """One training run of a student.

    `learning_rate` is held, for a rate that decays while beta ramps up leaves the bits where they
    are; or `restarts` cosine cycles share the epochs, each from it to a hundredth of it.
    `exposure_fraction` is the share of exposure (outlier) events in the training sample.
    """

    epochs: int = Field(80, ge=1, le=100_000)
    batch: int = Field(512, ge=1, le=65_536)
    learning_rate: float = Field(3e-3, gt=0, le=1)
    restarts: int = Field(0, ge=0, le=1000)
    loss: Literal["mae", "mse"] = "mae"
    exposure_fraction: float = Field(0.2, ge=0, lt=1)
    beta: BetaSchedule = BetaSchedule()
