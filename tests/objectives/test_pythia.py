"""Events are real collisions, look like the trigger's, and come out the same however they are made."""

import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import pythia8mc
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.data import geometry as geo
from objectives.data import pileup, pythia
from objectives.data.config import PythiaSource
from objectives.data.h5 import read_regions
from objectives.data.pileup import CELLS, Collisions, Pool, overlay, read_out
from objectives.errors import GenerationError

# More than one block of the pool and of zero bias.
SOURCE = PythiaSource(zero_bias=4_100, signal_events=200, pool=1_100)
CLASSES = ("zero_bias", *SOURCE.signals, *SOURCE.exposure)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of SOURCE, made by two processes; the workers of pytest-xdist share them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two_processes"
    pythia.generate(SOURCE, folder, processes=2)
    return folder


@pytest.fixture(scope="session")
def events(folder: Path) -> dict[str, NDArray[np.uint16]]:
    return {name: read_regions(folder / f"{name}.h5") for name in CLASSES}


@pytest.fixture(scope="session")
def pool(folder: Path) -> Pool:
    with np.load(folder / "pool.npz") as arrays:
        return Pool(Collisions(arrays["offsets"], arrays["cells"], arrays["et"]))


def area_under_curve(signal: NDArray[np.float64], background: NDArray[np.float64]) -> float:
    """Return the probability that a signal event is above a background event, ties half."""
    background = np.sort(background)
    below = np.searchsorted(background, signal, side="left")
    up_to = np.searchsorted(background, signal, side="right")
    return float((below + up_to).mean() / 2 / len(background))


# ---- what is in the files -----------------------------------------------------------------------


def test_every_class_is_a_region_file_in_the_2026_layout(folder: Path) -> None:
    for name in CLASSES:
        with h5py.File(folder / f"{name}.h5") as file:
            assert file["CaloRegions"].dtype.names == ("et",)
            assert file.attrs["process"] == name
            assert file.attrs["source"] == pythia.generator_digest(SOURCE)


def test_zero_bias_looks_like_the_triggers(events: dict[str, NDArray[np.uint16]]) -> None:
    zero_bias = events["zero_bias"]
    assert zero_bias.shape == (4_100, 18, 14)
    # 600 counts and 69 % with another pool of the same generator; a pool of 1,100 moves by 4 %.
    assert 550 < zero_bias.sum(axis=(1, 2)).mean() < 750
    assert 0.65 < (zero_bias == 0).mean() < 0.72
    # Outermost regions are wide and see the most, and both ends see the same.
    occupied = (zero_bias > 0).mean(axis=(0, 1))
    assert occupied[[0, -1]].min() > occupied[1:-1].max()
    assert occupied == pytest.approx(occupied[::-1], rel=0.1)
    assert (zero_bias > 0).mean(axis=(0, 2)) == pytest.approx([occupied.mean()] * 18, rel=0.1)


def test_signals_stand_out_of_zero_bias(events: dict[str, NDArray[np.uint16]]) -> None:
    total = {name: regions.sum(axis=(1, 2), dtype=np.float64) for name, regions in events.items()}
    areas = {name: area_under_curve(total[name], total["zero_bias"]) for name in CLASSES[1:]}
    assert all(total[name].mean() > 1.3 * total["zero_bias"].mean() for name in areas)
    # 4,000 events of each gave .89, .78, .72, .98, .87.
    assert areas["tt"] > 0.82
    assert areas["vbf_htautau"] > 0.68
    assert areas["ggh_bb"] > 0.63
    assert areas["zprime_qq"] > 0.93
    assert areas["hidden_valley"] > 0.78


def test_no_event_is_made_twice(events: dict[str, NDArray[np.uint16]]) -> None:
    for regions in events.values():
        assert len(np.unique(regions.reshape(len(regions), -1), axis=0)) == len(regions)


# ---- the same events, whatever happens ----------------------------------------------------------


class InterruptedHereError(Exception):
    pass


