"""QKeras students: the network of their weights, their EBOPs, the child that trains them."""

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.config import Hardware
from objectives.data.dataset import Part
from objectives.errors import SchemeError
from objectives.measurement import all_events, measure_point, split_outputs
from objectives.quantization import DataQuantization, Quantization, WeightQuantization
from objectives.recipe import Recipe
from objectives.schemes import hgq
from objectives.schemes.qkeras import child as child_script
from objectives.schemes.qkeras.border import listed, numbered, receive, send
from objectives.schemes.qkeras.network import ebops_of, network_of
from objectives.schemes.qkeras.remote import Child, RemoteTrainer
from objectives.scores import score
from objectives.training.graphs import TrainingData
from objectives.training.trajectory import epoch_order, run_trajectory
from sweep import qkeras_environment
from tests.objectives.conftest import anomaly, jets_like, zero_bias_like
from tests.objectives.students import events

SHARED = Path(os.environ.get("SWEEP_SHARED", Path(__file__).parents[3] / "shared"))
DEPLOYED = SHARED / "cicada" / "deployed_v2p1p2_weights.npz"
REFERENCE = SHARED / "cicada" / "reference_events.npz"


def recipe(**sections: object) -> Recipe:
    sections.setdefault("quantization", {"scheme": "qkeras"})
    return Recipe.model_validate(sections)


# ---- without the environment ----------------------------------------------------------------------


@pytest.mark.skipif(not DEPLOYED.exists(), reason=f"needs {DEPLOYED.name}; set SWEEP_SHARED to its folder")
def test_the_deployed_weights_give_the_deployed_scores() -> None:
    """The legacy student of the defaults is the one at CMS, in its adder graph, too."""
    with np.load(DEPLOYED) as weights, np.load(REFERENCE) as reference:
        network = network_of(recipe(), {name: weights[name].astype(float) for name in weights.files})
        regions, scores = reference["et"], reference["score_v2p1p2"]
    assert len(np.unique(scores)) > 50
    assert (network.predict(regions) == scores).all()
    assert (compile_adder_graph(network, Hardware()).predict(regions) == scores).all()


@pytest.mark.parametrize("family", ["cicada-v1", "cicada-v2"])
def test_ebops_are_those_of_hgq_at_the_same_bitwidths(family: str) -> None:
    given = recipe(student={"family": family, "hidden": 5, "kernel": 3})
    like = Quantization(
        weights=WeightQuantization(granularity="layer"), data=DataQuantization(granularity="layer")
    )
    model = hgq.build_student(given.student, like)
    hgq.initialise(model, like, 1)
    layers = hgq.quantized_layers(model)
    # Bits of weights without their sign; regions have 10, and so have QKeras' ReLUs.
    for layer, bits in zip(layers[::-1], (11, 7, 11), strict=False):
        layer.kq.quantizer._b.assign(np.full(layer.kq.quantizer._b.shape, bits))
        layer.iq.quantizer._i.assign(np.full(layer.iq.quantizer._i.shape, 10))
        layer.iq.quantizer._f.assign(np.full(layer.iq.quantizer._f.shape, 0))
        if layer.bias is not None:
            layer.bq.quantizer._b.assign(np.full(layer.bq.quantizer._b.shape, 7))
    bias_of_the_score = 7  # QKeras has none there
    theirs = sum(float(layer._compute_ebops((1, *layer.input.shape[1:]))) for layer in layers)
    assert ebops_of(given) == theirs - bias_of_the_score


def test_what_the_scheme_ignores_makes_no_other_student() -> None:
    one = recipe(quantization={"scheme": "qkeras"})
    other = recipe(
        quantization={"scheme": "qkeras", "weights": {"bits": 3}, "score_rounding": "RND"},
        training={"beta": {"final": 1e-2}},
    )
    assert one.digest() == other.digest()
    v1 = {"family": "cicada-v1"}
    conv = {"scheme": "qkeras", "layers": {"conv": {"bits": 6}}}
    assert recipe(student=v1).digest() == recipe(student=v1, quantization=conv).digest()
    assert recipe().digest() != recipe(quantization=conv).digest()
    narrow = recipe(quantization={"scheme": "qkeras", "layers": {"dense1": {"bits": 6}}})
    assert narrow.digest() != one.digest()
    assert Recipe.model_validate({"quantization": {"layers": {"dense1": {"bits": 6}}}}) == Recipe()


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        (
            {"conv": {"bits": 4, "integer_bits": 4}},
            "integer_bits 4 does not fit into bits 4 besides the sign",
        ),
        ({"conv": {"relu_bits": 5}}, "relu_integer_bits 6 does not fit into relu_bits 5"),
        ({"dense1": {"bias_bits": 3}}, "bias_integer_bits 3 does not fit into bias_bits 3 besides the sign"),
        ({"dense2": {"bits": 1}}, "greater than or equal to 2"),
        ({"dense3": {}}, "Extra inputs"),
    ],
)
def test_bitwidths_that_cannot_be(layers: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        recipe(quantization={"scheme": "qkeras", "layers": layers})


def test_a_second_hidden_layer_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"student\.hidden_2: must be 0"):
        recipe(student={"hidden_2": 4})


