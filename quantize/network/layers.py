"""The graph of a Keras network: who takes whose output, and the same network once more with changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

# What only training knows: at inference these give back what they are given.
TRAINING_ONLY = (
    keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise,
    keras.layers.GaussianDropout, keras.layers.ActivityRegularization,
)  # fmt: skip


def functional(model: Any) -> Any:
    """*model* with a graph that can be walked: a Sequential network's layers, called one after the other."""
    return keras.Model(_bare(model.inputs), _bare(model.outputs), name=model.name)


def networks(model: Any) -> Iterator[Any]:
    """*model* and each network that it holds as a layer, each with a graph."""
    model = functional(model)
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from networks(layer)


def consumers(model: Any) -> dict[str, list[Any]]:
    """For each layer of *model* (by name) those that take its output, in the order of the graph.

    A layer whose output leaves the network is also listed under its own name, as its last consumer.
    """
    found: dict[str, list[Any]] = {layer.name: [] for layer in model.operations}
    for node in _nodes(model):
        for tensor in node.input_tensors:
            found.setdefault(tensor._keras_history.operation.name, []).append(node.operation)
    for tensor in model.outputs:
        layer = tensor._keras_history.operation
        found.setdefault(layer.name, []).append(layer)
    return found


def producers(model: Any) -> dict[str, list[Any]]:
    """For each layer of *model* (by name) those whose output it takes."""
    found: dict[str, list[Any]] = {layer.name: [] for layer in model.operations}
    for node in _nodes(model):
        for tensor in node.input_tensors:
            found.setdefault(node.operation.name, []).append(tensor._keras_history.operation)
    return found


def rebuilt(model: Any, call: Callable[..., Any], begin: Callable[[Any], Any] = lambda tensor: tensor) -> Any:
    """A new network: *call* (layer, its new inputs) gives the new output of each layer, inputs first.

    *begin* gives what the first layers take in place of each input. Networks within the network are
    walked too, so that what comes out has none.
    """
    model = functional(model)
    inputs = [keras.Input(batch_shape=tensor.shape, name=tensor.name) for tensor in model.inputs]

    def walk(network: Any, given: list[Any]) -> list[Any]:
        def visit(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(layer, keras.Model):
                return _bare(walk(functional(layer), keras.tree.flatten(args)))
            return call(layer, *args, **kwargs)

        # What keras.models.clone_model itself goes through; the public function stops at inner networks.
        outputs = network._run_through_graph(given, operation_fn=lambda layer: layer, call_fn=visit)
        return list(keras.tree.flatten(outputs))

    outputs = walk(model, [begin(tensor) for tensor in inputs])
    return keras.Model(_bare(inputs), _bare(outputs), name=model.name)


def copied(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The output of a layer like *layer*, with weights of its own that are the same."""
    kwargs.pop("training", None)
    if not isinstance(layer, keras.layers.Layer):
        return layer(*args, **kwargs)  # an operation such as keras.ops.add: it has no state
    copy = type(layer).from_config(layer.get_config())
    output = copy(*args, **kwargs)
    copy.set_weights(layer.get_weights())
    return output


def _bare(tensors: list[Any]) -> Any:
    """A network of one input takes that, not a list of one: Keras warns where the two are mixed."""
    return tensors[0] if len(tensors) == 1 else tensors


def _nodes(model: Any) -> list[Any]:
    """Each use of a layer in *model*, inputs first."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]
