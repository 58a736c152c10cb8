"""Collision events made here: Pythia for the collisions, `pileup` for everything that happens next.

`generate` writes one region file for zero bias and one for each process. Every file is made of
blocks of fixed size; a block has its own Pythia, started from its own seed, and its own NumPy
generator, so that neither the number of processes nor an interruption changes a bit of it.

What a particle leaves behind is kept simple. Electrons and photons leave all their energy in the
ECAL, hadrons in the HCAL, at the point where they reach the ECAL's face; there are no showers
across towers. Muons (about 2 GeV in the HCAL, below its threshold), neutrinos and hidden particles
leave nothing. All come from the centre of the detector; K0S, Lambda and the like decay there.
"""

import functools
import importlib.metadata
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from objectives.config import content_digest
from objectives.data import geometry as geo
from objectives.data.config import PythiaSource
from objectives.data.h5 import write_regions
from objectives.data.pileup import Collisions, Pool, overlay
from objectives.errors import GenerationError
from objectives.progress import Progress, silent

#: Raised by one whenever the same configuration would give other events.
GENERATOR_VERSION = 1

#: Centre-of-mass energy of the LHC's Run 3 in GeV.
COLLISION_ENERGY = 13_600

#: Events in a block. Starting Pythia for one costs 0.25 s, a tenth or less of what it then works.
POOL_BLOCK = 1_000
SIGNAL_BLOCK = 500
ZERO_BIAS_BLOCK = 2_000

# Final-state showers of hard processes stop at 1 GeV instead of 0.5: softer gluons do not leave
# the region that they would be seen in, and half of the time goes into them. It moves the mean
# total ET of a signal by about one per cent. The pool keeps Pythia's own value: there it is 7 %.
_HARD = ("TimeShower:pTmin = 1.0",)

#: Pythia's settings for every kind of collision. All use the default tune (Monash 2013, NNPDF2.3 LO).
CARDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Non-diffractive and diffractive collisions: what pile-up is made of.
        "inelastic": ("SoftQCD:inelastic = on",),
        # Top pairs, all decays.
        "tt": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *_HARD),
        # Vector-boson fusion to a Higgs boson that decays to two tau leptons, all their decays.
        "vbf_htautau": (
            "HiggsSM:ff2Hff(t:WW) = on",
            "HiggsSM:ff2Hff(t:ZZ) = on",
            "25:m0 = 125",
            "25:onMode = off",
            "25:onIfMatch = 15 15",
            *_HARD,
        ),
        # Gluon fusion to a Higgs boson that decays to bottom quarks.
        "ggh_bb": ("HiggsSM:gg2H = on", "25:m0 = 125", "25:onMode = off", "25:onIfMatch = 5 5", *_HARD),
        # A Z' of 1 TeV without interference that decays to quarks other than top. Below 800 GeV the
        # parton densities would raise its tail to ordinary dijets.
        "zprime_qq": (
            "NewGaugeBoson:ffbar2gmZZprime = on",
            "Zprime:gmZmode = 3",
            "32:m0 = 1000",
            "32:onMode = off",
            "32:onIfAny = 1 2 3 4 5",
            "PhaseSpace:mHatMin = 800",
            *_HARD,
        ),
        # A mediator of 1 TeV to two hidden quarks, which shower and hadronise under a hidden SU(3)
        # with a scale of 5 GeV. With two flavours, about half of the hidden mesons of 10 GeV decay to
        # known particles: many soft, wide jets and some energy that nobody sees.
        "hidden_valley": (
            "HiddenValley:ffbar2Zv = on",
            "4900023:m0 = 1000",
            "4900023:onMode = off",
            "4900023:onIfAny = 4900101",
            "PhaseSpace:mHatMin = 800",
            "HiddenValley:Ngauge = 3",
            "HiddenValley:nFlav = 2",
            "HiddenValley:FSR = on",
            "HiddenValley:fragment = on",
            "HiddenValley:alphaOrder = 1",
            "HiddenValley:setLambda = on",
            "HiddenValley:Lambda = 5",
            "HiddenValley:pTminFSR = 5.5",
            "4900101:m0 = 5",
            "4900111:m0 = 10",
            "4900113:m0 = 10",
            "4900211:m0 = 10",
            "4900213:m0 = 10",
            "4900111:onMode = on",
            "4900113:onMode = on",
            *_HARD,
        ),
    }
)