def test_one_process_and_an_interruption_change_no_bit(folder: Path, tmp_path: Path) -> None:
    fewer = SOURCE.model_copy(update={"signals": ("tt",), "exposure": ()})
    again = tmp_path / "one_process"

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "generating zero_bias" and done:
            raise InterruptedHereError

    with pytest.raises(InterruptedHereError):
        pythia.generate(fewer, again, processes=1, progress=interrupt)
    assert (again / "tt.h5").exists()
    assert not (again / "zero_bias.h5").exists()
    written = (again / "tt.h5").stat().st_mtime_ns

    seen = []
    files = pythia.generate(fewer, again, processes=1, progress=lambda what, *_: seen.append(what))
    assert set(seen) == {"generating zero_bias"}
    assert files == {"zero_bias": again / "zero_bias.h5", "tt": again / "tt.h5"}
    assert (again / "tt.h5").stat().st_mtime_ns == written
    # Tables, pool and classes: nothing depends on the processes or on the other classes asked for.
    for name in ("tables.json", "pool.npz", "zero_bias.h5", "tt.h5"):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_finished_events_are_not_made_again(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.*")}
    calls: list[object] = []
    pythia.generate(SOURCE, folder, processes=2, progress=lambda *call: calls.append(call))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.*")} == before
    assert not calls


def test_what_another_program_has_made_meanwhile_is_not_made_again(folder: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shutil.copytree(folder, shared)
    (shared / "zero_bias.h5").rename(tmp_path / "late.h5")
    waiting = threading.Event()
    calls = []

    def progress(what: str, done: int, total: int) -> None:
        calls.append(what)
        waiting.set()

    thread = threading.Thread(
        target=pythia.generate, args=(SOURCE, shared), kwargs={"processes": 1, "progress": progress}
    )
    with FileLock(shared / "lock"):
        thread.start()
        assert waiting.wait(10)
        (tmp_path / "late.h5").rename(shared / "zero_bias.h5")
    thread.join(30)
    assert not thread.is_alive()
    assert set(calls) == {"waiting for another program that generates these events"}


def test_seeds_are_pythias_and_never_the_same_in_a_class() -> None:
    seeds = [pythia._pythia_seed(SOURCE.seed, "tt", block) for block in range(2_000)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 1
    assert max(seeds) <= 900_000_000
    assert pythia._pythia_seed(SOURCE.seed + 1, "tt", 0) != seeds[0] != pythia._pythia_seed(42, "ggh_bb", 0)


def test_digest_is_of_what_decides_the_events() -> None:
    digest = pythia.generator_digest(SOURCE)
    for change in ({"seed": 1}, {"pool": 1_101}, {"pileup": (20.0, 64.0)}, {"zero_bias": 4_101}):
        assert pythia.generator_digest(SOURCE.model_copy(update=change)) != digest
    assert pythia.generator_digest(SOURCE.model_copy(update={"signals": ("tt",)})) == digest


# ---- what can go wrong --------------------------------------------------------------------------


def test_a_folder_with_other_events_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="another configuration; choose another folder"):
        pythia.generate(SOURCE.model_copy(update={"seed": 1}), folder, processes=1)
    shutil.copy(folder / "tt.h5", tmp_path / "tt.h5")
    with pytest.raises(GenerationError, match="another configuration"):
        pythia.generate(SOURCE, tmp_path, processes=1)


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GenerationError, match="cannot write events") as caught:
        pythia.generate(SOURCE, tmp_path / "file" / "events", processes=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(GenerationError, match="use 1 or more"):
        pythia.generate(SOURCE, tmp_path, processes=0)


def test_a_damaged_pool_is_named(folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / "zero_bias.h5").unlink()
    (damaged / "pool.npz").write_bytes(b"PK\x03\x04 not a pool")
    with pytest.raises(GenerationError, match=r"pool\.npz cannot be read .* delete it"):
        pythia.generate(SOURCE, damaged, processes=1)


@pytest.mark.parametrize("card", [("SoftQCD:inelastic = off",), ("NoSuch:setting = on",)])
def test_pythia_that_does_not_start_is_an_error(
    card: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pythia, "CARDS", {"inelastic": card})
    tables = json.loads((folder / "tables.json").read_text())
    with pytest.raises(GenerationError, match=r"Pythia 8.* (did not start|refuses)"):
        pythia.collide("inelastic", 1, 1, tables)


def test_a_worker_that_dies_is_an_error() -> None:
    with pytest.raises(GenerationError, match="died"), pythia._runner(2) as run:
        list(run([functools.partial(os._exit, 3)]))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes through Linux's /proc")
def test_workers_do_not_outlive_a_killed_parent() -> None:
    script = (
        "import functools, time; from objectives.data import pythia\n"
        "with pythia._runner(2) as run:\n"
        "    sleepers = [functools.partial(time.sleep, 60)] * 2\n"
        "    for _ in run([functools.partial(print, flush=True), *sleepers]):\n"
        "        pass\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    children = [
        int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    ]
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while any(map(running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, children))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- what particles leave behind ----------------------------------------------------------------


def towers_of(*particles: tuple[int, float, float, float]) -> list[dict[tuple[int, ...], float]]:
    """Return ET in GeV by (layer, eta, phi) of events of one particle each: (identity, pT, eta, phi)."""
    identity, pt, eta, phi = (np.array(column) for column in zip(*particles, strict=True))
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    data = pythia8mc.Pythia("", False).particleData
    count = len(identity)
    collisions = pythia._deposit(count, np.arange(count), identity, momentum, data)
    shape = (geo.LAYERS, geo.TOWERS_ETA, geo.TOWERS_PHI)
    return [
        {
            tuple(int(i) for i in np.unravel_index(cell, shape)): float(et)
            for cell, et in zip(collisions.cells[start:stop], collisions.et[start:stop], strict=True)
        }
        for start, stop in itertools.pairwise(collisions.offsets)
    ]


def test_photons_and_electrons_are_seen_by_the_ecal_hadrons_by_the_hcal() -> None:
    photon, electron, kaon, neutron = towers_of(
        (22, 10, 0.05, 0.01), (11, 1000, 0.05, 0.04), (130, 10, -2.8, 1.0), (2112, 10, 0.05, 3.2)
    )
    assert photon == pytest.approx({(geo.ECAL, 28, 0): 10})
    assert electron == pytest.approx({(geo.ECAL, 28, 0): 1000}, rel=1e-4)
    assert kaon == pytest.approx({(geo.HCAL, 0, 11): 10}, rel=1e-3)
    # The trigger measures energy: the neutron's includes its mass.
    assert neutron == pytest.approx({(geo.HCAL, 28, 36): np.hypot(10, 0.94 / np.cosh(0.05))}, rel=1e-3)


@pytest.mark.parametrize("identity", [12, -14, 16, 13, -13, 4900211, 4900101])
def test_neutrinos_muons_and_hidden_particles_leave_nothing(identity: int) -> None:
    assert towers_of((identity, 50, 0.5, 1.0)) == [{}]


def test_particles_outside_the_calorimeter_leave_nothing() -> None:
    assert towers_of((22, 50, 3.01, 1.0), (211, 0.5, 0.1, 1.0), (22, 1, 9.0, 0.0)) == [{}, {}, {}]


def test_opposite_charges_part_in_phi() -> None:
    # 1.29 m at 1.5 GeV: asin(1.29 / 2 / 1.317) = 0.51, six towers of five degrees each way.
    minus, plus = towers_of((-211, 1.5, 0.05, np.pi), (211, 1.5, 0.05, np.pi))
    assert [*minus] == [(geo.HCAL, 28, 41)]
    assert [*plus] == [(geo.HCAL, 28, 30)]


# ---- overlay and readout ------------------------------------------------------------------------


class Exact(np.random.Generator):
    """A generator whose Gaussian is always at its mean: a detector of perfect resolution."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(1))

    def standard_normal(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]
        return np.zeros(size)


def dense(cells: NDArray[np.int64], et: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return one event (1, CELLS) with these towers."""
    return np.bincount(cells, weights=et, minlength=CELLS).astype(np.float64)[None]


@settings(deadline=None)
@given(st.integers(0, 1_099), st.integers(0, 17), st.booleans())
def test_turning_a_collision_turns_its_regions(pool: Pool, picked: int, turns: int, mirror: bool) -> None:
    def regions(shift: int, mirror: bool) -> NDArray[np.uint16]:
        cells, et = pool.turned(np.array([picked]), np.array([shift]), np.array([mirror]))
        (event,) = read_out(10 * dense(cells, et), Exact())
        return np.asarray(event)

    # Four towers are one region.
    expected = np.roll(regions(0, False), turns, axis=0)
    assert np.array_equal(regions(4 * turns, mirror), expected[:, ::-1] if mirror else expected)


@settings(deadline=None)
@given(st.integers(0, 1_099), st.integers(0, 71), st.booleans())
def test_turning_a_collision_keeps_energy_and_layer(
    pool: Pool, picked: int, shift: int, mirror: bool
) -> None:
    def layers(shift: int, mirror: bool) -> NDArray[np.float64]:
        cells, et = pool.turned(np.array([picked]), np.array([shift]), np.array([mirror]))
        assert len(np.unique(cells)) == len(cells)
        return np.asarray(np.bincount(cells // (CELLS // 2), weights=et, minlength=2), np.float64)

    assert layers(shift, mirror) == pytest.approx(layers(0, False))


def test_the_pool_is_dealt_without_loss(pool: Pool, folder: Path) -> None:
    assert len(pool.collisions) == SOURCE.pool
    assert pool.sizes.tolist() == [55] * 20
    with np.load(folder / "pool.npz") as arrays:
        assert np.sort(pool.collisions.et).tolist() == np.sort(arrays["et"]).tolist()
    rng = np.random.default_rng(1)
    drawn = pool.draw(np.full(10_000, 7), rng)
    assert set(drawn.tolist()) == set(range(7 * 55, 8 * 55))


def test_parts_of_the_pool_have_the_same_energy(pool: Pool) -> None:
    part = np.repeat(np.arange(20), pool.sizes)
    energy = pool.collisions.sums(pool.collisions.et)
    mean = np.bincount(part, energy) / pool.sizes
    by_chance = energy.std() / np.sqrt(55)
    assert mean.std() < by_chance / 2


def test_a_hard_collision_stays_where_it_is(pool: Pool) -> None:
    hard = Collisions(np.array([0, 1, 2]), np.array([0, CELLS - 1], np.int32), np.array([50, 60], np.float32))
    regions = overlay(pool, 2, (1.0, 1.0), np.random.default_rng(3), hard=hard)
    # ECAL at eta = -3, phi = 0; HCAL at eta = 3, just below phi = 0, with 5 % and 100 % / sqrt(E).
    assert 95 <= regions[0, 0, 0] <= 120
    assert 80 <= regions[1, 0, 13] <= 160


def test_pile_up_makes_the_mean_it_should(pool: Pool) -> None:
    rng = np.random.default_rng(5)
    few, many = (overlay(pool, 2_000, (mu, mu), rng).sum(axis=(1, 2)).mean() for mu in (20.0, 60.0))
    # Energy that overlaps passes thresholds more easily: faster than in proportion.
    assert 3 * few < many < 6 * few


def test_readout_of_single_towers() -> None:
    def one(layer: int, eta: int, et: float) -> int:
        towers = np.zeros((1, 2, geo.TOWERS_ETA, geo.TOWERS_PHI))
        towers[0, layer, eta, 0] = et
        regions = read_out(towers.reshape(1, CELLS), Exact())
        assert regions.sum() == regions[0, 0, eta // 4]
        return int(regions.sum())

    assert [one(geo.ECAL, 30, et) for et in (0.5, 1.49, 1.5, 1.99, 2.0)] == [0, 0, 3, 3, 4]
    assert [one(geo.HCAL, 30, et) for et in (1.5, 2.49, 2.5, 3.0)] == [0, 0, 5, 6]
    assert [one(geo.ECAL, 3, et) for et in (127.4, 127.5, 500.0)] == [254, 255, 255]


def test_layers_are_capped_before_and_regions_after_the_sum() -> None:
    towers = np.full((1, CELLS), 1000.0)
    assert (read_out(towers, Exact()) == 1023).all()
    lonely = np.zeros((1, 2, geo.TOWERS_ETA, geo.TOWERS_PHI))
    lonely[0, :, 20, 20] = 1000
    assert read_out(lonely.reshape(1, CELLS), Exact()).max() == 510


def test_resolution_is_of_energy_not_of_transverse_energy() -> None:
    rng = np.random.default_rng(7)
    for eta in (28, 54):  # at eta 0.04 and 2.58
        towers = np.zeros((1_000, 2, geo.TOWERS_ETA, geo.TOWERS_PHI))
        towers[:, geo.HCAL, eta, ::4] = 40  # one tower in each region
        # Rounded down to 0.5 GeV, so a quarter low on average.
        seen = read_out(towers.reshape(-1, CELLS), rng)[:, :, eta // 4] * 0.5 + 0.25
        energy = 40 * np.cosh(geo.TOWER_ETA[eta])
        assert seen.mean() == pytest.approx(40, rel=0.005)
        assert seen.std() / 40 == pytest.approx(np.hypot(1 / np.sqrt(energy), 0.05), rel=0.03)


def test_towers_left_out_could_not_have_passed() -> None:
    sigma = np.sqrt(
        pileup._HOPELESS * (pileup._STOCHASTIC_SQUARED + pileup._CONSTANT_SQUARED * pileup._HOPELESS)
    )
    assert (pileup._HOPELESS > 0).all()
    assert pileup._HOPELESS + 5 * sigma == pytest.approx(pileup._THRESHOLD)
