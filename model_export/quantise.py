"""fp32 ONNX -> int8 ONNX whose scores depend on nothing but the text.

Every token vector that enters a linear layer gets a scale of its own at run time, so neither batchmates nor padding can
change its integers; and no range is calibrated, so nothing is ever clipped. docs/quantisation.md compares alternatives.

    x (batch, tokens, K) float32
    scale = max|x| / 127 over K                    (batch, tokens, 1)
    y = scale * ((round(x / scale) + 128) as uint8, zero point 128) @ (int8 weights, one scale a column)
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, TensorShapeProto, helper, numpy_helper
from onnxruntime.transformers.onnx_model import OnnxModel

from model_export.errors import ENCODERS, ExportError

SCHEME = "int8, dynamic per token"
"""Stands for every number below: the native engine computes what this name says, so other numbers need another name."""

WEIGHT_LIMIT = 64
"""Largest |integer| of a weight: CPUs without VNNI add two uint8 x int8 products in int16, and 2 * 255 * 64 fits."""

EMBEDDING_LIMIT = 127
"""Embedding rows are looked up, not multiplied, so they may use the whole of int8."""

MIN_TABLE_ROWS = 64
"""Smaller tables (token types) stay float32: they weigh nothing."""

FloatArray = npt.NDArray[np.float32]

_MICROSOFT = "com.microsoft"
_MATRIX = _POOLED = 2  # dimensions; of token vectors 3
_UNIT = "quantise/one"
_LAST_AXIS = "quantise/last_axis"


@dataclass(frozen=True)
class _Range:
    """How a token vector maps to uint8: scale = max(peak / positive_levels, least_scale), 0.0 at `zero_point`."""

    zero_point: int
    positive_levels: int
    least_scale: float
    symmetric: bool


_ANY = _Range(zero_point=128, positive_levels=127, least_scale=0.0, symmetric=True)
# GELU is never below -0.1701, so most levels go to positive values: 32 steps of 0.1701 / 32 reach down to it.
_GELU = _Range(zero_point=32, positive_levels=223, least_scale=0.1701 / 32, symmetric=False)


def quantise(source: Path, target: Path) -> dict[str, object]:
    """Write `source` (fp32, from `optimise`) to `target` with int8 linear layers and embeddings; return what was done.

    Linear layers on pooled vectors (Gemm: the classifier head) stay float32. Raises ExportError when the graph has
    nothing to quantise.
    """
    model = OnnxModel(onnx.shape_inference.infer_shapes(onnx.load(source)))
    _approximate_gelu(model)
    graph = _Graph(model)
    tables = sum(graph.quantise_table(gather) for gather in graph.model.get_nodes_by_op_type("Gather"))
    layers = sum(graph.quantise_layer(matmul) for matmul in graph.model.get_nodes_by_op_type("MatMul"))
    if not layers:
        raise ExportError(f"{source.name} has no linear layer (MatMul with constant weights) to quantise; {ENCODERS}")
    graph.save(target)
    return {
        "scheme": SCHEME,
        "activations": "uint8, one scale a token vector, computed at run time",
        "weights": f"int8 within +-{WEIGHT_LIMIT} (7 bits: exact without VNNI), one scale an output column",
        "embeddings": "int8, one scale a row",
        "head": "float32",
        "linear_layers": layers,
        "embedding_tables": tables,
        "calibration": None,
    }


def _approximate_gelu(model: OnnxModel) -> None:
    """Bias and GELU by tanh in one node: off by at most 0.0005, a tenth of the smallest step of its int8 form."""
    producers, consumers = model.output_name_to_node(), model.input_name_to_nodes()
    for gelu in model.get_nodes_by_op_type("Gelu"):
        add = producers.get(gelu.input[0])
        if add is None or add.op_type != "Add" or len(consumers[add.output[0]]) != 1:
            continue
        if model.get_initializer(add.input[0]) is None:
            continue
        model.remove_nodes([add, gelu])
        inputs = [add.input[1], add.input[0]]
        model.add_node(helper.make_node("FastGelu", inputs, gelu.output, gelu.name, domain=_MICROSOFT))


def to_int8(weights: FloatArray, limit: int, axis: int) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Integers within +-limit, and scales with `axis` kept at length 1: integers * scales is close to `weights`."""
    peaks = np.abs(weights).max(axis=axis, keepdims=True)
    scales = np.where(peaks == 0, 1, peaks / limit).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales


