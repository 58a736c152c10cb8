"""What a region file holds, and what is wrong with it: for `data inspect` and `data validate`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.data.h5 import MAX_COUNT, REGIONS, Layout, RegionFile, path_text, repeats
from objectives.errors import DataError
from objectives.progress import Progress, silent

#: Per cent of the events at or below each quantile of a summary.
QUANTILES = (50, 95, 99)


@dataclass(frozen=True)
class FileSummary:
    """What one region file holds; energies in counts of 0.5 GeV.

    `total_et` and `max_region_et` are the quantiles named in `QUANTILES` of the sum and of the
    largest of an event's regions: the smallest value that so many per cent of the events do not
    exceed. `zero_fraction` and `saturated_fraction` are shares of all regions at 0 and at 1023.
    `flags` names the optional fields and datasets, `accepted` counts the events whose
    AcceptanceFlag is set, or is None where there is none.
    """

    path: Path
    layout: Layout
    events: int
    zero_fraction: float
    saturated_fraction: float
    total_et: tuple[int, ...]
    max_region_et: tuple[int, ...]
    flags: tuple[str, ...]
    accepted: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the same as a dictionary that JSON can hold."""
        return {
            "path": str(self.path),
            "layout": self.layout,
            "events": self.events,
            "zero_fraction": self.zero_fraction,
            "saturated_fraction": self.saturated_fraction,
            "total_et": {
                str(percent): value for percent, value in zip(QUANTILES, self.total_et, strict=True)
            },
            "max_region_et": {
                str(percent): value for percent, value in zip(QUANTILES, self.max_region_et, strict=True)
            },
            "flags": list(self.flags),
            "accepted": self.accepted,
        }


@dataclass(frozen=True)
class FileProblem:
    """Why a file cannot be used; `message` is one line and names the file."""

    path: Path
    message: str


def summarize(path: str | os.PathLike[str], *, progress: Progress = silent) -> FileSummary:
    """Return what a region file holds, without ever holding all of it."""
    # Energies are small whole numbers: counting every value gives exact quantiles in bounded memory.
    totals = np.zeros(REGIONS * MAX_COUNT + 1, np.int64)
    largest = np.zeros(MAX_COUNT + 1, np.int64)
    zero = saturated = done = 0
    with RegionFile(path) as file:
        accepted = file.acceptance()
        for chunk in file.chunks():
            totals += np.bincount(chunk.sum(axis=(1, 2), dtype=np.int64), minlength=len(totals))
            largest += np.bincount(chunk.max(axis=(1, 2)), minlength=len(largest))
            zero += int(np.count_nonzero(chunk == 0))
            saturated += int(np.count_nonzero(chunk == MAX_COUNT))
            done += len(chunk)
            progress(f"reading {file.path.name}", done, file.events)
    return FileSummary(
        path=file.path,
        layout=file.layout,
        events=file.events,
        zero_fraction=zero / (file.events * REGIONS),
        saturated_fraction=saturated / (file.events * REGIONS),
        total_et=tuple(_quantile(totals, percent) for percent in QUANTILES),
        max_region_et=tuple(_quantile(largest, percent) for percent in QUANTILES),
        flags=file.flags,
        accepted=None if accepted is None else int(accepted.sum()),
    )


def validate(paths: Sequence[Path], *, progress: Progress = silent) -> list[FileProblem]:
    """Read all of every file and return what is wrong, in the order of `paths`; nothing if all is well.

    A file whose content is that of an earlier one is a problem too.
    """
    again = repeats(paths)
    problems = []
    for index, path in enumerate(paths):
        if index in again:
            first = paths[again[index]]
            problems.append(
                FileProblem(
                    path, f"{path_text(path)}: has the same events as {path_text(first)}; list each file once"
                )
            )
            continue
        try:
            _check(path, progress)
        except DataError as error:
            problems.append(FileProblem(path, str(error)))
    return problems


def _check(path: Path, progress: Progress) -> None:
    """Read all of one file, which raises for whatever is wrong with it."""
    done = 0
    with RegionFile(path) as file:
        file.acceptance()
        for chunk in file.chunks():
            done += len(chunk)
            progress(f"checking {path.name}", done, file.events)


def _quantile(counts: NDArray[np.int64], percent: int) -> int:
    """Return the smallest value that `percent` per cent of the entries do not exceed.

    `counts[value]` is how many entries have that value.
    """
    entries = int(counts.sum())
    rank = -(-percent * entries // 100)
    return int(np.searchsorted(np.cumsum(counts), rank))
