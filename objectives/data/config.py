"""Where a dataset comes from and how it is divided."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from objectives.config import Config
from objectives.data.deposits import DEPOSITS

#: Pythia processes that a study may score, and those that may only be trained on.
PythiaSignal = Literal["tt", "vbf_htautau", "ggh_bb", "zprime_qq"]
PythiaExposure = Literal["hidden_valley"]


class PythiaSource(Config):
    """Collisions generated here: `zero_bias` pile-up events and `signal_events` of each process.

    `pool` inelastic collisions are overlaid, Poisson(mu) at a time with mu uniform in `pileup`.
    """

    kind: Literal["pythia"] = "pythia"
    seed: int = Field(42, ge=0, lt=2**31)
    zero_bias: int = Field(60_000, ge=100, le=100_000_000)
    signal_events: int = Field(4_000, ge=20, le=10_000_000)
    signals: tuple[PythiaSignal, ...] = Field(("tt", "vbf_htautau", "ggh_bb", "zprime_qq"), min_length=1)
    exposure: tuple[PythiaExposure, ...] = ("hidden_valley",)
    pool: int = Field(12_000, ge=100, le=10_000_000)
    pileup: tuple[float, float] = (20.0, 65.0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 < self.pileup[0] <= self.pileup[1] <= 300:
            raise ValueError("pileup must be [low, high] with 0 < low <= high <= 300")
        for name in ("signals", "exposure"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} lists a process twice")
        return self


class H5Source(Config):
    """The user's own region files, in either CICADA h5 layout."""

    kind: Literal["h5"] = "h5"
    zero_bias: tuple[Path, ...] = Field(min_length=1)
    signals: dict[str, tuple[Path, ...]] = Field(min_length=1)
    exposure: dict[str, tuple[Path, ...]] = Field(default_factory=dict)
    only_accepted: bool = Field(False, description="keep signal events whose AcceptanceFlag is set")


class Split(Config):
    """Shares of the four disjoint parts; scored signals have no training part.

    The trainer sees `train`, the sampler `validation`; `test` is for reports and promotion,
    `synthesis` for bit-exact checks and test vectors.
    """

    train: float = Field(0.5, gt=0, lt=1)
    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.3, gt=0, lt=1)
    synthesis: float = Field(0.05, gt=0, lt=1)
    seed: int = Field(42, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = self.train + self.validation + self.test + self.synthesis
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test + synthesis must be 1, not {total:g}")
        return self


class DatasetConfig(Config):
    """A dataset: its source, its split, and how many `deposits` are made from zero bias to train on.

    Deposits (`objectives.data.deposits`) are the exposure class of that name in the training part.
    """

    source: Annotated[PythiaSource | H5Source, Field(discriminator="kind")] = PythiaSource()
    split: Split = Split()
    deposits: int = Field(0, ge=0, le=10_000_000)

    @model_validator(mode="after")
    def _one_class_of_a_name(self) -> Self:
        for key in ("signals", "exposure"):
            if self.deposits and DEPOSITS in getattr(self.source, key):
                raise ValueError(
                    f"source.{key}.{DEPOSITS} has the name of the events that `{DEPOSITS}: {self.deposits}`"
                    " makes; give that class another name"
                )
        return self
