"""A teacher is CICADA's or the user's own, scores every event of a dataset, and does so once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from numpy.typing import NDArray

from objectives.data.dataset import Dataset, Part
from objectives.data.deposits import make_deposits
from objectives.errors import TeacherError
from objectives.teacher import Teacher, build_teacher, load_teacher, target
from objectives.teacher_config import TeacherConfig

# ---- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (0.0, 0.0),
        (0.5, 0.0),
        (1.0, 0.0),
        (np.e, 32.0),
        (np.e**2, 64.0),
        (2.0, 5678 / 256),  # 32 ln 2 = 22.18071 = 5678.26 / 256
        (2980.0, 65533 / 256),  # 32 ln 2980 = 65533.3 / 256
        (2981.0, 256 - 1 / 256),  # 32 ln 2981 = 65536.1 / 256, one too many for 16 bits
        (1e9, 256 - 1 / 256),
    ],
)
def test_known_targets(loss: float, expected: float) -> None:
    assert target(np.array([loss], np.float32)).tolist() == pytest.approx([expected], abs=1e-9)


@given(st.lists(st.floats(0, 2.0**40, width=32), min_size=2, max_size=20))
def test_targets_are_what_leaves_the_chip(losses: list[float]) -> None:
    values = target(np.sort(np.array(losses, np.float32)))
    assert values.dtype == np.float32
    assert (np.diff(values) >= 0).all()
    assert (values * 256 == np.round(values * 256)).all()
    assert values.min() >= 0
    assert values.max() <= 256 - 1 / 256
    for loss, value in zip(np.sort(np.array(losses, np.float32)), values, strict=True):
        if 1 < loss < 2900:
            assert abs(value - 32 * np.log(float(loss))) <= 1 / 512 + 1e-4


def test_the_teacher_is_cicadas() -> None:
    model = build_teacher()
    assert model.count_params() == 323_731
    assert model.input_shape == model.output_shape == (None, 18, 14, 1)


# ---- training and cache -------------------------------------------------------------------------

QUICK = TeacherConfig(epochs=2, batch=16)


def part(seed: int, signals: tuple[str, ...] = ("tt", "higgs")) -> Part:
    rng = np.random.default_rng(seed)

    def sample(count: int, scale: float) -> NDArray[np.uint16]:
        return np.minimum(rng.exponential(scale, (count, 18, 14)), 1023).astype(np.uint16)

    return Part(sample(60, 5), {name: sample(12, 40) for name in signals}, {"uniform": sample(10, 300)})


DATASET = Dataset("0123456789abcdef", part(1, ()), part(2), part(3), part(4))
CLASSES = {
    ("train", "zero_bias"): DATASET.train.zero_bias,
    ("train", "uniform"): DATASET.train.exposure["uniform"],
}
for _name, _part in (("validation", DATASET.validation), ("test", DATASET.test)):
    CLASSES |= {(_name, "zero_bias"): _part.zero_bias, (_name, "uniform"): _part.exposure["uniform"]}
    CLASSES |= {(_name, signal): events for signal, events in _part.signals.items()}


class Watch:
    """A `Progress` that remembers what was done."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.seen.append((what, done, total))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def made(cache: Path) -> tuple[Teacher, Watch]:
    """The teacher of DATASET, trained."""
    watch = Watch()
    return load_teacher(QUICK, DATASET, cache, progress=watch), watch


def test_a_teacher_is_trained_once(made: tuple[Teacher, Watch], cache: Path) -> None:
    teacher, watch = made
    assert [x for x in watch.seen if x[0] == "teacher epochs"] == [("teacher epochs", n, 2) for n in range(3)]
    assert watch.seen[-1] == ("teacher scores", 10, 10)
    again = Watch()
    second = load_teacher(QUICK, DATASET, cache, progress=again)
    assert again.seen == []
    assert second.digest == teacher.digest
    for key in CLASSES:
        assert (second.targets(*key) == teacher.targets(*key)).all()
    assert [path.name for path in cache.iterdir()] == [teacher.digest]