@dataclass
class _Graph:
    """The graph under change, and which inputs are quantised already: query, key and value share theirs."""

    model: OnnxModel
    quantised: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Float tensor -> names of its uint8 form and of its scales."""

    def __post_init__(self) -> None:
        self.shapes = {info.name: info.type.tensor_type.shape for info in self.model.model.graph.value_info}
        self.producers = self.model.output_name_to_node()
        self.consumers = self.model.input_name_to_nodes()
        self.constants: set[str] = set()
        self.constant(_UNIT, np.array(1, np.float32))
        self.constant(_LAST_AXIS, np.array([-1]))
        domains = {opset.domain for opset in self.model.model.opset_import}
        if _MICROSOFT not in domains:
            self.model.model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))

    def matrix(self, name: str) -> FloatArray | None:
        """The constant float32 matrix of that name, if it is one."""
        tensor = self.model.get_initializer(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != _MATRIX:
            return None
        matrix: FloatArray = numpy_helper.to_array(tensor)
        return matrix

    def dims(self, name: str) -> list[TensorShapeProto.Dimension]:
        """What shape inference found out; empty when that was nothing."""
        return list(self.shapes[name].dim) if name in self.shapes else []

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        if name not in self.constants:
            self.model.add_initializer(numpy_helper.from_array(value, name))
            self.constants.add(name)
        return name

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.model.add_node(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def quantise_table(self, gather: NodeProto) -> bool:
        """Turn table[indices] into int8 table[indices] * scales[indices]; false when that would save nothing."""
        (table, indices), output = gather.input, gather.output[0]
        matrix = self.matrix(table)
        if matrix is None or len(matrix) < MIN_TABLE_ROWS:
            return False
        integers, scales = to_int8(matrix, EMBEDDING_LIMIT, axis=1)
        self.model.remove_node(gather)
        rows = self.add("Gather", [self.constant(f"{table}/int8", integers), indices], f"{output}/int8")
        row_scales = self.add("Gather", [self.constant(f"{table}/scales", scales), indices], f"{output}/scales")
        self.add("Mul", [self.add("Cast", [rows], f"{output}/float", to=TensorProto.FLOAT), row_scales], output)
        return True

    def quantise_layer(self, matmul: NodeProto) -> bool:
        """Turn x @ weights into scale(x) * (uint8 x @ int8 weights); false for pooled x and weights that vary."""
        (x, weights), output = matmul.input, matmul.output[0]
        matrix = self.matrix(weights)
        if matrix is None or len(self.dims(x)) == _POOLED:
            return False
        integers, scales = to_int8(matrix, WEIGHT_LIMIT, axis=0)
        x_range = _GELU if self.producers[x].op_type in {"Gelu", "FastGelu"} else _ANY
        x_uint8, x_scales = self.quantise_tokens(x, x_range, len(matrix))
        operands = [
            x_uint8,
            self.constant(f"{weights}/int8", integers),
            _UNIT,
            self.constant(f"{weights}/scales", scales[0]),
            self.constant(f"quantise/zero_{x_range.zero_point}", np.array(x_range.zero_point, np.uint8)),
        ]
        self.model.remove_node(matmul)
        product = self.add("MatMulIntegerToFloat", operands, f"{output}/unscaled", domain=_MICROSOFT)
        residual = self.residual(output, len(scales[0]))
        if residual is None:
            self.add("Mul", [product, x_scales], output)
        else:
            total = self.consumers[output][0]
            self.model.remove_node(total)
            self.add("GatedAdd", [residual, product, x_scales], total.output[0], domain=_MICROSOFT)
        return True

    def residual(self, product: str, width: int) -> str | None:
        """The other token vectors in product + residual, if that is all there is done with the product."""
        readers = self.consumers.get(product, [])
        if [(reader.op_type, len(reader.input)) for reader in readers] != [("Sum", 2)]:
            return None
        other = next(name for name in readers[0].input if name != product)
        return other if [dimension.dim_value for dimension in self.dims(other)[2:]] == [width] else None

    def quantise_tokens(self, x: str, x_range: _Range, width: int) -> tuple[str, str]:
        """The uint8 form of x (batch, tokens, width) and its scales (batch, tokens, 1)."""
        if x not in self.quantised:
            size = self.add("Abs", [x], f"{x}/abs") if x_range.symmetric else x
            peak = self.add("ReduceMax", [size, _LAST_AXIS], f"{x}/peak", keepdims=1)
            step = np.array(1 / x_range.positive_levels, np.float32)
            # A row of zeros has scale 0: whatever its integers, they are multiplied by 0 again.
            scales = self.add(
                "Mul", [peak, self.constant(f"quantise/step_{x_range.positive_levels}", step)], f"{x}/scales"
            )
            if x_range.least_scale:
                least = np.array(x_range.least_scale, np.float32)
                scales = self.add("Max", [scales, self.constant("quantise/least_scale", least)], f"{x}/bounded_scales")
            zeros = self.zero_points(x, scales, x_range.zero_point)
            integers = self.add("QuantizeLinear", [x, scales, zeros], f"{x}/uint8", axis=-1, block_size=width)
            self.quantised[x] = integers, scales
        return self.quantised[x]

    def zero_points(self, x: str, scales: str, zero_point: int) -> str:
        """As many zero points as scales, which QuantizeLinear wants; tensors with equally many tokens share them.

        Those are (batch, tokens) unless a size is a number: one token a text, or a table of relative positions.
        """
        fixed = "".join(f"_{axis}x{dim.dim_value}" for axis, dim in enumerate(self.dims(x)[:2]) if dim.dim_value)
        name = f"quantise/zeros_{zero_point}{fixed}"
        if name not in self.constants:
            self.constants.add(name)
            value = helper.make_tensor("value", TensorProto.UINT8, [1], [zero_point])
            self.add("ConstantOfShape", [self.add("Shape", [scales], f"{name}/shape")], name, value=value)
        return name

    def save(self, target: Path) -> None:
        self.model.prune_graph()
        self.model.topological_sort()
        del self.model.model.graph.value_info[:]
        onnx.save(self.model.model, target)
