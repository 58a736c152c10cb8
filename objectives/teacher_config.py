"""Which teacher scores the events that students learn from."""

from pathlib import Path

from pydantic import Field

from objectives.config import Config


class TeacherConfig(Config):
    """CICADA's autoencoder trained here on zero bias, or a user's own `.keras` teacher named by `file`.

    With `file`, nothing is trained and the other values are not used.
    """

    epochs: int = Field(default=8, ge=1, le=100_000)
    batch: int = Field(default=512, ge=1, le=65_536)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    file: Path | None = None
