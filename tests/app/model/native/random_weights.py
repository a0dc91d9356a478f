"""A network with random weights in a file, and the same arithmetic in NumPy: what the kernel is held against."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from app.model.native.weights import FloatArray, LinearWeights, Weights

Array = npt.NDArray[np.float64]
Tensors = dict[str, npt.NDArray[Any]]
erf = np.vectorize(math.erf)


def describe(**changes: object) -> dict[str, object]:
    """A small network that the kernel has, as the metadata of its file says it, with some fields changed."""
    sizes = {"hidden": 64, "inner": 128, "heads": 2, "layers": 2, "vocabulary": 50, "positions": 70, "labels": 3}
    facts = {"architecture": "distilbert", "scheme": "int8, dynamic per token", "gelu": "erf", "epsilon": 1e-12}
    return facts | sizes | changes


def random_tensors(network: dict[str, Any], seed: int = 0) -> Tensors:
    """A tensor for each role."""
    rng = np.random.default_rng(seed)
    hidden, inner = network["hidden"], network["inner"]
    tensors: Tensors = {}

    def floats(role: str, *shape: int, around: float = 0.0) -> None:
        tensors[role] = rng.normal(around, 0.3, shape).astype(np.float32)

    def dense(role: str, outputs: int) -> None:
        floats(f"{role}.weight", outputs, hidden)
        floats(f"{role}.bias", outputs)

    def norm(role: str) -> None:
        floats(f"{role}.weight", hidden, around=1.0)
        floats(f"{role}.bias", hidden)

    def table(role: str, rows: int) -> None:
        tensors[f"{role}.weight"] = rng.integers(-127, 127, (rows, hidden), np.int8, endpoint=True)
        tensors[f"{role}.scale"] = rng.uniform(0.005, 0.02, rows).astype(np.float32)

    def linear(role: str, inputs: int, outputs: int) -> None:
        tensors[f"{role}.weight"] = rng.integers(-64, 64, (inputs, outputs), np.int8, endpoint=True)
        tensors[f"{role}.scale"] = rng.uniform(0.5, 1.5, outputs).astype(np.float32) / np.float32(30 * inputs**0.5)
        if not role.endswith(".key"):
            floats(f"{role}.bias", outputs)

    table("embeddings.words", network["vocabulary"])
    table("embeddings.positions", network["positions"])
    norm("embeddings.norm")
    for layer in (f"layers.{number}" for number in range(network["layers"])):
        for name in ("query", "key", "value", "output"):
            linear(f"{layer}.{name}", hidden, hidden)
        linear(f"{layer}.up", hidden, inner)
        linear(f"{layer}.down", inner, hidden)
        norm(f"{layer}.attention_norm")
        norm(f"{layer}.output_norm")
    dense("pooler", hidden)
    dense("classifier", network["labels"])
    return tensors


def write_weights(folder: Path, network: dict[str, Any], tensors: Tensors) -> Path:
    """The file of such a network."""
    path = folder / "weights.safetensors"
    save_file(tensors, path, {"network": json.dumps(network)})
    return path


def random_weights(folder: Path, **changes: object) -> Weights:
    """A small network with some fields changed, written into a file and opened."""
    network = describe(**changes)
    return Weights(write_weights(folder, network, random_tensors(network)))


def expected_logits(weights: Weights, ids: list[int]) -> Array:
    """Logits (labels,) of one text by docs/quantisation.md, in float64 and without any of the kernel's shortcuts."""
    sizes = weights.network
    hidden, inner = sizes.hidden, sizes.inner
    words = weights.embedding("embeddings.words", sizes.vocabulary)
    positions = weights.embedding("embeddings.positions", sizes.positions)
    x = words.integers[ids].astype(float) * words.scales[ids][:, None]
    x += positions.integers[: len(ids)].astype(float) * positions.scales[: len(ids), None]
    x = normalised(x, weights.norm("embeddings.norm"))
    for layer in (f"layers.{number}" for number in range(sizes.layers)):
        q, k, v = (product(x, weights.linear(f"{layer}.{name}", hidden, hidden)) for name in ("query", "key", "value"))
        heads = [part.reshape(len(ids), sizes.heads, -1).transpose(1, 0, 2) for part in (q, k, v)]
        scores = heads[0] @ heads[1].transpose(0, 2, 1) / math.sqrt(sizes.hidden // sizes.heads)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = (shares / shares.sum(axis=-1, keepdims=True)) @ heads[2]
        attended = attended.transpose(1, 0, 2).reshape(x.shape)
        x = x + product(attended, weights.linear(f"{layer}.output", hidden, hidden))
        x = normalised(x, weights.norm(f"{layer}.attention_norm"))
        up = gelu(product(x, weights.linear(f"{layer}.up", hidden, inner)), sizes.gelu)
        x = x + product(up, weights.linear(f"{layer}.down", inner, hidden), zero_point=32)
        x = normalised(x, weights.norm(f"{layer}.output_norm"))
    weight, bias = weights.dense("pooler", hidden)
    pooled = np.maximum(weight.astype(float) @ x[0] + bias, 0)
    weight, bias = weights.dense("classifier", sizes.labels)
    logits: Array = weight.astype(float) @ pooled + bias
    return logits


def product(x: Array, linear: LinearWeights, zero_point: int = 128) -> Array:
    """Each row quantised with a scale of its own, as model_export/quantise.py has it."""
    if zero_point == 128:
        scale = np.abs(x).max(axis=1, keepdims=True) / 127
    else:
        scale = np.maximum(x.max(axis=1, keepdims=True) / 223, 0.1701 / 32)
    integers = np.clip(np.rint(x / scale) + zero_point, 0, 255) - zero_point
    result: Array = scale * (integers @ linear.integers.astype(float)) * linear.scales + linear.bias
    return result


def normalised(x: Array, norm: tuple[FloatArray, FloatArray]) -> Array:
    """LayerNorm."""
    distance = x - x.mean(axis=1, keepdims=True)
    result: Array = distance / np.sqrt((distance**2).mean(axis=1, keepdims=True) + 1e-12) * norm[0] + norm[1]
    return result


def gelu(x: Array, kind: str) -> Array:
    """By erf, or by tanh."""
    inside = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    result: Array = x / 2 * (1 + (erf(x / math.sqrt(2)) if kind == "erf" else np.tanh(inside)))
    return result
