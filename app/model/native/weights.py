"""What the kernel needs of a package: weights.safetensors, in which the export names each weight by its role.

docs/quantisation.md lists the roles. The file is not believed: whatever the kernel relies on is checked here, types and
shapes above all, and what differs is left to ONNX Runtime.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from safetensors import SafetensorError, safe_open

from app.model.files import faults
from app.model.package import WEIGHTS, Package

Int8Array = npt.NDArray[np.int8]
FloatArray = npt.NDArray[np.float32]

HEAD_WIDTHS = (32, 64)
PANEL = 64
_INT8, _FLOAT32 = "I8", "F32"
"""What the format calls them."""


class Unsupported(Exception):
    """Why the kernel can't run this package, or not here; ONNX Runtime can."""


class Network(BaseModel):
    """Sizes of the network, and what else its arithmetic depends on: the key `network` of the file's metadata."""

    model_config = ConfigDict(frozen=True)

    architecture: Literal["distilbert"]
    scheme: Literal["int8, dynamic per token"]
    """How it is quantised, zero points included (docs/quantisation.md)."""
    gelu: Literal["erf", "tanh"]
    epsilon: float = Field(gt=0, lt=1)
    """What LayerNorm adds to the variance."""
    hidden: PositiveInt
    inner: PositiveInt
    heads: PositiveInt
    layers: PositiveInt
    vocabulary: PositiveInt
    positions: PositiveInt
    labels: PositiveInt


@dataclass(frozen=True)
class LinearWeights:
    """y = x @ (integers * scales) + bias."""

    integers: Int8Array
    """(inputs, outputs)"""
    scales: FloatArray
    """(outputs,)"""
    bias: FloatArray
    """(outputs,)"""


@dataclass(frozen=True)
class Embedding:
    """Rows of a table, each with its scale."""

    integers: Int8Array
    """(rows, hidden)"""
    scales: FloatArray
    """(rows,)"""


class Weights:
    """The tensors of a file, read when they are asked for.

    Raises Unsupported, when it is opened or asked, for a file that can't be read, a network that the kernel does not
    have, and a tensor that is missing, of another type or shape than the network's, or has values that are not finite.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: Any = safe_open(path, framework="numpy")
            metadata = self._file.metadata() or {}  # type: ignore[no-untyped-call]
            self.network = Network.model_validate_json(metadata.get("network", ""))
        except (OSError, SafetensorError) as exc:
            raise Unsupported(f"{path} can't be read: {exc}") from exc
        except ValidationError as exc:
            raise Unsupported(f"{path.name} holds no network that the kernel has: {faults(exc, 'network')}") from exc
        _check_widths(self.network)

    @classmethod
    def of(cls, package: Package) -> "Weights":
        """A package's; raises Unsupported also when they do not fit its manifest."""
        if package.weights_path is None:
            raise Unsupported(f"its manifest names no {WEIGHTS}: it is no DistilBERT, or of an older export")
        weights, manifest = cls(package.weights_path), package.manifest
        if weights.network.labels != len(manifest.labels):
            raise Unsupported(f"it has {weights.network.labels} logits for {len(manifest.labels)} labels")
        if weights.network.positions < manifest.max_tokens:
            raise Unsupported(f"it has {weights.network.positions} positions for {manifest.max_tokens} tokens")
        return weights

    def embedding(self, role: str, rows: int) -> Embedding:
        """A table of word or position vectors."""
        integers = self._tensor(f"{role}.weight", _INT8, rows, self.network.hidden)
        return Embedding(integers, self._tensor(f"{role}.scale", _FLOAT32, rows))

    def norm(self, role: str) -> tuple[FloatArray, FloatArray]:
        """Weight and bias (hidden,) of a LayerNorm."""
        hidden = self.network.hidden
        return self._tensor(f"{role}.weight", _FLOAT32, hidden), self._tensor(f"{role}.bias", _FLOAT32, hidden)

    def dense(self, role: str, outputs: int) -> tuple[FloatArray, FloatArray]:
        """Weight (outputs, hidden) and bias (outputs,) of a float32 layer."""
        weight = self._tensor(f"{role}.weight", _FLOAT32, outputs, self.network.hidden)
        return weight, self._tensor(f"{role}.bias", _FLOAT32, outputs)

    def linear(self, role: str, inputs: int, outputs: int) -> LinearWeights:
        """A quantised layer. Keys have no bias: it adds the same to all scores of a query, and softmax takes it out."""
        integers = self._tensor(f"{role}.weight", _INT8, inputs, outputs)
        scales = self._tensor(f"{role}.scale", _FLOAT32, outputs)
        if role.endswith(".key"):
            return LinearWeights(integers, scales, np.zeros(outputs, np.float32))
        return LinearWeights(integers, scales, self._tensor(f"{role}.bias", _FLOAT32, outputs))

    def _tensor(self, role: str, dtype: str, *shape: int) -> npt.NDArray[Any]:
        """The tensor of that name, which must have this type and shape. They are compared before it is read."""
        try:
            header = self._file.get_slice(role)
            found = header.get_dtype(), tuple(header.get_shape())
            if found != (dtype, shape):
                raise Unsupported(f"{role} should be {dtype}{list(shape)}, found {found[0]}{list(found[1])}")
            tensor: npt.NDArray[Any] = self._file.get_tensor(role)
        except SafetensorError as exc:
            raise Unsupported(f"{role} can't be read: {exc}") from exc
        if not np.isfinite(tensor).all():
            raise Unsupported(f"{role} holds values that are not finite")
        return tensor


def _check_widths(network: Network) -> None:
    hidden, inner, heads = network.hidden, network.inner, network.heads
    if hidden % PANEL or inner % PANEL or hidden not in [width * heads for width in HEAD_WIDTHS]:
        raise Unsupported(
            f"widths of {hidden} and {inner} with {heads} heads: the kernel has multiples of {PANEL}, and heads of "
            f"{HEAD_WIDTHS} columns"
        )