# Pythia's tables of multiparton interactions: 5 s to make, the same for every block and process.
_TABLES = tuple(f"Init:reuseMPIiDiffSys{system}" for system in range(4))
_TABLES_SEED = 1
_MAX_SEED = 900_000_000
# Pythia recommends to go on after an event that failed, and to give up when failures pile up.
_FAILURES_IN_A_ROW = 10

_ZERO_BIAS = "zero_bias"
_SOURCE_FILE, _TABLES_FILE, _POOL_FILE, _LOCK_FILE = "source.json", "tables.json", "pool.npz", "lock"

Tables = dict[str, list[str]]
T = TypeVar("T")


def generator_digest(config: PythiaSource) -> str:
    """Return 16 hex digits of all that decides the events of each class: generator and configuration.

    Which classes are asked for does not decide what is in them, and is left out.
    """
    return content_digest(_source(config))


def _source(config: PythiaSource) -> dict[str, Any]:
    return {
        "generator": GENERATOR_VERSION,
        "pythia8mc": _pythia_version(),
        "config": config.model_dump(mode="json", exclude={"signals", "exposure"}),
    }


def generate(
    config: PythiaSource, folder: Path, *, processes: int, progress: Progress = silent
) -> dict[str, Path]:
    """Write the region files of `config` into `folder` and return them: zero_bias and each process.

    A file that is there is not made again, so a run that was interrupted goes on where it stopped,
    class by class; and two programs that want the same folder do not do the work twice.
    """
    if processes < 1:
        raise GenerationError(f"cannot generate events with {processes} processes; use 1 or more")
    names: list[str] = [*config.signals, *config.exposure]
    # Zero bias comes last: its small blocks keep all processors busy to the end.
    sizes = {name: config.signal_events for name in names} | {_ZERO_BIAS: config.zero_bias}
    files = {name: folder / f"{name}.h5" for name in (_ZERO_BIAS, *names)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _complete(folder, config, files):
            with _locked(folder / _LOCK_FILE, progress):
                if not _complete(folder, config, files):
                    _write_text(folder / _SOURCE_FILE, json.dumps(_source(config), indent=1, sort_keys=True))
                    missing = {name: size for name, size in sizes.items() if not files[name].exists()}
                    _make(config, folder, missing, files, processes, progress)
    except OSError as error:
        raise GenerationError(
            f"cannot write events to {folder} ({error.strerror or error}); free or change it"
        ) from error
    return files


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file `path`, and say so where somebody else holds it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting = "waiting for another program that generates these events"
        progress(waiting, 0, 1)
        lock.acquire()
        progress(waiting, 1, 1)
    try:
        yield
    finally:
        lock.release()


def _complete(folder: Path, config: PythiaSource, files: Mapping[str, Path]) -> bool:
    """Say whether all files are there; refuse a folder that holds something else."""
    present = [path for path in files.values() if path.exists()]
    try:
        found = json.loads((folder / _SOURCE_FILE).read_text())
    except (FileNotFoundError, ValueError):
        found = None
    if found != _source(config) and (found is not None or present):
        raise GenerationError(f"{folder} holds events of another configuration; choose another folder")
    return len(present) == len(files)


def _make(
    config: PythiaSource,
    folder: Path,
    sizes: Mapping[str, int],
    files: Mapping[str, Path],
    processes: int,
    progress: Progress,
) -> None:
    """Generate the classes named in `sizes`, each with its number of events, and write their files."""
    with _runner(processes) as run:
        tables = _prepare_tables(folder, run, progress)
        _prepare_pool(config, folder, tables, run, progress)
        pool_file = folder / _POOL_FILE
        blocks = {
            name: _blocks(size, ZERO_BIAS_BLOCK if name == _ZERO_BIAS else SIGNAL_BLOCK)
            for name, size in sizes.items()
        }
        results = run(
            [
                functools.partial(_crossings, config, name, block, first, count, tables, pool_file)
                for name in sizes
                for block, (first, count) in enumerate(blocks[name])
            ]
        )
        for name, size in sizes.items():
            regions = np.empty((size, geo.REGIONS_PHI, geo.REGIONS_ETA), np.uint16)
            progress(f"generating {name}", 0, size)
            for first, count in blocks[name]:
                regions[first : first + count] = next(results)
                progress(f"generating {name}", first + count, size)
            attributes = {
                "process": name,
                "cards": "\n".join(CARDS.get(name, CARDS["inelastic"])),
                "source": content_digest(_source(config)),
                "pythia8mc": _pythia_version(),
            }
            write_regions(files[name], regions, attributes=attributes)


def _prepare_tables(folder: Path, run: "Run", progress: Progress) -> Tables:
    """Return the tables of multiparton interactions, from `folder` or made and put there."""
    path = folder / _TABLES_FILE
    try:
        tables: Tables = json.loads(path.read_text())
        return tables
    except (FileNotFoundError, ValueError):
        progress("starting Pythia", 0, 1)
        (tables,) = run([multiparton_tables])
        _write_text(path, json.dumps(tables))
        progress("starting Pythia", 1, 1)
        return tables


def _prepare_pool(config: PythiaSource, folder: Path, tables: Tables, run: "Run", progress: Progress) -> None:
    """Make the pool of inelastic collisions in `folder`, unless it is there."""
    path = folder / _POOL_FILE
    if path.exists():
        return
    blocks = _blocks(config.pool, POOL_BLOCK)
    tasks = [
        functools.partial(collide, "inelastic", count, _pythia_seed(config.seed, "inelastic", block), tables)
        for block, (_, count) in enumerate(blocks)
    ]
    parts = []
    progress("generating pile-up", 0, config.pool)
    for (first, count), part in zip(blocks, run(tasks), strict=True):
        parts.append(part)
        progress("generating pile-up", first + count, config.pool)
    pool = Collisions.concatenate(parts)
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, offsets=pool.offsets, cells=pool.cells, et=pool.et)
    temporary.replace(path)


