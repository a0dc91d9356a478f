"""A file model.onnx, read without the `onnx` package, which would be 20 MB in the image for a few fields.

ONNX is protobuf: https://protobuf.dev/programming-guides/encoding explains the bytes, onnx.proto3
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3) the numbers below.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_FLOAT = 1, 2
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 8, 9
_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class NotOnnx(ValueError):
    """The bytes are no ONNX model, or one that is cut off."""


class Node(NamedTuple):
    """One operator."""

    op_type: str
    inputs: list[str]
    outputs: list[str]
    floats: dict[str, float]
    """Those of its attributes that are a single float."""


class Graph(NamedTuple):
    """Nodes in their order; constant tensors by name, as views of the file's bytes."""

    nodes: list[Node]
    tensors: dict[str, Array]


def read_graph(path: Path) -> Graph:
    """Read the whole file. Raises OSError, or NotOnnx for anything but an ONNX model.

    Tensors of other types than float32, int8, uint8, int32 and int64, or not stored as raw bytes, are left out.
    """
    try:
        graph = dict(_fields(memoryview(path.read_bytes())))[_MODEL_GRAPH]
        nodes, tensors = [], {}
        for number, value in _fields(graph):
            if number == _GRAPH_NODE:
                nodes.append(_node(value))
            elif number == _GRAPH_INITIALIZER and (named := _tensor(value)):
                tensors[named[0]] = named[1]
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as exc:
        raise NotOnnx(f"{path} is no ONNX model: {exc}") from exc
    return Graph(nodes, tensors)


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The (number, value) of each field of a message; values are integers or the bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(data, at)
        else:
            size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[wire_type]
        if at + size > len(data):
            raise ValueError("it is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, seven bits a byte, and where it ends."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:  # noqa: PLR2004 - the highest bit says that more follow
            return value, at + place + 1
    raise ValueError("a number has no end")


def _node(data: memoryview) -> Node:
    node = Node("", [], [], {})
    for number, value in _fields(data):
        if number == _NODE_OP_TYPE:
            node = node._replace(op_type=_text(value))
        elif number == _NODE_INPUT:
            node.inputs.append(_text(value))
        elif number == _NODE_OUTPUT:
            node.outputs.append(_text(value))
        elif number == _NODE_ATTRIBUTE:
            attribute = dict(_fields(value))
            if _ATTRIBUTE_FLOAT in attribute:
                (node.floats[_text(attribute[_ATTRIBUTE_NAME])],) = struct.unpack("<f", attribute[_ATTRIBUTE_FLOAT])
    return node


def _tensor(data: memoryview) -> tuple[str, Array] | None:
    dims: list[int] = []
    found: dict[int, Any] = {}
    for number, value in _fields(data):
        if number != _TENSOR_DIMS:
            found[number] = value
        elif isinstance(value, int):
            dims.append(value)
        else:  # packed: one after the other
            at = 0
            while at < len(value):
                dim, at = _varint(value, at)
                dims.append(dim)
    dtype = _DTYPES.get(found[_TENSOR_DATA_TYPE])
    if dtype is None or _TENSOR_RAW_DATA not in found:
        return None
    return _text(found[_TENSOR_NAME]), np.frombuffer(found[_TENSOR_RAW_DATA], dtype).reshape(dims)


def _text(value: memoryview) -> str:
    return bytes(value).decode()
