"""A compiled graph trains what its recipe and seed say, whatever it trained before, and as HGQ does."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hgq.utils import trace_minmax
from numpy.typing import NDArray

from objectives.costs.adder_bits import adder_bits
from objectives.data.dataset import Part
from objectives.measurement import all_events
from objectives.quantization import Quantization
from objectives.recipe import Recipe
from objectives.schemes import hgq
from objectives.students.network import Quantize, QuantizedNetwork
from objectives.training.graphs import FORWARD_BATCH, PREDICT_BATCH, GraphKey, State, TrainingData
from objectives.training.order import epoch_order
from objectives.training.trainer import CALIBRATION_PARTS, Trainer
from tests.objectives.conftest import COLD, COLD_LIMIT, anomaly

START = Quantization()
FEWER_BITS = Quantization.model_validate(
    {"weights": {"bits": 5, "integer_bits": 1}, "data": {"integer_bits": 4, "fractional_bits": 3}}
)


def train(
    trainer: Trainer,
    seed: int,
    epochs: int = 3,
    *,
    start: Quantization = START,
    learning_rate: float = 1e-2,
    beta: float = 1e-5,
) -> list[float]:
    """Begin a trial and train it; return the losses."""
    trainer.start(start, seed)
    return [
        trainer.train_epoch(order_of(trainer, seed, epoch), learning_rate, beta) for epoch in range(epochs)
    ]


def order_of(trainer: Trainer, seed: int, epoch: int, fraction: float = 0.2) -> NDArray[np.int32]:
    data = trainer.data
    rng = np.random.default_rng([seed, epoch])
    return epoch_order(data.zero_bias, data.exposure, fraction, trainer.batch, rng)


def variables(trainer: Trainer) -> dict[str, NDArray[Any]]:
    """Return all that training changes, by name, but the EBOPs that are only recorded."""
    found = {v.path: v.numpy() for v in (*trainer.model.weights, *trainer.optimizer.variables)}
    return {path: value for path, value in found.items() if not path.endswith("/ebops")}


def differing(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> list[str]:
    assert one.keys() == other.keys()
    return [path for path in one if one[path].tobytes() != other[path].tobytes()]


def images(trainer: Trainer) -> NDArray[np.float32]:
    """All training events as Keras takes them."""
    return trainer.data.events.numpy().astype(np.float32)[..., None]


# ---- one seed, one student ----------------------------------------------------------------------


def test_a_seed_trains_to_one_state_whatever_was_before(trainer: Trainer) -> None:
    losses = train(trainer, 7)
    first = variables(trainer)
    outputs, ebops = trainer.measure()
    # Another recipe that shares the graphs: bits, learning rate and beta are other, and end it annealed.
    train(trainer, 8, start=FEWER_BITS, learning_rate=3e-2, beta=1e-3)
    trainer.finish()
    assert len(differing(first, variables(trainer))) > 10
    assert train(trainer, 7) == losses
    assert differing(first, variables(trainer)) == []
    again, ebops_again = trainer.measure()
    assert (again == outputs).all()
    assert ebops_again == ebops


def test_another_seed_is_another_student(trainer: Trainer) -> None:
    train(trainer, 7, epochs=1)
    first = variables(trainer)
    train(trainer, 8, epochs=1)
    changed = differing(first, variables(trainer))
    assert {path for path in changed if path.endswith("/kernel")} == {
        path for path in first if path.endswith("/kernel")
    }


@pytest.mark.parametrize("change", [{"start": FEWER_BITS}, {"learning_rate": 3e-3}, {"beta": 1e-3}])
def test_what_is_no_part_of_the_graph_still_counts(trainer: Trainer, change: dict[str, Any]) -> None:
    train(trainer, 7, epochs=1)
    first = variables(trainer)
    train(trainer, 7, epochs=1, **change)
    assert differing(first, variables(trainer))


def test_beta_takes_bits_away(trainer: Trainer) -> None:
    train(trainer, 7, epochs=4, beta=1e-7)
    _, dear = trainer.measure()
    train(trainer, 7, epochs=4, beta=1e-3)
    _, cheap = trainer.measure()
    assert cheap < 0.8 * dear


def test_adder_bits_are_those_of_the_student_that_was_measured(trainer: Trainer) -> None:
    train(trainer, 7, epochs=2, beta=1e-4)
    trainer.measure()
    bits = trainer.adder_bits()
    trainer.calibrate()  # on the same events, for these are few
    assert bits == adder_bits(hgq.describe(trainer.model)) > 0


def test_one_compilation_serves_all(trainer: Trainer) -> None:
    """What the tests before have trained, and two trials more, went through the same graphs."""
    for seed, quantization in ((1, START), (2, FEWER_BITS)):
        train(trainer, seed, epochs=1, start=quantization, learning_rate=1e-3 * seed)
        trainer.measure()
        trainer.finish()
    for fraction in (0.0, 0.1, 0.45):
        trainer.train_epoch(order_of(trainer, 1, 0, fraction), 1e-3, 1e-6)
    assert trainer._epoch.experimental_get_tracing_count() == 1
    assert trainer._calibrate.experimental_get_tracing_count() == 1
    for events in (1, PREDICT_BATCH, PREDICT_BATCH + 1):
        trainer.predict(trainer.data.events.numpy()[:events])
    assert trainer._predict.experimental_get_tracing_count() == 1


# ---- one parent, one child ----------------------------------------------------------------------


def test_a_trial_begins_as_its_parent(trainer: Trainer) -> None:
    train(trainer, 7)
    trainer.calibrate()
    parent = trainer.state()
    train(trainer, 8, start=FEWER_BITS)
    trainer.start(FEWER_BITS, 9, parent)
    assert all((a == b).all() for a, b in zip(trainer.state(), parent, strict=True))
    assert all((v.numpy() == 0).all() for v in trainer.optimizer.variables)


def test_a_parent_and_a_seed_train_to_one_state_whatever_was_before(trainer: Trainer) -> None:
    train(trainer, 7)
    trainer.calibrate()
    parent = trainer.state()
    kept = [np.array(value) for value in parent]

    def go_on(seed: int) -> dict[str, NDArray[Any]]:
        trainer.start(START, seed, parent)
        for epoch in range(2):
            trainer.train_epoch(order_of(trainer, seed, epoch), 3e-3, 1e-4)
        return variables(trainer)

    first = go_on(11)
    train(trainer, 8, start=FEWER_BITS, learning_rate=3e-2, beta=1e-3)
    trainer.finish()
    assert differing(first, go_on(11)) == []
    assert differing(first, go_on(12)), "another seed is another child"
    assert all((a == b).all() for a, b in zip(parent, kept, strict=True)), "a parent stays as it is"


# ---- what is measured ---------------------------------------------------------------------------


def test_measuring_changes_nothing(trainer: Trainer) -> None:
    train(trainer, 7)
    before = variables(trainer)
    outputs, ebops = trainer.measure()
    assert differing(before, variables(trainer)) == []
    again, ebops_again = trainer.measure()
    assert (again == outputs).all()
    assert ebops_again == ebops
    trainer.train_epoch(order_of(trainer, 7, 3), 1e-2, 1e-5)
    unwatched = variables(trainer)
    train(trainer, 7)
    trainer.train_epoch(order_of(trainer, 7, 3), 1e-2, 1e-5)
    assert differing(unwatched, variables(trainer)) == []


def test_measured_is_finished_where_all_events_are_seen(trainer: Trainer) -> None:
    assert trainer.data.events.shape[0] < CALIBRATION_PARTS * FORWARD_BATCH
    train(trainer, 7)
    outputs, ebops = trainer.measure()
    _, finished, finished_ebops = trainer.finish()
    assert (outputs == finished).all()
    assert ebops == finished_ebops


@pytest.mark.parametrize("count", [700, 3_000, 8_192, 20_000, 50_000])
def test_a_measure_looks_at_events_from_first_to_last(count: int, recipe: Recipe) -> None:
    events = np.zeros((count, 18, 14), np.uint16)
    trainer = Trainer(recipe, TrainingData.load(events, np.zeros(count, np.float32), count, events[:1]))
    seen = min(CALIBRATION_PARTS * FORWARD_BATCH, len(trainer._some_events))
    order = np.sort(trainer._some_events.numpy()[:seen])
    assert (order[0], order[-1]) == (0, count - 1)
    assert np.diff(order).max() <= max(1, -(-count // seen))
    assert set(trainer._all_events.numpy()) == set(range(count))


def test_a_state_brings_its_student_back(trainer: Trainer) -> None:
    train(trainer, 7)
    state = trainer.state()
    network, outputs, ebops = trainer.finish()
    train(trainer, 8)
    assert trainer.finish()[0].digest() != network.digest()
    trainer.load(state)
    again, outputs_again, ebops_again = trainer.finish()
    assert again.digest() == network.digest()
    assert (outputs_again == outputs).all()
    assert ebops_again == ebops


# ---- as HGQ does it -----------------------------------------------------------------------------


@pytest.fixture
def finished(trainer: Trainer) -> tuple[QuantizedNetwork, NDArray[np.float32], int]:
    """A student in the middle of its training, calibrated."""
    train(trainer, 7, epochs=4, beta=1e-4)
    return trainer.finish()


Finished = tuple[QuantizedNetwork, NDArray[np.float32], int]


def test_the_network_gives_the_scores(trainer: Trainer, finished: Finished, validation_part: Part) -> None:
    network, outputs, _ = finished
    events = all_events(validation_part)
    assert outputs.shape == (len(events),)
    assert len(np.unique(outputs)) > 50
    assert (network.predict(events) == outputs).all()
    keras_outputs = trainer.model(events.astype(np.float32)[..., None], training=False)[:, 0]
    assert (np.asarray(keras_outputs) == outputs).all()


# ---- predictions --------------------------------------------------------------------------------


def eager(trainer: Trainer, events: NDArray[np.uint16]) -> NDArray[np.float32]:
    return np.asarray(trainer.model(events.astype(np.float32)[..., None], training=False))[:, 0]


@pytest.mark.parametrize("count", [1, 2, 777, PREDICT_BATCH - 1, PREDICT_BATCH, PREDICT_BATCH + 1, 3000])
@pytest.mark.usefixtures("finished")
def test_predictions_are_the_eager_models(count: int, trainer: Trainer) -> None:
    events = trainer.data.events.numpy()[-count:]
    outputs = trainer.predict(events)
    assert (outputs.shape, outputs.dtype) == ((count,), np.float32)
    assert outputs.tobytes() == eager(trainer, events).tobytes()


@pytest.mark.parametrize("count", [1, 777, PREDICT_BATCH + 1])
@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.usefixtures("finished")
def test_compiled_scores_count_only_with_the_weights_of_the_model(
    count: int, which: int, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = trainer.data.events.numpy()[:count]
    compiled, by = trainer._predict, 0.0

    def other(images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        outputs, weights = compiled(images)
        weights = list(weights)
        flat = weights[which].numpy()
        flat.reshape(-1)[-1] += by
        weights[which] = tf.constant(flat)
        return outputs + 1, weights

    monkeypatch.setattr(trainer, "_predict", other)
    assert (trainer.predict(events) == eager(trainer, events) + 1).all(), "the same weights: compiled"
    by = 2.0**-10
    assert trainer.predict(events).tobytes() == eager(trainer, events).tobytes()


def ranges(trainer: Trainer) -> dict[str, NDArray[Any]]:
    return {v.path: v.numpy() for v in trainer.model.weights if v.path.endswith(("/i", "/k"))}


def test_calibration_is_hgqs_but_for_the_open_input(trainer: Trainer, finished: Finished) -> None:
    ours, (_, _, ebops) = ranges(trainer), finished
    closed = trace_minmax(trainer.model, images(trainer), batch_size=FORWARD_BATCH)
    theirs = ranges(trainer)
    first = hgq.quantized_layers(trainer.model)[0].iq.quantizer
    assert differing(ours, theirs) == [first._i.path]
    # The cold regions, and only they, had more bits than events fill.
    opened = (ours[first._i.path] != theirs[first._i.path])[0, ..., 0]
    assert opened[:, COLD].any()
    assert not np.delete(opened, COLD, axis=1).any()
    assert ebops > closed
    hgq.open_input_range(trainer.model)
    assert differing(ours, ranges(trainer)) == []
    layers = hgq.quantized_layers(trainer.model)
    assert ebops == sum(int(layer._compute_ebops((1, *layer.input.shape[1:]))) for layer in layers)


def test_ebops_are_hgqs_where_events_fill_the_input(trainer: Trainer) -> None:
    """Regions that no event fills are pruned: what is left needs all ten bits."""
    train(trainer, 7, epochs=4, beta=1e-4)
    first = hgq.quantized_layers(trainer.model)[0].iq.quantizer
    bits = first._f.numpy()
    bits[:, :, COLD] = -10
    first._f.assign(bits)
    _, _, ebops = trainer.finish()
    assert [int(layer.ebops) for layer in hgq.quantized_layers(trainer.model)] != [0, 0, 0]
    assert sum(int(layer.ebops) for layer in hgq.quantized_layers(trainer.model)) == ebops
    assert trace_minmax(trainer.model, images(trainer), batch_size=FORWARD_BATCH) == ebops


def test_an_event_hotter_than_any_does_not_wrap(trainer: Trainer, finished: Finished) -> None:
    network, _, _ = finished
    cold = trainer.data.events.numpy()[:, :, COLD]
    assert cold.max() <= COLD_LIMIT
    quantize = network.steps[0]
    assert isinstance(quantize, Quantize)
    alive = (quantize.k + quantize.i + quantize.f > 0)[:, COLD, 0]
    assert alive.any()
    assert (quantize.i[:, COLD, 0][alive] == 10).all()
    # One region at 1023 counts: as arithmetic without an end of the range gives it.
    hot = np.zeros((252, 18, 14, 1))
    hot.reshape(252, 252)[np.arange(252), np.arange(252)] = 1023
    endless = np.floor(hot * 2.0**quantize.f) / 2.0**quantize.f
    pruned = quantize.k + quantize.i + quantize.f <= 0
    assert (quantize(hot) == np.where(pruned, 0, endless)).all()
    wide = Quantize(quantize.k, np.where(pruned, quantize.i, 16), quantize.f, "SAT", quantize.rounding)
    unbounded = QuantizedNetwork(network.input_shape, (wide, *network.steps[1:]))
    assert (network.predict(hot) == unbounded.predict(hot)).all()
    keras_scores = trainer.model(hot.astype(np.float32), training=False)[:, 0]
    assert (np.asarray(keras_scores) == network.predict(hot)).all()


# ---- the graph itself ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_trainer(train_part: Part, recipe: Recipe) -> Trainer:
    """A student of one layer more, on 96 events and another loss."""
    events = np.concatenate([train_part.zero_bias[:80], train_part.exposure["uniform"][:16]])
    data = TrainingData.load(events, anomaly(events), 80, events[:10])
    changes = {
        "student": {"family": "cicada-v1", "hidden": 3},
        "training": {"batch": 16, "loss": "mse", "exposure_fraction": 0.8},
    }
    return Trainer(Recipe.model_validate(changes), data)


def test_an_epoch_is_adam_on_loss_and_bits(small_trainer: Trainer) -> None:
    """Three steps of the compiled epoch against the same three, one after another, in Keras."""
    trainer = small_trainer
    order = order_of(trainer, 5, 0)[: 3 * trainer.batch]
    beta, rate = 1e-4, 1e-2
    trainer.start(START, 5)
    begun = variables(trainer)
    loss = trainer.train_epoch(order, rate, beta)
    compiled = trainer.state()

    trainer.start(START, 5)
    assert differing({k: v for k, v in begun.items() if "beta" not in k}, _without_beta(trainer)) == []
    for layer in trainer.layers:
        layer._beta.assign(beta)
    model, optimizer, losses = trainer.model, keras.optimizers.Adam(rate), []
    for index in np.split(order, 3):
        x = images(trainer)[index]
        with tf.GradientTape() as tape:
            error = model(x, training=True)[:, 0] - trainer.data.targets.numpy()[index]
            losses.append(tf.reduce_mean(tf.square(error)))
            objective = losses[-1] + tf.add_n(model.losses)
        gradients = tape.gradient(objective, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
    assert loss == pytest.approx(float(np.mean(losses)), rel=1e-4)
    for variable, ours in zip(model.weights, compiled, strict=True):
        if not variable.path.endswith("/ebops"):
            np.testing.assert_allclose(ours, variable.numpy(), rtol=1e-3, atol=1e-3, err_msg=variable.path)


def _without_beta(trainer: Trainer) -> dict[str, NDArray[Any]]:
    return {path: value for path, value in variables(trainer).items() if "beta" not in path}


def test_exposure_may_outnumber_zero_bias(small_trainer: Trainer) -> None:
    order = order_of(small_trainer, 5, 0, fraction=0.8)
    assert len(order) == 400 > 2 * small_trainer.data.events.shape[0] + small_trainer.batch
    small_trainer.start(START, 5)
    first, last = (small_trainer.train_epoch(order, 1e-2, 1e-6) for _ in range(2))
    assert last < first


def test_a_graph_is_shared_by_all_that_differs_in_variables() -> None:
    def key(**changes: Any) -> GraphKey:
        return GraphKey.of(Recipe.model_validate(changes))

    shared = [
        {"training": {"epochs": 3}},
        {"training": {"learning_rate": 1e-4, "restarts": 4}},
        {"training": {"beta": {"final": 1e-2}}},
        {"training": {"exposure_fraction": 0.4}},
        {"quantization": {"weights": {"bits": 3, "integer_bits": 0}}},
        {"quantization": {"data": {"fractional_bits": 2, "integer_bits": 5}}},
    ]
    assert {key(**changes) for changes in shared} == {key()}
    others = [
        {"training": {"batch": 64}},
        {"training": {"loss": "mse"}},
        {"student": {"hidden": 15}},
        {"student": {"family": "cicada-v1"}},
        {"student": {"input_clip": 64}},
        *({"quantization": {"weights": {"granularity": x}}} for x in ("channel", "layer")),
        *({"quantization": {"data": {"granularity": x}}} for x in ("channel", "layer")),
        *({"quantization": {x: {"overflow": "SAT"}}} for x in ("weights", "data")),
        *({"quantization": {x: {"rounding": "TRN"}}} for x in ("weights", "data")),
    ]
    keys = {key(**changes) for changes in others}
    assert len(keys) == len(others)
    assert key() not in keys


def test_a_trial_begins_at_the_usual_score(trainer: Trainer) -> None:
    trainer.start(START, 3)
    zero_bias = trainer.data.targets.numpy()[: trainer.data.zero_bias]
    bias = hgq.quantized_layers(trainer.model)[-1].bias.numpy()
    assert bias == pytest.approx([zero_bias.mean()], rel=1e-5)
    assert all((v.numpy() == 0).all() for v in trainer.optimizer.variables)


def test_padding_leaves_no_trace(trainer: Trainer, validation_part: Part) -> None:
    count = len(all_events(validation_part))
    assert count % FORWARD_BATCH
    state: State = trainer.state()
    assert trainer.measure()[0].shape == (count,)
    assert len(trainer.state()) == len(state)