def test_targets_are_those_of_the_saved_teacher(made: tuple[Teacher, Watch], cache: Path) -> None:
    teacher, _ = made
    model = keras.models.load_model(cache / teacher.digest / "teacher.keras")
    for key, events in CLASSES.items():
        images = events[..., None].astype(np.float32)
        loss = np.mean((images - model.predict(images, verbose=0)) ** 2, axis=(1, 2, 3))
        assert teacher.targets(*key).shape == (len(events),)
        assert teacher.targets(*key) == pytest.approx(target(loss), abs=1.01 / 256)
    about = json.loads((cache / teacher.digest / "about.json").read_text())
    assert about["dataset"] == DATASET.digest
    assert TeacherConfig.model_validate(about["teacher"]) == QUICK


def test_it_learns_zero_bias(made: tuple[Teacher, Watch]) -> None:
    teacher, _ = made
    calm = teacher.targets("test", "zero_bias")
    assert calm.max() < teacher.targets("test", "tt").min()
    assert teacher.targets("test", "tt").max() < teacher.targets("test", "uniform").min()
    assert len(np.unique(calm)) > 10


def test_an_unknown_class_has_no_targets(made: tuple[Teacher, Watch]) -> None:
    with pytest.raises(KeyError):
        made[0].targets("train", "tt")


# ---- the user's own teacher ---------------------------------------------------------------------


def own_teacher(file: Path, shape: tuple[int, ...] = (18, 14, 1), factor: float = 0.0) -> TeacherConfig:
    """Save a teacher that gives `factor` times what it is given."""
    keras.Sequential([keras.Input(shape), layers.Rescaling(factor)]).save(file)
    return TeacherConfig(file=file)


@pytest.mark.parametrize("shape", [(18, 14, 1), (18, 14), (252,)])
def test_a_teacher_of_ones_own_scores(shape: tuple[int, ...], tmp_path: Path) -> None:
    watch = Watch()
    config = own_teacher(tmp_path / "mine.keras", shape, 0.5)
    teacher = load_teacher(config, DATASET, tmp_path / "cache", progress=watch)
    assert {what for what, _, _ in watch.seen} == {"teacher scores"}
    for key, events in CLASSES.items():
        loss = np.mean((events / 2.0) ** 2, axis=(1, 2))
        assert teacher.targets(*key) == pytest.approx(target(loss.astype(np.float32)), abs=1.01 / 256)


def test_a_teacher_of_ones_own_is_known_by_content(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    config = own_teacher(tmp_path / "mine.keras")
    digest = load_teacher(config, DATASET, cache).digest
    shutil.copy(tmp_path / "mine.keras", tmp_path / "copy.keras")
    watch = Watch()
    copied = TeacherConfig(file=tmp_path / "copy.keras", epochs=3)
    assert load_teacher(copied, DATASET, cache, progress=watch).digest == digest
    assert watch.seen == []
    other = load_teacher(own_teacher(tmp_path / "mine.keras", factor=0.5), DATASET, cache)
    assert other.digest != digest
    assert (other.targets("test", "tt") < load_teacher(copied, DATASET, cache).targets("test", "tt")).all()


def test_datasets_and_configurations_have_teachers_of_their_own(tmp_path: Path) -> None:
    config = own_teacher(tmp_path / "mine.keras")
    elsewhere = Dataset(
        "fedcba9876543210", *(getattr(DATASET, x) for x in ("train", "validation", "test", "synthesis"))
    )
    digests = {load_teacher(config, dataset, tmp_path / "cache").digest for dataset in (DATASET, elsewhere)}
    assert len(digests) == 2
    assert len({TeacherConfig(**x).digest() for x in ({}, {"seed": 1}, {"epochs": 9}, {"batch": 64})}) == 4


# ---- deposits -----------------------------------------------------------------------------------


def with_deposits(count: int, seed: int = 42) -> Dataset:
    """Return DATASET with deposits in its training part."""
    events = make_deposits(DATASET.train.zero_bias, count, seed)
    train = replace(DATASET.train, exposure={**DATASET.train.exposure, "deposits": events})
    return replace(DATASET, train=train, deposits=count)


def deposit_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("deposits*")}


