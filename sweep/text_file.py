"""Writing text: whole or not at all."""

import contextlib
import os
from pathlib import Path

from sweep.errors import StudyError


def write_text(path: Path, text: str) -> None:
    """Write `text` into a file; raises StudyError if it cannot be written, and leaves what was there."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be written ({error.strerror}); give a path in a folder of yours"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
