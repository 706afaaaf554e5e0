"""The networks stay within what a device and its accelerator take."""

import pytest

from training.networks import NETWORKS, build

ALLOWED = {
    "InputLayer", "Rescaling", "Conv2D", "BatchNormalization", "ReLU", "Add",
    "GlobalAveragePooling2D", "Dropout", "Dense", "Softmax",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_holds_only_what_quantizes_everywhere(name: str) -> None:
    network = build(name, dropout=0.2)
    assert {type(layer).__name__ for layer in network.layers} <= ALLOWED
    assert all(layer.filters % 8 == 0 for layer in network.layers if type(layer).__name__ == "Conv2D")
    assert (network.input_shape, network.output_shape) == ((None, 48, 48, 1), (None, 7))


@pytest.mark.parametrize(("name", "parameters"), [("plain", 506_263), ("edge-s", 746_375)])
def test_a_network_has_the_size_that_is_told_of_it(name: str, parameters: int) -> None:
    assert build(name).count_params() == parameters
