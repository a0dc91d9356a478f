"""What the kernel needs of a package: DistilBERT's geometry, and its weights by their role.

Results of nodes are named by torch's module paths, so their nodes are found by name; constants are not, as torch merges
equal ones. Whatever the kernel relies on is checked here, shapes above all: what differs is left to ONNX Runtime.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import PackageError
from app.native.onnx_graph import Array, Node, NotOnnx, read_graph
from app.package import Package, check_file

Int8Array = npt.NDArray[np.int8]
FloatArray = npt.NDArray[np.float32]

GELUS = {"Gelu": 0, "BiasGelu": 0, "FastGelu": 1}
"""Operator -> index of GELUS in transformer.c: by erf, or by tanh."""
ZERO_POINT, GELU_ZERO_POINT = 128, 32
HEAD_WIDTHS = (32, 64)
CONFIG = "config.json"
PANEL = 64
SCHEME = "int8, dynamic per token"
_SIZES = {
    "hidden": "dim",
    "inner": "hidden_dim",
    "heads": "n_heads",
    "layers": "n_layers",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
}
"""Field of Geometry -> what config.json calls it."""
_LAYER = "/distilbert/transformer/layer."


class Unsupported(Exception):
    """Why the kernel can't run this package, or not here; ONNX Runtime can."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of the network."""

    hidden: int
    inner: int
    heads: int
    layers: int
    vocabulary: int
    positions: int
    labels: int


@dataclass(frozen=True)
class LinearWeights:
    """y = x @ (integers * scales) + bias, for x with this zero point."""

    integers: Int8Array
    """(inputs, outputs)"""
    scales: FloatArray
    """(outputs,)"""
    bias: FloatArray
    """(outputs,)"""
    zero_point: int


@dataclass(frozen=True)
class Embedding:
    """Rows of a table, each with its scale."""

    integers: Int8Array
    """(rows, hidden)"""
    scales: FloatArray
    """(rows,)"""


