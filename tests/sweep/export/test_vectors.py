"""The events that exports are compared on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.errors import ExportError
from sweep.export.vectors import Vectors, digest, load_vectors, make_vectors, save_vectors


def test_every_kind_is_there(collisions: Any) -> None:
    vectors = make_vectors(collisions, 10_000)
    kinds = dict(vectors.kinds)
    assert (len(vectors), sum(kinds.values())) == (10_000, 10_000)
    assert (kinds["zero_bias"], kinds["tt"], kinds["all_zero"], kinds["all_1023"]) == (300, 200, 1, 1)
    assert vectors.regions.shape[1:] == (252,)
    assert vectors.regions.max() == 1023
    by_kind: dict[str, list[int]] = {name: [] for name in kinds}
    for event in range(0, len(vectors), 7):
        by_kind[vectors.kind_of(event)].append(event)
    assert all(by_kind[name] for name in ("zero_bias", "tt", "hot_region", "random_shuffled"))
    assert (vectors.regions[500] == 0).all()
    assert (vectors.regions[501] == 1023).all()
    assert vectors.kind_of(499) == "tt"
    assert vectors.kind_of(500) == "all_zero"


def test_each_place_is_hot_alone_with_each_bit(collisions: Any) -> None:
    hot = Vectors(collisions, 8).regions[502 : 502 + 252 * 11].astype(int)
    assert ((hot > 0).sum(axis=1) == 1).all()
    found = {(int(np.argmax(event)), int(event.max())) for event in hot}
    assert found == {
        (place, energy) for place in range(252) for energy in (1023, *(1 << b for b in range(10)))
    }


def test_made_events_never_change() -> None:
    """A certificate of today is verified in years, with another NumPy."""
    event = np.arange(252, dtype=np.uint16)[None]
    assert digest(Vectors({"zero_bias": event}, 100).regions) == KNOWN


KNOWN = "7143754c2e5257a765decd04cd7c718e040931de16a14cbc014beea988c6f16d"


def test_files(collisions: Any, tmp_path: Path) -> None:
    vectors = Vectors({**collisions, "random soft=3": collisions["tt"]}, 100)
    scores = np.arange(len(vectors), dtype=np.uint16)
    file = tmp_path / "events.npz"
    save_vectors(file, vectors, scores)
    again, same = load_vectors(file)
    assert digest(again.regions) == digest(vectors.regions)
    assert (again.kinds, same.tolist()) == (vectors.kinds, scores.tolist())
    first = file.read_bytes()
    save_vectors(file, vectors, scores)
    assert file.read_bytes() == first


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "no scores", "missing"])
def test_damaged_files(collisions: Any, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "events.npz"
    save_vectors(file, Vectors(collisions, 100), np.zeros(3, np.uint16))
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-200])
        case "empty":
            file.write_bytes(b"")
        case "other":
            np.savez(file, low=np.zeros(3))
        case "missing":
            file.unlink()
    with pytest.raises(ExportError, match=r"events\.npz: holds no events of an export .*; export the trial"):
        load_vectors(file)
