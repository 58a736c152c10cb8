"""What each layer of a student adds to its adder graph."""

from objectives.costs.adder_graph import cumulative_lut
from objectives.students.layers import layers_of
from objectives.students.network import QuantizedNetwork


def lut_by_layer(network: QuantizedNetwork) -> dict[str, float]:
    """Return the estimated LUTs of the input (clipping) and of each layer, by name.

    A layer's figure holds its sums, its ReLU and the rounding of its outputs for the next layer.
    The figures sum to the estimate of the whole student.
    """
    layers = layers_of(network)
    totals = cumulative_lut(network, [layers[0].first, *(layer.last + 1 for layer in layers)])
    names = [layer.name for layer in layers]
    added = {name: after - before for name, before, after in zip(names, totals, totals[1:], strict=False)}
    return {"input": totals[0], **added}
