"""The graph of a Keras network: consumers and producers of outputs, and rebuilding with changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

# Training-only layers: the identity at inference.
TRAINING_ONLY = (
    keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise,
    keras.layers.GaussianDropout, keras.layers.ActivityRegularization,
)  # fmt: skip


def functional(model: Any) -> Any:
    """*model* with a graph to traverse: a Sequential network's layers are called one after another."""
    return keras.Model(_bare(model.inputs), _bare(model.outputs), name=model.name)


def networks(model: Any) -> Iterator[Any]:
    """*model* and each network nested in it, each with a graph."""
    model = functional(model)
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from networks(layer)


def consumers(model: Any) -> dict[str, list[Any]]:
    """Consumers of each layer of *model* (by name), in graph order.

    A layer that is an output of the network is listed as its own last consumer.
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
    """Producers of the inputs of each layer of *model* (by name)."""
    found: dict[str, list[Any]] = {layer.name: [] for layer in model.operations}
    for node in _nodes(model):
        for tensor in node.input_tensors:
            found.setdefault(node.operation.name, []).append(tensor._keras_history.operation)
    return found


def rebuilt(model: Any, call: Callable[..., Any], begin: Callable[[Any], Any] = lambda tensor: tensor) -> Any:
    """A new network: *call* (layer, new inputs) returns each layer's new output, in graph order.

    *begin* returns the replacement of each input. Nested networks are flattened.
    """
    model = functional(model)
    inputs = [keras.Input(batch_shape=tensor.shape, name=tensor.name) for tensor in model.inputs]

    def walk(network: Any, given: list[Any]) -> list[Any]:
        def visit(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(layer, keras.Model):
                return _bare(walk(functional(layer), keras.tree.flatten(args)))
            return call(layer, *args, **kwargs)

        # Used by keras.models.clone_model too, but that public function stops at nested networks.
        outputs = network._run_through_graph(given, operation_fn=lambda layer: layer, call_fn=visit)
        return list(keras.tree.flatten(outputs))

    outputs = walk(model, [begin(tensor) for tensor in inputs])
    return keras.Model(_bare(inputs), _bare(outputs), name=model.name)


def copied(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The output of a copy of *layer* with the same weights."""
    kwargs.pop("training", None)
    if not isinstance(layer, keras.layers.Layer):
        return layer(*args, **kwargs)  # a stateless operation such as keras.ops.add
    copy = type(layer).from_config(layer.get_config())
    output = copy(*args, **kwargs)
    copy.set_weights(layer.get_weights())
    return output


def _bare(tensors: list[Any]) -> Any:
    """A single tensor instead of a list of one: Keras warns if they are mixed."""
    return tensors[0] if len(tensors) == 1 else tensors


def _nodes(model: Any) -> list[Any]:
    """Each use of a layer in *model*, in graph order."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]
