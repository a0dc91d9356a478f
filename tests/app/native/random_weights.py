"""A network with random weights, and the same arithmetic in NumPy: what the kernel is held against."""

import math

import numpy as np
import numpy.typing as npt

from app.native.weights import Embedding, FloatArray, Geometry, LinearWeights, Weights

Array = npt.NDArray[np.float64]
ERF, TANH = 0, 1
erf = np.vectorize(math.erf)


class RandomWeights(Weights):
    """What `Weights` reads from a package, made up."""

    def __init__(self, geometry: Geometry, *, gelu: int, seed: int = 0) -> None:
        self.geometry, self.gelu, self.epsilon = geometry, gelu, 1e-12
        rng = np.random.default_rng(seed)
        hidden, inner = geometry.hidden, geometry.inner

        def floats(*shape: int, around: float = 0.0, spread: float = 0.3) -> FloatArray:
            return rng.normal(around, spread, shape).astype(np.float32)

        def integers(limit: int, *shape: int) -> npt.NDArray[np.int8]:
            return rng.integers(-limit, limit, shape, np.int8, endpoint=True)

        def linear(inputs: int, outputs: int, zero_point: int = 128) -> LinearWeights:
            scales = rng.uniform(0.5, 1.5, outputs).astype(np.float32) / np.float32(30 * math.sqrt(inputs))
            return LinearWeights(integers(64, inputs, outputs), scales, floats(outputs), zero_point)

        def norm() -> tuple[FloatArray, FloatArray]:
            return floats(hidden, around=1.0), floats(hidden)

        rows = {"word": geometry.vocabulary, "position": geometry.positions}
        self._tables = {
            name: Embedding(integers(127, count, hidden), rng.uniform(0.005, 0.02, count).astype(np.float32))
            for name, count in rows.items()
        }
        self._embedding_norm = norm()
        self._norms = {
            (n, name): norm() for n in range(geometry.layers) for name in ("sa_layer_norm", "output_layer_norm")
        }
        self._layers: dict[tuple[int, str], LinearWeights] = {}
        for n in range(geometry.layers):
            for name in ("q", "k", "v", "out"):
                self._layers[n, f"attention/{name}_lin"] = linear(hidden, hidden)
            self._layers[n, "ffn/lin1"], self._layers[n, "ffn/lin2"] = linear(hidden, inner), linear(inner, hidden, 32)
        self._dense = {
            "/pre_classifier/Gemm_output_0": (floats(hidden, hidden), floats(hidden)),
            "logits": (floats(geometry.labels, hidden), floats(geometry.labels)),
        }

    def embedding(self, name: str, rows: int) -> Embedding:  # noqa: ARG002 - made with that many
        return self._tables[name]

    def embedding_norm(self) -> tuple[FloatArray, FloatArray]:
        return self._embedding_norm

    def layer_norm(self, layer: int, name: str) -> tuple[FloatArray, FloatArray]:
        return self._norms[layer, name]

    def dense(self, output: str, outputs: int) -> tuple[FloatArray, FloatArray]:  # noqa: ARG002 - as above
        return self._dense[output]

    def linear(self, layer: int, name: str, inputs: int, outputs: int) -> LinearWeights:  # noqa: ARG002 - as above
        return self._layers[layer, name]


def expected_logits(weights: RandomWeights, ids: list[int]) -> Array:
    """Logits (labels,) of one text by docs/quantisation.md, in float64 and without any of the kernel's shortcuts."""
    sizes = weights.geometry
    words, positions = weights.embedding("word", 0), weights.embedding("position", 0)
    x = words.integers[ids].astype(float) * words.scales[ids][:, None]
    x += positions.integers[: len(ids)].astype(float) * positions.scales[: len(ids), None]
    x = normalised(x, weights.embedding_norm())
    for layer in range(sizes.layers):
        q, k, v = (product(x, weights.linear(layer, f"attention/{name}_lin", 0, 0)) for name in "qkv")
        heads = [part.reshape(len(ids), sizes.heads, -1).transpose(1, 0, 2) for part in (q, k, v)]
        scores = heads[0] @ heads[1].transpose(0, 2, 1) / math.sqrt(sizes.hidden // sizes.heads)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = (shares / shares.sum(axis=-1, keepdims=True)) @ heads[2]
        x = x + product(attended.transpose(1, 0, 2).reshape(x.shape), weights.linear(layer, "attention/out_lin", 0, 0))
        x = normalised(x, weights.layer_norm(layer, "sa_layer_norm"))
        inner = product(x, weights.linear(layer, "ffn/lin1", 0, 0))
        x = x + product(gelu(inner, weights.gelu), weights.linear(layer, "ffn/lin2", 0, 0))
        x = normalised(x, weights.layer_norm(layer, "output_layer_norm"))
    weight, bias = weights.dense("/pre_classifier/Gemm_output_0", 0)
    pooled = np.maximum(weight.astype(float) @ x[0] + bias, 0)
    weight, bias = weights.dense("logits", 0)
    logits: Array = weight.astype(float) @ pooled + bias
    return logits


def product(x: Array, linear: LinearWeights) -> Array:
    """Each row quantised with a scale of its own, as model_export/quantise.py has it."""
    if linear.zero_point == 128:
        scale = np.abs(x).max(axis=1, keepdims=True) / 127
    else:
        scale = np.maximum(x.max(axis=1, keepdims=True) / 223, 0.1701 / 32)
    integers = np.clip(np.rint(x / scale) + linear.zero_point, 0, 255) - linear.zero_point
    result: Array = scale * (integers @ linear.integers.astype(float)) * linear.scales + linear.bias
    return result


def normalised(x: Array, norm: tuple[FloatArray, FloatArray]) -> Array:
    """LayerNorm."""
    distance = x - x.mean(axis=1, keepdims=True)
    result: Array = distance / np.sqrt((distance**2).mean(axis=1, keepdims=True) + 1e-12) * norm[0] + norm[1]
    return result


def gelu(x: Array, kind: int) -> Array:
    """By erf, or by tanh."""
    inside = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    result: Array = x / 2 * (1 + (erf(x / math.sqrt(2)) if kind == ERF else np.tanh(inside)))
    return result
