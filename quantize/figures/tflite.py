"""Reads TFLite files: tensors, quantization and ops, without running the file.

The flatbuffer is read in Python with the interpreter's schema, so a damaged file is at worst rejected; the
native parser checks less and may crash the process.
"""

from __future__ import annotations

import struct
from typing import Any

from edge.types import EdgeError
from quantize.figures.graph import Graph, Op, Tensor

IDENTIFIER = b"TFL3"  # at byte 4
# Raised by the schema's accessors and numpy on invalid offsets and numbers.
_DAMAGES = (struct.error, ValueError, TypeError, LookupError, AttributeError, OverflowError)


def read(content: bytes) -> Graph:
    """The graph in a TFLite file's *content*; EdgeError without the file's name if damaged."""
    if len(content) < 8:
        raise EdgeError(f"{len(content)} bytes are not a TFLite file")
    if content[4:8] != IDENTIFIER:
        raise EdgeError("not a TFLite file: no TFL3 at byte 4")
    try:
        return _graph(content)
    except EdgeError:
        raise
    except _DAMAGES as error:
        raise EdgeError("damaged or truncated: its tables point outside the file") from error


def _graph(content: bytes) -> Graph:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    if model.SubgraphsLength() != 1:
        raise EdgeError(f"{model.SubgraphsLength()} subgraphs; expected one")
    subgraph = model.Subgraphs(0)
    limit = len(content)
    dtypes = {number: name.lower() for number, name in _names(schema.TensorType).items()}
    operators = _names(schema.BuiltinOperator)
    codes = []
    for index in range(_within(model.OperatorCodesLength(), limit)):
        code = model.OperatorCodes(index)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = operators[number]
        if name == "CUSTOM":
            name = f"CUSTOM {(code.CustomCode() or b'').decode(errors='replace')}"
        codes.append((name, code.Version()))
    tensors = tuple(
        _tensor(content, model, subgraph.Tensors(index), dtypes)
        for index in range(_within(subgraph.TensorsLength(), limit))
    )
    ops = []
    for index in range(_within(subgraph.OperatorsLength(), limit)):
        operator = subgraph.Operators(index)
        name, version = codes[operator.OpcodeIndex()]
        ops.append(Op(
            name,
            _indices(operator.Inputs, operator.InputsLength(), tensors, limit),
            _indices(operator.Outputs, operator.OutputsLength(), tensors, limit),
            version,
            _options(schema, operator),
        ))  # fmt: skip
    return Graph(
        tensors, tuple(ops),
        _indices(subgraph.Inputs, subgraph.InputsLength(), tensors, limit),
        _indices(subgraph.Outputs, subgraph.OutputsLength(), tensors, limit),
    )  # fmt: skip


def _tensor(content: bytes, model: Any, tensor: Any, dtypes: dict[int, str]) -> Tensor:
    limit = len(content)
    # shape_signature has -1 where shape has a placeholder of 1.
    signature, length = tensor.ShapeSignature, tensor.ShapeSignatureLength()
    if not length:
        signature, length = tensor.Shape, tensor.ShapeLength()
    shape = tuple(int(signature(index)) for index in range(_within(length, limit)))
    if any(size < -1 for size in shape):
        raise EdgeError(f"damaged: a tensor of shape {shape}")
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantization = tensor.Quantization()
    if quantization is not None:
        scales = tuple(
            float(quantization.Scale(index)) for index in range(_within(quantization.ScaleLength(), limit))
        )
        zero_points = tuple(
            int(quantization.ZeroPoint(index))
            for index in range(_within(quantization.ZeroPointLength(), limit))
        )
    data = b""
    if tensor.Buffer() >= model.BuffersLength():
        raise EdgeError("damaged: a tensor's buffer is missing")
    buffer = model.Buffers(tensor.Buffer())
    constant = tensor.Buffer() > 0 and (buffer.DataLength() > 0 or buffer.Offset() > 1)
    if buffer.DataLength() > 0:
        array = buffer.DataAsNumpy()
        if len(array) != buffer.DataLength():
            raise EdgeError("truncated: a tensor's data are missing")
        data = bytes(array)
    name = (tensor.Name() or b"").decode(errors="replace")
    return Tensor(name, shape, dtypes[tensor.Type()], scales, zero_points, constant, data)


def _options(schema: Any, operator: Any) -> dict[str, Any]:
    """The op's options by name, without lists; empty for ops without options."""
    name = _names(schema.BuiltinOptions).get(operator.BuiltinOptionsType(), "NONE")
    table = operator.BuiltinOptions()
    if name == "NONE" or table is None:
        return {}
    options = getattr(schema, name)()
    options.Init(table.Bytes, table.Pos)
    found = {}
    for field in vars(getattr(schema, f"{name}T")()):
        method = field[0].upper() + field[1:]
        if not hasattr(options, f"{method}Length"):
            found[field] = getattr(options, method)()
    return found


def _indices(read_one: Any, length: int, tensors: tuple[Tensor, ...], limit: int) -> tuple[int, ...]:
    indices = tuple(int(read_one(index)) for index in range(_within(length, limit)))
    if any(not -1 <= index < len(tensors) for index in indices):
        raise EdgeError("damaged: an op refers to a missing tensor")
    return indices


def _within(length: int, limit: int) -> int:
    """*length* of a list, checked: in a damaged file it may exceed the file's size."""
    if 4 * length > limit:
        raise EdgeError("damaged: a list is longer than the file")
    return length


def _names(enumeration: Any) -> dict[int, str]:
    """Number -> name in one of the schema's enumerations."""
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}
