"""Base of every configuration model: frozen, strict about unknown keys, hashable by content."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A value object: two configurations with the same content have the same digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """Return 16 hex digits that name this content, for caches and artifacts."""
        return content_digest(self.model_dump(mode="json"))


def content_digest(content: Any) -> str:
    """Return 16 hex digits of the SHA-256 of JSON-serialisable `content`, keys sorted."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