class Weights:
    """A package's weights. Raises Unsupported when it is not a DistilBERT that this project has exported."""

    def __init__(self, package: Package) -> None:
        self.geometry = _geometry(package)
        try:
            graph = read_graph(package.model_path)
        except (OSError, NotOnnx) as exc:
            raise Unsupported(str(exc)) from exc
        self._tensors = graph.tensors
        self._producers = {output: node for node in graph.nodes for output in node.outputs}
        self._consumers = {name: node for node in graph.nodes for name in node.inputs}  # of products, the only ones
        self.gelu: int = _only({GELUS[node.op_type] for node in graph.nodes if node.op_type in GELUS}, "kind of GELU")
        self.epsilon: float = _only(
            {node.floats.get("epsilon", 1e-5) for node in graph.nodes if node.op_type == "LayerNormalization"},
            "epsilon of its norms",
        )

    def embedding(self, name: str, rows: int) -> Embedding:
        """A table of word or position vectors."""
        table = f"distilbert.embeddings.{name}_embeddings.weight"
        integers = self._tensor(f"{table}/int8", np.int8, rows, self.geometry.hidden)
        return Embedding(integers, self._tensor(f"{table}/scales", np.float32, rows, 1)[:, 0])

    def embedding_norm(self) -> tuple[FloatArray, FloatArray]:
        """Weight and bias (hidden,) of the LayerNorm behind the embeddings."""
        return self._norm("/distilbert/embeddings/LayerNorm")

    def layer_norm(self, layer: int, name: str) -> tuple[FloatArray, FloatArray]:
        """Weight and bias (hidden,) of one of a layer's."""
        return self._norm(f"{_LAYER}{layer}/{name}")

    def dense(self, output: str, outputs: int) -> tuple[FloatArray, FloatArray]:
        """Weight (outputs, hidden) and bias (outputs,) of the float32 layer that makes `output`."""
        node = self._producer(output, "Gemm")
        weight = self._tensor(node.inputs[1], np.float32, outputs, self.geometry.hidden)
        return weight, self._tensor(node.inputs[2], np.float32, outputs)

    def linear(self, layer: int, name: str, inputs: int, outputs: int) -> LinearWeights:
        """A quantised layer, such as `attention/q_lin`. The keys' bias is zero: the export leaves it out."""
        product = f"{_LAYER}{layer}/{name}/MatMul_output_0/unscaled"
        node = self._producer(product, "MatMulIntegerToFloat")
        zero_point = GELU_ZERO_POINT if name == "ffn/lin2" else ZERO_POINT
        if node.inputs[4:] != [f"quantise/zero_{zero_point}"]:
            raise Unsupported(f"{product} should have the zero point {zero_point}, found {node.inputs[4:]}")
        return LinearWeights(
            self._tensor(node.inputs[1], np.int8, inputs, outputs),
            self._tensor(node.inputs[3], np.float32, outputs),
            np.zeros(outputs, np.float32) if name == "attention/k_lin" else self._bias(product, outputs),
            zero_point,
        )

    def _norm(self, name: str) -> tuple[FloatArray, FloatArray]:
        node = self._producer(f"{name}/LayerNormalization_output_0", "LayerNormalization")
        hidden = self.geometry.hidden
        return self._tensor(node.inputs[1], np.float32, hidden), self._tensor(node.inputs[2], np.float32, hidden)

    def _bias(self, product: str, outputs: int) -> FloatArray:
        """What is added to a product: behind its scale, or first to the residual that is added with it."""
        node = self._consumers.get(product)
        if node is not None and node.op_type == "Mul":
            node = self._consumers.get(node.outputs[0])
        elif node is not None and node.op_type == "GatedAdd":
            node = self._producers.get(node.inputs[0])
        constants = [name for name in node.inputs if name in self._tensors] if node is not None else []
        if len(constants) != 1:
            raise Unsupported(f"{product} should have one bias, found {constants}")
        return self._tensor(constants[0], np.float32, outputs)

    def _producer(self, output: str, op_type: str) -> Node:
        node = self._producers.get(output)
        if node is None or node.op_type != op_type:
            raise Unsupported(f"{output} should come from a {op_type}, found {node and node.op_type}")
        return node

    def _tensor(self, name: str, dtype: type[np.generic], *shape: int) -> Array:
        """A constant of the graph, which must have this type and shape."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.dtype != dtype or tensor.shape != shape:
            found = None if tensor is None else f"{tensor.dtype}{list(tensor.shape)}"
            raise Unsupported(f"{name} should be {np.dtype(dtype)}{list(shape)}, found {found}")
        return tensor


def _geometry(package: Package) -> Geometry:
    """From config.json, as transformers knows it."""
    if CONFIG not in package.manifest.files:
        raise Unsupported(f"its manifest names no {CONFIG}")
    try:
        check_file(package.folder / CONFIG, package.manifest.files[CONFIG])
        config: dict[str, Any] = json.loads((package.folder / CONFIG).read_text(encoding="utf-8"))
    except (PackageError, OSError, ValueError) as exc:
        raise Unsupported(f"{CONFIG}: {exc}") from exc
    kind = config.get("model_type")
    if kind != "distilbert" or config.get("activation") != "gelu":
        raise Unsupported(f"it is a {kind} with {config.get('activation')}, not a distilbert with gelu")
    if package.manifest.quantisation.get("scheme") != SCHEME:
        raise Unsupported(f"it is not quantised as {SCHEME!r}")
    sizes: dict[str, Any] = {field: config.get(name) for field, name in _SIZES.items()}
    if not all(isinstance(size, int) and size > 0 for size in sizes.values()):
        raise Unsupported(f"config.json: {', '.join(_SIZES.values())} should be positive integers, found {sizes}")
    geometry = Geometry(**sizes, labels=len(package.manifest.labels))
    if (
        geometry.hidden % PANEL
        or geometry.inner % PANEL
        or geometry.hidden not in [width * geometry.heads for width in HEAD_WIDTHS]
    ):
        raise Unsupported(
            f"widths of {geometry.hidden} and {geometry.inner} with {geometry.heads} heads: the kernel has multiples "
            f"of {PANEL}, and heads of {HEAD_WIDTHS} columns"
        )
    if package.manifest.max_tokens > geometry.positions:
        raise Unsupported(f"it has {geometry.positions} positions for {package.manifest.max_tokens} tokens")
    return geometry


def _only(values: set[Any], what: str) -> Any:
    if len(values) != 1:
        raise Unsupported(f"it should have one {what}, found {sorted(values)}")
    return values.pop()
