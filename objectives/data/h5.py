"""Read and write CICADA region files, in the h5 layouts of 2023 and 2026.

Both hold a dataset ``CaloRegions`` with the transverse energy of the 18 x 14 regions of every event,
in whole counts of 0.5 GeV from 0 to 1023:

* ``2023``: a plain array (N, 18, 14); ``2023-flat``: (N, 252), region (phi, eta) at 14 * phi + eta.
* ``2026``: a compound dataset whose field ``et`` holds them, beside ``taubit`` and ``egbit``;
  either (N, 18, 14) or (N, 252) records, or N records of such arrays.

Beside it there may be one value for each event in ``AcceptanceFlag``, ``PV_npvs``, ``PV_npvsGood``.
Nothing in a file is believed before it was checked, and every complaint is a `DataError` of one line.
"""

import hashlib
import math
import os
import secrets
import stat
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, get_args

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from objectives.data.geometry import IMAGE_SHAPE
from objectives.errors import DataError
from objectives.progress import Progress, silent

#: Regions of one event.
REGIONS = math.prod(IMAGE_SHAPE)
#: Largest region energy: ten bits, in counts of 0.5 GeV.
MAX_COUNT = 1023

#: Events that `RegionFile.chunks` returns at a time: 33 MB as 16-bit counts.
CHUNK_EVENTS = 65_536

Layout = Literal["2023", "2023-flat", "2026"]

_REGIONS_KEY = "CaloRegions"
_ACCEPTANCE_KEY = "AcceptanceFlag"
_EVENT_KEYS = (_ACCEPTANCE_KEY, "PV_npvs", "PV_npvsGood")
_BIT_FIELDS = ("taubit", "egbit")

_RULE = f"regions are whole counts of 0.5 GeV from 0 to {MAX_COUNT}"
_SHAPES = f"(N, {IMAGE_SHAPE[0]}, {IMAGE_SHAPE[1]}) as [event, phi, eta], or (N, {REGIONS})"

# Events that are held in the file's own type while they are checked, at least: files that hold
# float64 would otherwise need four times the memory of the counts that come out.
_BLOCK_EVENTS = 4_096
_CACHE_BYTES = 16 * 2**20
# Events in one compressed chunk of the files written here: half a megabyte of counts.
_WRITE_EVENTS = 1_024

