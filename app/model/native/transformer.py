"""The kernel of transformer.c, fed with a package's weights: token ids -> logits, without ONNX Runtime.

For DistilBERT packages on CPUs with AVX512-VNNI it takes half to five sixths of ONNX Runtime's time for the same
integers (docs/quantisation.md). Everything else, and every machine without a compiled `libtransformer.so`, is ONNX
Runtime's: `Transformer` then raises Unsupported and says why.
"""

import ctypes
import platform
import threading
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from app.model.native.weights import PANEL, Embedding, FloatArray, LinearWeights, Unsupported, Weights
from app.model.package import Package

LIBRARY = Path(__file__).with_name("libtransformer.so")
VERSION = 2
"""Of transformer.c's structs and calls."""
KEPT_TOKENS = 256
"""Each thread keeps the memory for so many; a longer text's is given back after it."""
GELUS = ("erf", "tanh")
"""In the order of GELUS in transformer.c."""
ZERO_POINT, GELU_ZERO_POINT = 128, 32
"""Of uint8 token vectors: those behind GELU have theirs."""
_CACHE_LINE = 64

_Pointer, _Int = ctypes.c_void_p, ctypes.c_int32


class _Linear(ctypes.Structure):
    _fields_ = (
        ("weights", _Pointer),
        ("offsets", _Pointer),
        ("scales", _Pointer),
        ("bias", _Pointer),
        ("inputs", _Int),
        ("outputs", _Int),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", _Pointer), ("bias", _Pointer))


class _Layer(ctypes.Structure):
    _fields_ = (
        ("query_key_value", _Linear),
        ("output", _Linear),
        ("attention_norm", _Norm),
        ("up", _Linear),
        ("down", _Linear),
        ("output_norm", _Norm),
    )


class _Transformer(ctypes.Structure):
    _fields_ = (
        *((name, _Pointer) for name in ("words", "positions", "word_scales", "position_scales")),
        ("embedding_norm", _Norm),
        ("layers", ctypes.POINTER(_Layer)),
        *((name, _Pointer) for name in ("pooler", "pooler_bias", "classifier", "classifier_bias")),
        *((name, _Int) for name in ("hidden", "inner", "heads", "num_layers", "vocabulary", "max_tokens", "labels")),
        ("gelu", _Int),
        ("tiles", _Int),
        ("epsilon", ctypes.c_float),
    )


class Transformer:
    """A network, whose `logits` may be called from several threads at once.

    Raises Unsupported when this CPU or this installation is not for it.
    """

    name = "native"
    pads = False

    @classmethod
    def of(cls, package: Package) -> Self:
        """A package's; raises Unsupported also when the package is not for it."""
        _load_library()  # before its weights are read, since this is said sooner
        return cls(Weights.of(package))

    def __init__(self, weights: Weights) -> None:
        self._library = _load_library()
        self._arrays: list[npt.NDArray[np.generic]] = []  # keeps alive what C points to
        self._struct = self._assemble(weights)
        self._reference = ctypes.byref(self._struct)
        self._kept_bytes: int = self._library.transformer_workspace(self._reference, KEPT_TOKENS, KEPT_TOKENS)
        self._local = threading.local()

    def logits(self, rows: list[list[int]]) -> FloatArray:
        """Token ids of some texts -> float32 (texts, labels), not yet normalised.

        Blocks for the whole run, without holding the GIL. Raises ValueError, for a bug of the caller, when a text has
        no tokens or too many, or an id is not in the vocabulary.
        """
        lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        tokens = int(lengths.sum())
        ids = np.fromiter(chain.from_iterable(rows), np.int32, tokens)
        logits = np.empty((len(rows), self._struct.labels), np.float32)
        memory = self._workspace(tokens, int(lengths.max()))
        failed = self._library.transformer_run(
            self._reference, ids.ctypes.data, lengths.ctypes.data, len(rows), memory.ctypes.data, logits.ctypes.data
        )
        if failed:
            raise ValueError(
                f"texts of {lengths.min()} to {lengths.max()} tokens with ids from {ids.min()} to {ids.max()}: there "
                f"are {self._struct.max_tokens} positions and {self._struct.vocabulary} ids"
            )
        return logits

    def _workspace(self, tokens: int, longest: int) -> npt.NDArray[np.uint8]:
        """Memory for so many tokens of texts of that length, that nobody else uses until this thread asks again."""
        size: int = self._library.transformer_workspace(self._reference, tokens, longest)
        if size > self._kept_bytes:
            return _aligned(size)
        kept: npt.NDArray[np.uint8] | None = getattr(self._local, "workspace", None)
        if kept is None:
            kept = self._local.workspace = _aligned(self._kept_bytes)
        return kept

    def _assemble(self, weights: Weights) -> _Transformer:
        sizes = weights.network
        hidden, inner, labels = sizes.hidden, sizes.inner, sizes.labels
        words = weights.embedding("embeddings.words", sizes.vocabulary)
        positions = weights.embedding("embeddings.positions", sizes.positions)
        layers = [self._layer(weights, f"layers.{number}") for number in range(sizes.layers)]
        return _Transformer(
            *self._tables(words, positions),
            self._norm(*weights.norm("embeddings.norm")),
            (_Layer * len(layers))(*layers),
            *map(self._keep, weights.dense("pooler", hidden)),
            *map(self._keep, weights.dense("classifier", labels)),
            *(hidden, inner, sizes.heads, sizes.layers, sizes.vocabulary, sizes.positions, labels),
            GELUS.index(sizes.gelu),
            self._library.transformer_tiles(),
            sizes.epsilon,
        )

    def _layer(self, weights: Weights, layer: str) -> _Layer:
        hidden, inner = weights.network.hidden, weights.network.inner
        query, key, value, output = (
            weights.linear(f"{layer}.{name}", hidden, hidden) for name in ("query", "key", "value", "output")
        )
        # The scores' factor, 1 / sqrt(width of a head), goes into the query.
        factor = np.float32((hidden // weights.network.heads) ** -0.5)
        query = LinearWeights(query.integers, query.scales * factor, query.bias * factor)
        return _Layer(
            self._linear(query, key, value),
            self._linear(output),
            self._norm(*weights.norm(f"{layer}.attention_norm")),
            self._linear(weights.linear(f"{layer}.up", hidden, inner)),
            self._linear(weights.linear(f"{layer}.down", inner, hidden), zero_point=GELU_ZERO_POINT),
            self._norm(*weights.norm(f"{layer}.output_norm")),
        )

    def _linear(self, *parts: LinearWeights, zero_point: int = ZERO_POINT) -> _Linear:
        """Layers with the same input, which has this zero point, as one."""
        integers = np.concatenate([part.integers for part in parts], axis=1)
        inputs, outputs = integers.shape
        offsets = -zero_point * integers.sum(axis=0, dtype=np.int32)
        panels = integers.reshape(inputs // 4, 4, outputs // PANEL, PANEL).transpose(2, 0, 3, 1)
        return _Linear(
            self._keep(panels),
            self._keep(offsets),
            self._keep(np.concatenate([part.scales for part in parts])),
            self._keep(np.concatenate([part.bias for part in parts])),
            inputs,
            outputs,
        )

    def _norm(self, weight: FloatArray, bias: FloatArray) -> _Norm:
        return _Norm(self._keep(weight), self._keep(bias))

    def _tables(self, *tables: Embedding) -> list[int]:
        return [self._keep(table.integers) for table in tables] + [self._keep(table.scales) for table in tables]

    def _keep(self, array: npt.NDArray[np.generic]) -> int:
        """A copy, one value behind the other from the beginning of a cache line on, for as long as this lives."""
        copy = _aligned(array.nbytes).view(array.dtype).reshape(array.shape)
        copy[...] = array
        self._arrays.append(copy)
        return int(copy.ctypes.data)


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """So many bytes, at the beginning of a cache line."""
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % _CACHE_LINE
    return memory[begin : begin + size]


def _load_library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(LIBRARY))
        version = library.transformer_version()
    except (OSError, AttributeError) as exc:
        if platform.machine() != "x86_64":
            raise Unsupported(f"this CPU is of another kind: {platform.machine()}") from exc
        raise Unsupported(
            f"{LIBRARY.name} can't be loaded; `make --always-make app/model/native/{LIBRARY.name}` makes it "
            "where there is a C compiler"
        ) from exc
    if version == 0:
        raise Unsupported("this CPU has no AVX512-VNNI")
    if version != VERSION:
        raise Unsupported(f"{LIBRARY.name} is of version {version}, not {VERSION}: compile it again")
    library.transformer_workspace.argtypes = [_Pointer, ctypes.c_int64, ctypes.c_int64]
    library.transformer_workspace.restype = ctypes.c_int64
    library.transformer_run.argtypes = [_Pointer, _Pointer, _Pointer, _Int, _Pointer, _Pointer]
    library.transformer_run.restype = _Int
    return library
