"""Names of a device file's tensors: the converter's are long, and not for reading."""

from __future__ import annotations

import re


def layer_of(name: str) -> str:
    """A layer's name from its tensor's; empty if there is none. The last number is the converter's."""
    return re.sub(r"_\d+$", "", _place(name)[0])


def shortened(content: bytes) -> bytes:
    """The TFLite file *content* with short names for all tensors but inputs and outputs, which stay.

    They are a kilobyte instead of six or more; nothing at run time reads them.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for graph in model.subgraphs:
        taken: set[str] = set()
        kept = {*graph.inputs, *graph.outputs}
        for number, tensor in enumerate(graph.tensors):
            layer, op = _place((tensor.name or b"").decode(errors="replace"))
            if number in kept or not layer:
                continue
            name = f"{layer}/{op}"
            if name in taken:  # some readers of TFLite files need unique names
                name = f"{name}:{number}"
            taken.add(name)
            tensor.name = name.encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _place(name: str) -> tuple[str, str]:
    """Layer and op of a tensor; empty if *name* has none.

    ``functional_1/net_1/re_lu_1/Relu;functional_1/net_1/conv2d_1/convolution`` is two fused layers; the one
    that computes is returned.
    """
    parts = [part.split("/") for part in name.split(";") if "/" in part]
    computing = [part for part in parts if re.search(r"convolution|depthwise|MatMul", part[-1])]
    others = [part for part in parts if not part[-1].startswith("Relu")]
    layer, op = next(iter(computing or others or parts), ["", ""])[-2:]
    return layer, op