# What h5py raises when it meets damaged metadata or data, found by flipping bytes of good files.
# ValueError is there for names that are not UTF-8, TypeError for types that NumPy does not have.
_H5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class RegionFile:
    """An open region file; a context manager.

    `path`, `layout`, `events` (at least one) and `flags` (which of the optional fields and datasets
    it has) are known once it is open. Values are checked as they are read.
    """

    path: Path
    layout: Layout
    events: int
    flags: tuple[str, ...]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        try:
            self._examine()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was read from it stays valid."""
        # A file opened for reading has nothing to lose, so a damaged one may fail to close.
        with _reading(self.path, "the file"):
            self._file.close()

    def chunks(self, size: int = CHUNK_EVENTS) -> Iterator[NDArray[np.uint16]]:
        """Yield checked regions (n, 18, 14) in counts of 0.5 GeV, n at most `size`, in file order."""
        if size < 1:
            raise _error(self.path, f"chunks of {size} events make no sense; ask for 1 or more")
        for first in range(0, self.events, size):
            yield self._read(first, min(first + size, self.events))

    def acceptance(self) -> NDArray[np.bool_] | None:
        """Return ``AcceptanceFlag`` (N,), or None where the file has none."""
        if _ACCEPTANCE_KEY not in self.flags:
            return None
        where = f"dataset {_ACCEPTANCE_KEY}"
        with _reading(self.path, where):
            values = np.asarray(self._file[_ACCEPTANCE_KEY][...]).reshape(-1)
        if values.dtype.kind not in "buif":
            raise _error(self.path, f"{where} holds {values.dtype}, expected true or false")
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero((values != 0) & (values != 1))
        if len(wrong):
            event = int(wrong[0])
            raise _error(
                self.path,
                f"{where} of event {event} is {values[event]}, expected true or false"
                " (1 or 0); write the flags again",
            )
        return values.astype(np.bool_)

    def _examine(self) -> None:
        """Learn layout, events and flags, and refuse a file that cannot hold regions."""
        regions = self._dataset(_REGIONS_KEY)
        with _reading(self.path, f"dataset {_REGIONS_KEY}"):
            dtype: np.dtype[Any] = regions.dtype
            shape = tuple(regions.shape or ())
        kind, shape = _energy_type(self.path, dtype, shape)
        self.events = _events(self.path, shape)
        if kind not in "uif":
            raise _error(
                self.path, f"dataset {_REGIONS_KEY} holds {dtype}, expected integers or floats; {_RULE}"
            )
        self._regions = regions if dtype.names is None else regions.fields("et")
        self._where = f"dataset {_REGIONS_KEY}" + ("" if dtype.names is None else " field et")
        self.layout = _layout(dtype, shape)
        chunk = regions.chunks[0] if regions.chunks else 1
        # Whole chunks of the file at a time, so that none is decompressed twice.
        self._block = chunk * max(1, _BLOCK_EVENTS // chunk)
        bits = tuple(name for name in _BIT_FIELDS if name in (dtype.names or ()))
        self.flags = bits + tuple(key for key in _EVENT_KEYS if self._has_value_for_each_event(key))

    def _dataset(self, key: str) -> Any:
        """Return the dataset `key`, after a look at whether all of it is there."""
        with _reading(self.path, "the list of datasets"):
            keys = sorted(self._file)
        if key not in keys:
            raise _error(self.path, f"no dataset {key}, expected CICADA regions; the file has {_some(keys)}")
        with _reading(self.path, f"dataset {key}"):
            dataset = self._file[key]
        if not isinstance(dataset, h5py.Dataset):
            raise _error(self.path, f"{key} is a {type(dataset).__name__.lower()}, expected a dataset")
        with _reading(self.path, f"dataset {key}"):
            problem = _gap(dataset) or _overrun(dataset)
        if problem:
            raise _error(self.path, f"dataset {key} {problem}")
        return dataset

    def _has_value_for_each_event(self, key: str) -> bool:
        """Say whether `key` is there; refuse it when it is not one value for each event.

        The collaboration's converter writes an empty AcceptanceFlag for samples without generator
        information, so an empty dataset is an absent one.
        """
        with _reading(self.path, "the list of datasets"):
            if key not in list(self._file):
                return False
        dataset = self._dataset(key)
        with _reading(self.path, f"dataset {key}"):
            shape = tuple(dataset.shape or (0,))
        if math.prod(shape) == 0:
            return False
        if shape[0] != self.events or math.prod(shape) != self.events:
            raise _error(
                self.path,
                f"dataset {key} has shape {shape}, expected ({self.events},), one for each"
                f" event of {_REGIONS_KEY}; write both from the same events",
            )
        return True

    def _read(self, first: int, last: int) -> NDArray[np.uint16]:
        """Return checked regions (last - first, 18, 14) of events `first` to `last`."""
        counts = np.empty((last - first, *IMAGE_SHAPE), np.uint16)
        for start in range(first, last, self._block):
            stop = min(start + self._block, last)
            with _reading(self.path, f"{self._where} (events {start} to {stop - 1})"):
                raw = np.asarray(self._regions[start:stop])
            # C order: flat region 14 * phi + eta becomes (phi, eta).
            raw = raw.reshape(stop - start, *IMAGE_SHAPE)
            counts[start - first : stop - first] = _as_counts(
                raw, f"{path_text(self.path)}: {self._where}", start
            )
        return counts


def read_regions(
    path: str | os.PathLike[str],
    *,
    only_accepted: bool = False,
    limit: int | None = None,
    progress: Progress = silent,
) -> NDArray[np.uint16]:
    """Return the regions (N, 18, 14) of a file, in counts of 0.5 GeV.

    `only_accepted` keeps the events whose AcceptanceFlag is set; `limit` keeps the first so many of
    what is left, and does not look at the events behind them.
    """
    if limit is not None and limit < 1:
        raise _error(Path(path), f"cannot read {limit} events; the limit must be 1 or more")
    with RegionFile(path) as file:
        kept = _accepted(file) if only_accepted else None
        wanted = file.events if kept is None else int(kept.sum())
        wanted = wanted if limit is None else min(wanted, limit)
        regions = np.empty((wanted, *IMAGE_SHAPE), np.uint16)
        seen = done = 0
        for chunk in file.chunks(CHUNK_EVENTS if only_accepted else min(CHUNK_EVENTS, wanted)):
            part = chunk if kept is None else chunk[kept[seen : seen + len(chunk)]]
            part = part[: wanted - done]
            regions[done : done + len(part)] = part
            seen += len(chunk)
            done += len(part)
            progress(f"reading {file.path.name}", done, wanted)
            if done == wanted:
                break
    return regions


def read_named(
    files: Mapping[str, Sequence[Path]],
    *,
    only_accepted: Collection[str] = (),
    progress: Progress = silent,
) -> dict[str, NDArray[np.uint16]]:
    """Return the regions (N, 18, 14) of each name, its files one after the other.

    Of the names in `only_accepted`, the events whose AcceptanceFlag is set are kept.
    A file that is listed twice, under one name or two, is refused: its events would be counted
    twice, or be signal and background at once. So is a copy of a file.
    """
    for name, paths in files.items():
        if not paths:
            raise DataError(f"'{name}' lists no file; name at least one h5 file")
    listed = [(name, path) for name, paths in files.items() for path in paths]
    for later, first in repeats([path for _, path in listed]).items():
        raise DataError(
            f"{path_text(listed[later][1])}, listed under '{listed[later][0]}', has the same events as"
            f" {path_text(listed[first][1])} under '{listed[first][0]}'; list each file once"
        )
    samples = {}
    for name, paths in files.items():
        accepted = name in only_accepted
        parts = [read_regions(path, only_accepted=accepted, progress=progress) for path in paths]
        samples[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return samples


def repeats(paths: Sequence[Path]) -> dict[int, int]:
    """Return, for each index of a path whose content came before, the index where it did.

    Content sees through links and copies, which comparing paths would not. Only files of equal
    size are read; what is empty or cannot be read repeats nothing.
    """
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for index, path in enumerate(paths):
        try:
            by_size[_status(path).st_size].append(index)
        except DataError:
            continue
    found: dict[int, int] = {}
    for size, indices in by_size.items():
        if size > 0 and len(indices) > 1:
            found.update(_equal_content(paths, indices))
    return dict(sorted(found.items()))


def _equal_content(paths: Sequence[Path], indices: Sequence[int]) -> dict[int, int]:
    """Return which of `indices` have the content of an earlier one, and which one."""
    found: dict[int, int] = {}
    by_digest: dict[str, int] = {}
    for index in indices:
        try:
            first = by_digest.setdefault(file_digest(paths[index]), index)
        except DataError:
            continue
        if first != index:
            found[index] = first
    return found


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return 16 hex digits of the SHA-256 of a file's bytes, read piece by piece."""
    path = Path(path)
    _status(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise _error(path, f"cannot be read ({_reason(error)}); check the path") from error


def write_regions(
    path: str | os.PathLike[str],
    et: NDArray[Any],
    *,
    taubit: NDArray[Any] | None = None,
    egbit: NDArray[Any] | None = None,
    npvs: NDArray[Any] | None = None,
    acceptance: NDArray[Any] | None = None,
    layout: Layout = "2026",
    attributes: Mapping[str, str | int | float] = MappingProxyType({}),
) -> None:
    """Write regions `et` (N, 18, 14), in counts of 0.5 GeV, to a compressed file, all of it or nothing.

    `taubit` and `egbit` (N, 18, 14) hold 0 or 1 and need layout 2026; `npvs` (N,) is the number of
    vertices, `acceptance` (N,) the AcceptanceFlag. What is not given is not in the file.
    `attributes` are stored at the root of the file. Equal arguments make equal bytes, and checksums
    in the file let every later change of them be noticed.
    """
    path = Path(path)
    title = f"cannot write {path_text(path)}"
    fields = _checked_fields(title, et, {"taubit": taubit, "egbit": egbit}, layout)
    columns = _checked_columns(title, len(fields["et"]), acceptance, npvs)
    _check_attributes(title, attributes)
    with _replacing(title, path) as temporary, _create(temporary) as file:
        _write_energies(file, fields, layout, title)
        for key, values in columns.items():
            file.create_dataset(key, data=values, **_storage(values.shape))
        for key in sorted(attributes):
            file.attrs[key] = attributes[key]


def _write_energies(file: Any, fields: Mapping[str, NDArray[Any]], layout: Layout, title: str) -> None:
    """Fill CaloRegions block by block, so that no second copy of all events is made."""
    # Signed 16 bits as in the collaboration's files, where differences of energies are taken.
    types: list[tuple[str, str]] = [(name, "<i2" if name == "et" else "u1") for name in fields]
    dtype: DTypeLike = np.dtype(types) if layout == "2026" else "<i2"
    events = len(fields["et"])
    shape = (events, REGIONS) if layout == "2023-flat" else (events, *IMAGE_SHAPE)
    dataset = file.create_dataset(_REGIONS_KEY, shape=shape, dtype=dtype, **_storage(shape))
    for start in range(0, events, _WRITE_EVENTS):
        stop = min(start + _WRITE_EVENTS, events)
        counts = _as_counts(fields["et"][start:stop], f"{title}: et", start)
        block: NDArray[Any] = np.empty(counts.shape, dtype)
        if layout == "2026":
            block["et"] = counts
            for name in list(fields)[1:]:
                block[name] = fields[name][start:stop]
        else:
            block[...] = counts
        dataset[start:stop] = block.reshape(stop - start, *shape[1:])


def _storage(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return how a dataset of `shape` is stored: without time stamps, in gzip, which holds a checksum."""
    return {
        "chunks": (min(_WRITE_EVENTS, shape[0]), *shape[1:]),
        "compression": "gzip",
        "compression_opts": 1,
        "shuffle": True,
        "track_times": False,
    }


def _create(path: Path) -> Any:
    """Create an h5 file in HDF5's format of 1.10, which checksums its metadata.

    That format would store the time in the root group, which only the low-level interface can prevent.
    """
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_EXCL, creation, access))


@contextmanager
def _replacing(title: str, path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside `path` that takes its place if the block succeeds."""
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        if path.is_dir():
            raise DataError(f"{title}: it is a folder; name a file")
        if not path.parent.is_dir():
            raise DataError(f"{title}: the folder {path_text(path.parent)} does not exist; create it first")
        yield temporary
        # On disk before it gets its name, or a power cut could leave a good name and no content.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{title} ({_reason(error)}); check its name, the free space and permissions"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _checked_fields(
    title: str, et: NDArray[Any], bits: Mapping[str, NDArray[Any] | None], layout: str
) -> dict[str, NDArray[Any]]:
    """Return what goes into CaloRegions, by field; only the values of `et` are not checked yet."""
    fields = {"et": _region_array(title, et)}
    for name, values in bits.items():
        if values is not None:
            fields[name] = _bits(title, name, values, fields["et"].shape)
    if layout not in get_args(Layout):
        raise DataError(f"{title}: no layout {layout!r}; choose 2026, 2023 or 2023-flat")
    if layout != "2026" and len(fields) > 1:
        raise DataError(f"{title}: layout {layout} has no place for {list(fields)[1]}; choose layout 2026")
    return fields


def _checked_columns(
    title: str, events: int, acceptance: NDArray[Any] | None, npvs: NDArray[Any] | None
) -> dict[str, NDArray[Any]]:
    """Return the datasets that hold one value for each event."""
    columns: dict[str, NDArray[Any]] = {}
    if acceptance is not None:
        columns[_ACCEPTANCE_KEY] = _bits(title, "acceptance", acceptance, (events,)).astype(np.bool_)
    if npvs is not None:
        columns["PV_npvs"] = _vertices(title, npvs, events)
    return columns


def _region_array(title: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return energies `values` as an array of numbers (N, 18, 14) with N at least 1."""
    values = np.asarray(values)
    if values.shape[1:] != IMAGE_SHAPE or len(values) == 0:
        raise DataError(
            f"{title}: et has shape {values.shape}, expected (N, 18, 14) as [event, phi, eta] with N >= 1"
        )
    if values.dtype.kind not in "uif":
        raise DataError(f"{title}: et holds {values.dtype}, expected integers or floats; {_RULE}")
    return values


def _bits(title: str, name: str, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return `values` as zeros and ones of `shape`."""
    values = np.asarray(values)
    if values.shape != shape:
        raise DataError(f"{title}: {name} has shape {values.shape}, expected {shape} as et has")
    if values.dtype.kind not in "bui" or values.min() < 0 or values.max() > 1:
        raise DataError(f"{title}: {name} holds {values.dtype} beyond 0 and 1; give true or false, or 0 or 1")
    return values.astype(np.uint8)


def _vertices(title: str, values: NDArray[Any], events: int) -> NDArray[np.int32]:
    """Return `values` as numbers of vertices (N,)."""
    values = np.asarray(values)
    if values.shape != (events,):
        raise DataError(
            f"{title}: npvs has shape {values.shape}, expected ({events},), one for each event of et"
        )
    largest = np.iinfo(np.int32).max
    if values.dtype.kind not in "ui" or values.min() < 0 or values.max() > largest:
        raise DataError(f"{title}: npvs must be whole numbers of vertices from 0 to {largest}")
    return values.astype(np.int32)


def _check_attributes(title: str, attributes: Mapping[str, str | int | float]) -> None:
    """Refuse attributes that an h5 file cannot hold."""
    for key, value in attributes.items():
        if not key or not _storable(key) or not _storable(value):
            raise DataError(
                f"{title}: attribute {key!r} cannot be stored; give UTF-8 text without null characters,"
                " a whole number of 64 bits or a float"
            )


def _storable(value: object) -> bool:
    """Say whether an attribute of an h5 file can have this name or value."""
    if isinstance(value, str):
        # Lone surrogates, as in the names of odd files, are not UTF-8.
        return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float)


def _open(path: Path) -> Any:
    """Open an h5 file for reading, or say why it is none."""
    if _status(path).st_size == 0:
        raise _error(path, "the file is empty (0 bytes), expected an h5 file; copy or make it again")
    try:
        # Some file systems of clusters know no locks, which is no reason not to read.
        return h5py.File(path, "r", locking="best-effort", rdcc_nbytes=_CACHE_BYTES)
    except PermissionError as error:
        raise _error(path, "no permission to read it; change its mode or copy it") from error
    except BlockingIOError as error:
        raise _error(path, "another program is writing it; wait until it is finished") from error
    except _H5_ERRORS as error:
        reason = _reason(error)
        if "signature not found" in reason:
            problem = "is not an h5 file, expected HDF5 with a dataset CaloRegions; check the path"
        elif "truncated" in reason:
            problem = "the file is truncated, its end is missing; copy or make it again"
        else:
            problem = f"cannot be opened as an h5 file ({reason}); it is damaged: copy or make it again"
        raise _error(path, problem) from error


def _status(path: Path) -> os.stat_result:
    """Return the status of a regular file, or say that it is none."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise _error(path, "no such file, expected an h5 file; check the path") from error
    except (OSError, ValueError) as error:
        raise _error(path, f"cannot be opened ({_reason(error)}); check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise _error(path, "is a folder, expected an h5 file; name the files in it")
    if not stat.S_ISREG(status.st_mode):
        # A pipe would be waited for forever.
        raise _error(path, "is not a regular file, expected an h5 file; copy it to disk first")
    return status


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn what h5py raises for damaged files, often long after opening them, into a `DataError`."""
    try:
        yield
    except _H5_ERRORS as error:
        raise _error(
            path, f"{what} cannot be read ({_reason(error)}); the file is damaged: copy or make it again"
        ) from error


def _gap(dataset: Any) -> str:
    """Say which part of `dataset` is not in the file, or return nothing.

    HDF5 reads what was never written, or lies in another file that is gone, as zeros without a word.
    """
    if dataset.is_virtual or dataset.external:
        return "keeps its values in other files, expected them in this one; copy them together into one file"
    if dataset.shape is None or dataset.size == 0:
        return ""
    if dataset.chunks:
        counts = (-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        expected, present = math.prod(counts), dataset.id.get_num_chunks()
    else:
        expected, present = 1, int(dataset.id.get_storage_size() > 0)
    if present < expected:
        return f"was never filled: {present} of {expected} pieces are there; make the file again"
    return ""


def _overrun(dataset: Any) -> str:
    """Say why reading `dataset` would reach past what is stored, or return nothing.

    HDF5 believes a damaged type that is larger than what is stored, and reads past its own memory,
    which can end the process. Sizes of compressed pieces are not known beforehand; for them, and in
    any record, more gap than value is taken for damage.
    """
    dtype: np.dtype[Any] = dataset.dtype
    if dtype.names is not None:
        used = sum(dtype[name].itemsize for name in dtype.names)
        if dtype.itemsize > 2 * used + 8 * len(dtype.names):
            return (
                f"has records of {dtype.itemsize} bytes, expected {used} for its fields; make the file again"
            )
    if dataset.chunks and dataset.size and not dataset.id.get_create_plist().get_nfilters():
        expected = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
        present = dataset.id.get_chunk_info(0).size
        if present != expected:
            return f"has pieces of {present} bytes, expected {expected}; make the file again"
    return ""


def _energy_type(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the kind of number and the shape (N, ...) of the energies in a dataset of `dtype`."""
    if dtype.names is not None:
        if "et" not in dtype.names:
            raise _error(
                path,
                f"dataset {_REGIONS_KEY} has no field et, expected et, taubit, egbit;"
                f" it has {_some(dtype.names)}",
            )
        for name in _BIT_FIELDS:
            if name in dtype.names and dtype[name].shape != dtype["et"].shape:
                raise _error(
                    path,
                    f"dataset {_REGIONS_KEY} has {name} of shape {dtype[name].shape} in each record, expected"
                    f" {dtype['et'].shape} as et has; make the file again",
                )
        dtype = dtype["et"]
    return dtype.base.kind, shape + dtype.shape


def _layout(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Layout:
    """Return the layout of a dataset whose energies have `shape`."""
    if dtype.names is not None:
        return "2026"
    return "2023" if shape[1:] == IMAGE_SHAPE else "2023-flat"


def _events(path: Path, shape: tuple[int, ...]) -> int:
    """Return N of a `shape` that regions can have."""
    if len(shape) < 2 or shape[1:] not in (IMAGE_SHAPE, (REGIONS,)):
        raise _error(path, f"dataset {_REGIONS_KEY} has shape {shape}, expected {_SHAPES}; reshape it")
    if shape[0] == 0:
        raise _error(path, f"dataset {_REGIONS_KEY} has no events, expected at least 1; leave it out")
    return int(shape[0])


def _as_counts(raw: NDArray[Any], where: str, first_event: int) -> NDArray[np.uint16]:
    """Return `raw` (n, 18, 14) as counts, or say which region is none."""
    if raw.dtype.kind == "u":
        wrong = raw > MAX_COUNT
    elif raw.dtype.kind == "i":
        wrong = (raw < 0) | (raw > MAX_COUNT)
    else:
        # NaN compares false to everything, so what is right is asked for.
        with np.errstate(invalid="ignore"):
            wrong = ~((raw >= 0) & (raw <= MAX_COUNT) & (raw == np.floor(raw)))
    if wrong.any():
        event, phi, eta = (int(index) for index in np.argwhere(wrong)[0])
        value = raw[event, phi, eta]
        region = f"event {first_event + event}, phi {phi}, eta {eta}"
        raise DataError(f"{where}: {region} is {value}, {_complaint(float(value))}")
    return raw.astype(np.uint16)


def _complaint(value: float) -> str:
    """Say what is wrong with a region energy, and what to do."""
    if not math.isfinite(value):
        return f"not finite; {_RULE}: leave such events out"
    if value > MAX_COUNT:
        return f"above {MAX_COUNT}; {_RULE}: cap them as the trigger does"
    if value < 0:
        return f"negative; {_RULE}: leave such events out"
    return f"not whole; {_RULE}: divide GeV by 0.5 and round"


def _accepted(file: RegionFile) -> NDArray[np.bool_]:
    """Return the AcceptanceFlag (N,) of a file that must have one and accept something."""
    flags = file.acceptance()
    if flags is None:
        raise _error(
            file.path,
            f"no dataset {_ACCEPTANCE_KEY}, expected one flag for each event;"
            " set only_accepted to false to keep all events",
        )
    if not flags.any():
        raise _error(
            file.path,
            f"dataset {_ACCEPTANCE_KEY} accepts none of {file.events} events, expected at"
            " least 1; set only_accepted to false to keep all events",
        )
    return flags


def _error(path: Path, problem: str) -> DataError:
    """Return the error that says what is wrong with a file."""
    return DataError(f"{path_text(path)}: {problem}")


def path_text(path: Path) -> str:
    """Return a path for a message of one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _reason(error: BaseException) -> str:
    """Return what an exception says, on one line."""
    text = str(error)
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str() of a KeyError is the repr() of its text
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return " ".join(text.split())


def _some(names: Sequence[str | bytes], most: int = 8) -> str:
    """Return the first `most` names for a message of one line; h5py gives bytes for damaged ones."""
    shown = [name if isinstance(name, str) and name.isprintable() else repr(name) for name in names[:most]]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join(shown + more) or "nothing"