@functools.lru_cache(maxsize=1)
def _load_pool(path: Path, _changed: int) -> Pool:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Pool(Collisions(arrays["offsets"], arrays["cells"], arrays["et"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise GenerationError(f"{path} cannot be read ({error}); delete it and run again") from error


def _crossings(
    config: PythiaSource, name: str, block: int, first: int, count: int, tables: Tables, pool_file: Path
) -> NDArray[np.uint16]:
    """Return the regions (count, 18, 14) of one block of a class, the first of them event `first`."""
    pool = _load_pool(pool_file, pool_file.stat().st_mtime_ns)
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(_name_key(name), block)))
    hard = None
    if name != _ZERO_BIAS:
        hard = collide(name, count, _pythia_seed(config.seed, name, block), tables)
    return overlay(pool, count, config.pileup, rng, first=first, hard=hard)


def _blocks(total: int, size: int) -> list[tuple[int, int]]:
    """Return the first event and the number of events of each block."""
    return [(first, min(size, total - first)) for first in range(0, total, size)]


def _name_key(name: str) -> int:
    return zlib.crc32(name.encode())


def _pythia_seed(seed: int, name: str, block: int) -> int:
    """Return Pythia's seed, 1 to 900,000,000; no two blocks of a class have the same."""
    (start,) = np.random.SeedSequence(seed, spawn_key=(_name_key(name),)).generate_state(1)
    return 1 + (int(start) + block) % _MAX_SEED


def multiparton_tables() -> Tables:
    """Return what Pythia works out about multiparton interactions before its first event."""
    settings = _start("inelastic", _TABLES_SEED, {}).settings
    return {key: list(settings.wvec(key)) for key in _TABLES}


def collide(card: str, count: int, seed: int, tables: Tables) -> Collisions:
    """Return `count` collisions of `CARDS[card]` as towers, from Pythia seed `seed`."""
    pythia = _start(card, seed, tables)
    particle = _pythia8().Particle
    final, getters = particle.isFinal, (particle.id, particle.px, particle.py, particle.pz)
    sizes: list[int] = []
    columns: tuple[list[float], ...] = ([], [], [], [])
    for _ in range(count):
        failures = 0
        while not pythia.next():
            failures += 1
            if failures == _FAILURES_IN_A_ROW:
                raise GenerationError(
                    f"Pythia failed {failures} times in a row at {card} (seed {seed}); choose another seed"
                )
        # A copy of the whole record and one `map` a column cost half of what a loop does.
        particles = list(filter(final, pythia.event.particles()))
        sizes.append(len(particles))
        for column, getter in zip(columns, getters, strict=True):
            column.extend(map(getter, particles))
    collision = np.repeat(np.arange(count), sizes)
    identity, momentum = np.array(columns[0], np.int64), np.array(columns[1:])
    return _deposit(count, collision, identity, momentum, pythia.particleData)


def _deposit(
    count: int,
    collision: NDArray[np.int64],
    identity: NDArray[np.int64],
    momentum: NDArray[np.float64],
    particle_data: Any,
) -> Collisions:
    """Turn final particles, with momenta (3, n) in GeV, into the towers that they hit."""
    species, kind = np.unique(identity, return_inverse=True)
    mass = np.array([particle_data.m0(int(code)) for code in species])
    charge = np.array([particle_data.chargeType(int(code)) / 3 for code in species])
    seen = np.array([particle_data.isVisible(int(code)) and abs(code) != 13 for code in species], bool)
    layer = np.where(np.isin(np.abs(species), (11, 22)), geo.ECAL, geo.HCAL)

    visible = seen[kind]
    kind, collision, (px, py, pz) = kind[visible], collision[visible], momentum[:, visible]
    pt = np.hypot(px, py)
    energy = np.sqrt(pt**2 + pz**2 + mass[kind] ** 2)
    with np.errstate(divide="ignore"):
        eta = np.arcsinh(pz / pt)
    eta, phi = geo.impact(pt, eta, np.arctan2(py, px), charge[kind])
    ring = geo.tower_eta_index(eta)
    hit = ring >= 0
    cells = (layer[kind] * geo.TOWERS_ETA + ring) * geo.TOWERS_PHI + geo.tower_phi_index(phi)
    return Collisions.from_deposits(count, collision[hit], cells[hit], (energy[hit] / np.cosh(eta[hit])))


def _start(card: str, seed: int, tables: Tables) -> Any:
    """Return a Pythia that is ready for its first event; empty `tables` are worked out (5 s)."""
    pythia = _pythia8().Pythia("", False)
    settings = (
        "Print:quiet = on",
        f"Beams:eCM = {COLLISION_ENERGY}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
        "MultipartonInteractions:reuseInit = -1",
        *CARDS[card],
    )
    for line in settings:
        if not pythia.readString(line):
            raise GenerationError(
                f"Pythia {_pythia_version()} refuses '{line}'; install the version pinned here"
            )
    for key, table in tables.items():
        pythia.settings.wvec(key, table)
    if not pythia.init():
        raise GenerationError(f"Pythia {_pythia_version()} did not start for {card}; reinstall pythia8mc")
    return pythia


def _pythia8() -> Any:
    # Imported late: 20 MB of library that a reader of finished files has no use for.
    try:
        import pythia8mc
    except ImportError as error:
        raise GenerationError(
            f"pythia8mc cannot be imported ({error}); install it to generate events"
        ) from error
    return pythia8mc


def _pythia_version() -> str:
    try:
        return importlib.metadata.version("pythia8mc")
    except importlib.metadata.PackageNotFoundError as error:
        raise GenerationError("pythia8mc is not installed; install it to generate events") from error


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.replace(path)


class Run:
    """Calls tasks without arguments and yields their results in order; here, or in `executor`."""

    def __init__(self, executor: Executor | None) -> None:
        self._executor = executor

    def __call__(self, tasks: Sequence[Callable[[], T]]) -> Iterator[T]:
        if self._executor is None:
            return (task() for task in tasks)
        return self._executor.map(_call, tasks)


def _call(task: Callable[[], T]) -> T:
    return task()


@contextmanager
def _runner(processes: int) -> Iterator[Run]:
    """Give a `Run` with so many processes; with one, everything happens in this one."""
    if processes == 1:
        yield Run(None)
        return
    # Fresh interpreters: a fork of a process that runs threads, TensorFlow's say, can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=_enter_worker)
    try:
        yield Run(executor)
    except BrokenProcessPool as error:
        raise GenerationError(
            "a process that generated events died (killed, out of memory, or started by a script without an"
            " `if __name__ == '__main__'` guard); run again to go on, with fewer processes if it was memory"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _enter_worker() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