@settings(max_examples=25)
@given(
    st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.text()),
    st.lists(st.sampled_from([np.zeros((0, 3)), np.arange(6.0).reshape(2, 3), np.array(np.nan)])),
)
def test_messages_cross_the_border(content: dict[str, object], arrays: list[NDArray[np.float64]]) -> None:
    stream = io.BytesIO()
    for _ in range(2):
        send(stream, content, numbered(arrays))
    written = stream.tell()
    stream.seek(0)
    for _ in range(2):
        said, came = receive(stream)
        assert said == content
        assert len(came) == len(arrays)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(listed(came), arrays, strict=True))
    for length in {0, 1, written // 4, written // 2 - 1}:
        with pytest.raises(EOFError):
            receive(io.BytesIO(stream.getvalue()[:length]))


def test_nothing_pickled_crosses_the_border() -> None:
    stream = io.BytesIO()
    send(stream, {}, {"evil": np.array([{}], dtype=object)})
    stream.seek(0)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        receive(stream)


def test_a_python_that_does_not_start(tmp_path: Path) -> None:
    data = TrainingData.load(events(1)[:8], np.zeros(8, np.float32), 8, events(1)[:8])
    with pytest.raises(SchemeError, match="does not start"):
        Child(tmp_path / "python", data)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 7\n")
    script.chmod(0o755)
    with pytest.raises(SchemeError, match=r"ended \(exit code 7\)"):
        Child(script, data)


# ---- dropout --------------------------------------------------------------------------------------


def test_dropout_drops_its_share_and_never_the_same_twice() -> None:
    import keras
    import tensorflow as tf

    from objectives.schemes.qkeras.dropout import dropped

    layer = keras.layers.Dropout(1 / 9, seed=3)
    ones = tf.ones((400, 252))
    first, second = (np.asarray(dropped(layer, ones)) for _ in range(2))
    for values in (first, second):
        assert set(np.unique(values)) == {np.float32(0), np.float32(1 / (1 - 1 / 9))}
        # Five standard deviations of a mean of so many.
        assert abs((values == 0).mean() - 1 / 9) < 5 * np.sqrt(8 / 81 / values.size)
        assert abs((values == 0).mean(0) - 1 / 9).max() < 5 * np.sqrt(8 / 81 / 400)
    for one, other in ((first, second), (first[:-1], first[1:])):
        assert abs(np.corrcoef((one == 0).ravel(), (other == 0).ravel())[0, 1]) < 5 / np.sqrt(one.size)


# ---- with it --------------------------------------------------------------------------------------

PYTHON = qkeras_environment.interpreter()
needs_qkeras = pytest.mark.skipif(
    PYTHON is None, reason="needs the environment of QKeras students: `sweep qkeras install`"
)
EVENTS = 10_000


@pytest.fixture(scope="module")
def part() -> Part:
    """Events that are scored: as many as students and their hardware are compared on."""
    rng = np.random.default_rng(7)
    return Part(zero_bias_like(rng, EVENTS - 2000), {"jets": jets_like(rng, 2000)}, {})


@pytest.fixture(scope="module")
def child(train_part: Part, part: Part) -> Iterator[Child]:
    assert PYTHON is not None
    regions = np.concatenate([train_part.zero_bias, train_part.exposure["uniform"]])
    data = TrainingData.load(regions, anomaly(regions), len(train_part.zero_bias), all_events(part))
    started = Child(PYTHON, data)
    yield started
    started.close()


LEGACY = recipe(training={"epochs": 4, "batch": 128, "learning_rate": 3e-3})


def train(trainer: RemoteTrainer, seed: int, epochs: int = 2) -> list[float]:
    trainer.start(LEGACY.quantization, seed)
    losses = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order = epoch_order(trainer.data.zero_bias, trainer.data.exposure, 0.2, LEGACY.training.batch, rng)
        losses.append(trainer.train_epoch(order, 3e-3, 0.0))
    return losses


@needs_qkeras
def test_a_trained_student_and_its_hardware_agree_on_every_bit(child: Child, part: Part) -> None:
    trainer = RemoteTrainer(child, LEGACY)
    trajectory = run_trajectory(trainer, LEGACY, 1, lambda outputs: {"spread": float(outputs.std())})
    assert trajectory.end is not None
    assert trajectory.end.beta == 0
    assert {snapshot.cost for snapshot in trajectory.snapshots} == {ebops_of(LEGACY)}
    trainer.load(trajectory.end.state)
    network, outputs, ebops = trainer.finish()
    assert len(outputs) == EVENTS
    assert len(np.unique(outputs)) > 1000
    assert (network.predict(all_events(part)) == outputs).all()
    graph = compile_adder_graph(network, Hardware())
    measured = measure_point(network, graph, outputs, ebops, part, part)  # compares graph and Keras
    assert measured.cost.lut > 1000
    assert measured.cost.hls_dsp > 0
    # What is scored after each epoch is compiled, and the same up to rounding.
    assert np.abs(trainer.measure()[0] - outputs).max() <= 1 / 16


@needs_qkeras
def test_training_takes_the_steps_that_keras_takes() -> None:
    """Without dropout, whose numbers are this project's own, weights and losses are those of plain code."""
    package = Path(child_script.__file__).parents[2]
    script = Path(__file__).with_name("plain_steps.py")
    command = [str(PYTHON), "-I", str(script), child_script.__file__, str(package)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    found = json.loads(printed.splitlines()[-1])
    assert found["moved"] > 0.005
    assert found["apart"] < 1e-5
    assert found["loss"] == pytest.approx(found["plain_loss"], rel=1e-5)


@needs_qkeras
def test_a_student_scores_as_that_of_plain_qkeras_code(child: Child, part: Part, tmp_path: Path) -> None:
    """The same network by layers, compile and fit, given the same first weights, events and dropout."""
    epochs, seed, batch = 20, 3, LEGACY.training.batch
    data = child.data
    orders = [
        epoch_order(data.zero_bias, data.exposure, 0.2, batch, np.random.default_rng([seed, epoch]))
        for epoch in range(epochs)
    ]
    content = {"events": data.events, "targets": data.targets, "validation": all_events(part)}
    np.savez(tmp_path / "data.npz", order=orders, **{k: np.asarray(v) for k, v in content.items()})
    asked = [tmp_path / "data.npz", tmp_path / "scores.npz", "cicada-v2", epochs, seed, "--batch", batch]
    numbers = ["--numbers-of", child_script.__file__, Path(child_script.__file__).parents[2]]
    script = Path(__file__).parents[1] / "benchmarks" / "plain_qkeras.py"
    command = list(map(str, [PYTHON, "-I", script, *asked, *numbers]))
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    plain = np.load(tmp_path / "scores.npz")["outputs"]

    trainer = RemoteTrainer(child, LEGACY)
    trainer.start(LEGACY.quantization, seed)
    for order in orders:
        trainer.train_epoch(order, 1e-3, 0.0)
    _, ours, _ = trainer.finish()
    aucs = [score(*split_outputs(part, outputs)).mean_auc for outputs in (ours, plain)]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.01)
    assert np.abs(ours - plain).mean() < 0.05 * plain.std(), "not by chance: event by event"


VARIANTS = [
    recipe(student={"family": "cicada-v1", "hidden": 3}),
    recipe(
        student={"filters": 3, "kernel": 3, "stride": 2, "hidden": 4, "batch_norm": False, "input_clip": 64}
    ),
    recipe(
        quantization={
            "scheme": "qkeras",
            "layers": {
                "conv": {"bits": 5, "integer_bits": 1, "relu_bits": 6, "relu_integer_bits": 6},
                "dense1": {"bits": 3, "integer_bits": 0, "relu_bits": 7, "relu_integer_bits": 5},
                "dense2": {"bits": 6, "integer_bits": 2},
            },
        }
    ),
]


@needs_qkeras
@pytest.mark.parametrize("variant", VARIANTS)
def test_students_of_other_shapes_and_bitwidths_agree_on_every_bit(child: Child, variant: Recipe) -> None:
    trainer = RemoteTrainer(child, variant)
    trainer.start(variant.quantization, 5)
    network, outputs, _ = trainer.finish()
    validation = child.data.validation[: child.data.validation_events].numpy()
    assert len(np.unique(outputs)) > 10
    assert (network.predict(validation) == outputs).all()


@needs_qkeras
def test_a_seed_decides_the_student_whatever_was_trained_before(child: Child) -> None:
    trainer = RemoteTrainer(child, LEGACY)
    losses = train(trainer, 3)
    state = trainer.state()
    assert train(trainer, 4) != losses
    assert train(trainer, 3) == losses
    assert all((a == b).all() for a, b in zip(trainer.state(), state, strict=True))


@needs_qkeras
def test_a_student_that_was_saved_is_read(child: Child, tmp_path: Path) -> None:
    trainer = RemoteTrainer(child, LEGACY)
    train(trainer, 3, 1)
    state, (network, _, _) = trainer.state(), trainer.finish()
    trainer.save(tmp_path / "student.keras")
    train(trainer, 4, 1)
    read = trainer.read(tmp_path / "student.keras")
    assert all((a == b).all() for a, b in zip(read, state, strict=True))
    assert trainer.finish()[0].digest() == network.digest()
    (tmp_path / "student.keras").write_bytes(b"cut")
    with pytest.raises(ValueError):  # noqa: PT011  # whatever Keras says of it
        trainer.read(tmp_path / "student.keras")
    with pytest.raises(OSError):  # noqa: PT011
        trainer.save(tmp_path / "nowhere" / "student.keras")
    assert child.versions["qkeras-v3"] == "1.2.1"


@needs_qkeras
def test_a_child_that_was_killed_is_named(child: Child) -> None:
    """The last test here, for it is the others' child."""
    os.kill(child._process.pid, signal.SIGKILL)
    with pytest.raises(SchemeError, match=r"ended \(exit code -9\); the worker's log says why"):
        RemoteTrainer(child, LEGACY).measure()