def test_deposits_have_the_teachers_score(
    made: tuple[Teacher, Watch], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("objectives.teacher.DEPOSITS_AT_ONCE", 32)
    before, _ = made
    shutil.copytree(cache, tmp_path / "cache")
    folder = tmp_path / "cache" / before.digest
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    watch = Watch()
    dataset = with_deposits(70)
    teacher = load_teacher(QUICK, dataset, tmp_path / "cache", progress=watch)
    assert watch.seen == [("teacher scores of deposits", done, 70) for done in (0, 32, 64, 70)]
    assert teacher.digest == before.digest, "the teacher is the same"
    for key in CLASSES:
        assert (teacher.targets(*key) == before.targets(*key)).all()
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert len(deposit_files(folder)) == 1

    model = keras.models.load_model(folder / "teacher.keras")
    images = dataset.train.exposure["deposits"][..., None].astype(np.float32)
    loss = np.mean((images - model.predict(images, verbose=0)) ** 2, axis=(1, 2, 3))
    assert teacher.targets("train", "deposits") == pytest.approx(target(loss), abs=1.01 / 256)
    assert teacher.targets("train", "deposits").dtype == np.float32
    with pytest.raises(KeyError):
        before.targets("train", "deposits")

    # A second worker needs no teacher, and a study with other deposits not the first ones' targets.
    hidden = (folder / "teacher.keras").rename(tmp_path / "hidden.keras")
    again = load_teacher(QUICK, with_deposits(70), tmp_path / "cache", progress=watch)
    assert len(watch.seen) == 4
    assert (again.targets("train", "deposits") == teacher.targets("train", "deposits")).all()
    hidden.rename(folder / "teacher.keras")
    other = load_teacher(QUICK, with_deposits(70, seed=43), tmp_path / "cache")
    assert len(deposit_files(folder)) == 2
    assert (other.targets("train", "deposits") != teacher.targets("train", "deposits")).any()
    again = load_teacher(QUICK, dataset, tmp_path / "cache")
    assert (again.targets("train", "deposits") == teacher.targets("train", "deposits")).all()


def test_a_teacher_made_with_deposits_is_the_one_made_without(
    made: tuple[Teacher, Watch], tmp_path: Path
) -> None:
    """Whichever study comes first."""
    before, _ = made
    watch = Watch()
    teacher = load_teacher(QUICK, with_deposits(20), tmp_path, progress=watch)
    assert teacher.digest == before.digest
    assert list(dict.fromkeys(what for what, _, _ in watch.seen)) == [
        "teacher epochs",
        "teacher scores",
        "teacher scores of deposits",
    ]
    assert ("teacher scores", 10, 10) in watch.seen
    with np.load(tmp_path / teacher.digest / "targets.npz") as stored:
        assert {*stored.files} == {"/".join(key) for key in CLASSES}
    for key in CLASSES:
        assert teacher.targets(*key) == pytest.approx(before.targets(*key), abs=1.01 / 256)
    assert teacher.targets("train", "deposits").shape == (20,)


def test_a_teacher_of_ones_own_scores_deposits(tmp_path: Path) -> None:
    config = own_teacher(tmp_path / "mine.keras", (252,), 0.5)
    dataset = with_deposits(30)
    teacher = load_teacher(config, dataset, tmp_path / "cache")
    loss = np.mean((dataset.train.exposure["deposits"] / 2.0) ** 2, axis=(1, 2))
    assert teacher.targets("train", "deposits") == pytest.approx(
        target(loss.astype(np.float32)), abs=1.01 / 256
    )
    assert not list((tmp_path / "cache").rglob("*.keras"))


def test_targets_of_deposits_are_there_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = own_teacher(tmp_path / "mine.keras")
    digest = load_teacher(config, DATASET, tmp_path / "cache").digest

    def killed(*_: object) -> None:
        with pytest.raises(Timeout):  # nobody else writes meanwhile
            FileLock(tmp_path / "cache" / digest / ".lock").acquire(timeout=0)
        raise KeyboardInterrupt

    monkeypatch.setattr("objectives.teacher.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        load_teacher(config, with_deposits(30), tmp_path / "cache")
    monkeypatch.undo()
    watch = Watch()
    teacher = load_teacher(config, with_deposits(30), tmp_path / "cache", progress=watch)
    assert watch.seen
    assert len(teacher.targets("train", "deposits")) == 30
    assert len(deposit_files(tmp_path / "cache" / digest)) == 1


def test_ones_own_class_may_be_called_deposits(tmp_path: Path) -> None:
    parts = {name: getattr(DATASET, name) for name in ("train", "validation", "test", "synthesis")}
    named = {name: replace(p, exposure={"deposits": p.exposure["uniform"]}) for name, p in parts.items()}
    config = own_teacher(tmp_path / "mine.keras")
    teacher = load_teacher(config, replace(DATASET, **named), tmp_path / "cache")
    usual = load_teacher(config, DATASET, tmp_path / "elsewhere")
    for part in ("train", "validation", "test"):
        assert (teacher.targets(part, "deposits") == usual.targets(part, "uniform")).all()
    assert deposit_files(tmp_path / "cache" / teacher.digest) == set()


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_teacher_that_was_lost_is_asked_for(
    damage: str, made: tuple[Teacher, Watch], cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    file = tmp_path / "cache" / made[0].digest / "teacher.keras"
    file.unlink() if damage == "gone" else file.write_bytes(b"nothing\nof use")
    with pytest.raises(TeacherError, match="remove its folder to have it trained again") as caught:
        load_teacher(QUICK, with_deposits(10), tmp_path / "cache")
    assert str(caught.value).startswith(f"{file}: not a Keras model")
    assert "\n" not in str(caught.value)
    load_teacher(QUICK, DATASET, tmp_path / "cache")


# ---- what is no teacher -------------------------------------------------------------------------


def refusal(file: Path, cache: Path) -> str:
    """Return the one line that says why `file` is no teacher."""
    with pytest.raises(TeacherError) as caught:
        load_teacher(TeacherConfig(file=file), DATASET, cache)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{file}: ")
    return line


def test_a_missing_teacher_is_refused(tmp_path: Path) -> None:
    assert "no such teacher" in refusal(tmp_path / "missing.keras", tmp_path)
    assert "no such teacher" in refusal(tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["mine.keras", "mine.h5", "mine.txt"])
@pytest.mark.parametrize(
    "content", [b"", b"this is no model\nand has two lines", b"PK\x03\x04 nor a zip file"]
)
def test_a_file_that_is_no_model_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert "not a Keras model that can be loaded" in refusal(tmp_path / name, tmp_path / "cache")


def test_a_damaged_teacher_is_refused_and_its_repair_accepted(tmp_path: Path) -> None:
    file = tmp_path / "mine.keras"
    own_teacher(file)
    whole = file.read_bytes()
    for size in (len(whole) // 2, len(whole) - 30):
        file.write_bytes(whole[:size])
        assert "not a Keras model" in refusal(file, tmp_path / "cache")
    file.write_bytes(whole)
    assert (
        load_teacher(TeacherConfig(file=file), DATASET, tmp_path / "cache").targets("test", "tt").size == 12
    )


def model_of(kind: str) -> keras.Model:
    """Return a model that reconstructs no 18x14 regions."""
    regions = keras.Input((18, 14, 1))
    if kind == "other regions":
        return keras.Sequential([keras.Input((14, 14, 1)), layers.Rescaling(1.0)])
    if kind == "a score":
        return keras.Sequential([regions, layers.Flatten(), layers.Dense(1)])
    if kind == "any size":
        return keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(1, 3, padding="same")])
    if kind == "two inputs":
        other = keras.Input((18, 14, 1))
        return keras.Model([regions, other], layers.Add()([regions, other]))
    if kind == "two outputs":
        return keras.Model(regions, [layers.Rescaling(1.0)(regions), layers.Rescaling(2.0)(regions)])
    if kind == "transposed":
        return keras.Sequential([keras.Input((14, 18, 1)), layers.Rescaling(1.0)])
    return keras.Sequential([keras.Input((252,)), layers.Reshape((18, 14, 1))])


OTHER_SHAPES = ["other regions", "a score", "any size", "two inputs", "two outputs", "transposed", "reshaped"]


@pytest.mark.parametrize("kind", OTHER_SHAPES)
def test_a_model_of_other_shapes_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.keras"
    model_of(kind).save(file)
    assert "reconstructs the 18x14 regions" in refusal(file, tmp_path / "cache")
