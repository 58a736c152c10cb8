"""certificate.json: on which events each form was compared, how many differ, and what ran it."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.costs.score_port import SCORE_FRACTION, SCORE_WIDTH
from sweep import records
from sweep.errors import ExportError
from sweep.export.form import Answer
from sweep.export.vectors import Vectors, digest

CERTIFICATE = "certificate.json"
EVENTS_FILE = "events.npz"
FORMAT = 1


@dataclass(frozen=True)
class Comparison:
    """A form held against the adder graph on all events; `missing` says why it could not be."""

    events: int = 0
    mismatches: int | None = None
    scores_sha256: str | None = None
    tools: Mapping[str, str] | None = None
    missing: str | None = None

    @property
    def verified(self) -> bool:
        return self.mismatches == 0

    def as_json(self) -> dict[str, Any]:
        """Return what the certificate says of the form."""
        if self.missing is not None:
            return {"verified": False, "not_verified_because": self.missing}
        return {
            "verified": self.verified,
            "events": self.events,
            "mismatches": self.mismatches,
            "scores_sha256": self.scores_sha256,
            "tools": dict(self.tools or {}),
        }


def compare(name: str, answer: Answer, expected: NDArray[np.uint16], vectors: Vectors) -> Comparison:
    """Return the comparison of a form; raises ExportError when a single bit differs."""
    if answer.scores.shape != expected.shape:
        raise ExportError(f"{name}: {len(answer.scores)} scores came out for {len(expected)} events")
    wrong = np.flatnonzero(answer.scores != expected)
    if len(wrong):
        event = int(wrong[0])
        found, wanted = (float(raw[event]) / 2**SCORE_FRACTION for raw in (answer.scores, expected))
        raise ExportError(
            f"{name}: differs from the adder graph on {len(wrong):,} of {len(expected):,} events; the first"
            f" is event {event} ({vectors.kind_of(event)}): expected {wanted}, found {found}"
        )
    return Comparison(len(expected), 0, digest(answer.scores), dict(answer.tools))


def certificate(
    about: Mapping[str, Any],
    vectors: Vectors,
    scores: NDArray[np.uint16],
    comparisons: Mapping[str, Comparison],
) -> dict[str, Any]:
    """Return what is written of an export, but for its files."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "verified": all(each.verified for each in comparisons.values()),
        "student": dict(about),
        "events": {
            "file": EVENTS_FILE,
            "count": len(vectors),
            "kinds": dict(vectors.kinds),
            "sha256": digest(vectors.regions),
        },
        "scores": {
            "sha256": digest(scores),
            "smallest": float(scores.min()) / 2**SCORE_FRACTION,
            "largest": float(scores.max()) / 2**SCORE_FRACTION,
            "different": len(np.unique(scores)),
            "saturated": int((scores == 2**SCORE_WIDTH - 1).sum()),
        },
        "compared": {name: each.as_json() for name, each in comparisons.items()},
        "tools": {
            "python": platform.python_version(),
            **records.versions(),
            **{name: version(name) for name in ("hls4ml", "numpy")},
        },
    }


def save_certificates(folder: Path, content: Mapping[str, Any], forms: Sequence[str]) -> None:
    """Write the certificate of an export, and into each form's folder one that is of that form only."""
    for form in forms:
        compared = content["compared"].items()
        own = {name: said for name, said in compared if name in ("keras", "adder_graph", form)}
        verified = all(said["verified"] for said in own.values())
        part = {**content, "verified": verified, "compared": own, "files": file_digests(folder / form)}
        (folder / form / CERTIFICATE).write_text(json.dumps(part, indent=1) + "\n")
    whole = {**content, "files": file_digests(folder)}
    (folder / CERTIFICATE).write_text(json.dumps(whole, indent=1) + "\n")


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder but for certificates, whose dates differ."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CERTIFICATE)
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def load_certificate(folder: Path) -> dict[str, Any]:
    """Return an export's certificate; raises ExportError for a folder that is no export."""
    file = folder / CERTIFICATE
    try:
        content = json.loads(file.read_bytes())
        known = content["format"] == FORMAT and isinstance(content["student"]["scheme"], str)
        known = known and isinstance(content["files"], dict) and isinstance(content["compared"], dict)
        hashes = [content["events"]["sha256"], content["scores"]["sha256"]]
        known = known and all(isinstance(text, str) for text in hashes)
    except OSError as error:
        raise ExportError(f"{file}: {error.strerror}; give the folder that `sweep export` made") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ExportError(f"{file}: is no certificate of `sweep export`") from error
    if not known:
        raise ExportError(f"{file}: is a certificate of another version of sweep; use that one")
    return dict(content)


def changed_files(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Return the files of an export that are missing or are no longer what was exported."""
    changed = []
    for name, known in content["files"].items():
        path = folder / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not inside or not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != known:
            changed.append(name)
    return changed
