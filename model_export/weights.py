"""The weights of a quantised graph, moved into a file of their own in which they have names by their role.

The service's native engine computes DistilBERT from that file alone. Each weight is stored once: the graph refers to
its place in the file, as "external data" (https://onnx.ai/onnx/repo-docs/ExternalData.html). The format is safetensors
(https://huggingface.co/docs/safetensors): the length of the header in 8 bytes, the header in JSON, and raw values.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, external_data_helper, numpy_helper
from safetensors.numpy import save
from transformers import PretrainedConfig, PreTrainedModel

from model_export.errors import ExportError
from model_export.package import WEIGHTS
from model_export.quantise import EMBEDDING_LIMIT, MIN_TABLE_ROWS, SCHEME, WEIGHT_LIMIT, to_int8

Arrays = dict[str, npt.NDArray[Any]]

_EMBEDDINGS = {"words": "word_embeddings", "positions": "position_embeddings"}
_LINEAR = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "output": "attention.out_lin",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
}
_NORMS = {"attention_norm": "sa_layer_norm", "output_norm": "output_layer_norm"}
_HEAD = {"pooler": "pre_classifier", "classifier": "classifier"}
"""Role -> the module that has it in transformers' DistilBertForSequenceClassification."""
_SIZES = {
    "hidden": "dim",
    "inner": "hidden_dim",
    "heads": "n_heads",
    "layers": "n_layers",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "labels": "num_labels",
}
"""Size -> what transformers' DistilBertConfig calls it."""
_GELUS = {"FastGelu": "tanh", "Gelu": "erf", "Erf": "erf"}
"""Operator -> by which function it computes GELU."""


def has_roles(config: PretrainedConfig) -> bool:
    """Whether the model is a DistilBERT as the native engine knows it, with both tables large enough to be int8.

    All its layers must be alike, so none may have lost heads.
    """
    if config.model_type != "distilbert" or config.activation != "gelu" or config.pruned_heads:
        return False
    return bool(min(config.vocab_size, config.max_position_embeddings) >= MIN_TABLE_ROWS)


def by_role(model: PreTrainedModel) -> Arrays:
    """The quantised weights of a DistilBERT, made of the checkpoint's as `quantise` makes them; the rest in float32.

    A linear layer is int8 (inputs, outputs) with scales and biases (outputs,), a table int8 (rows, hidden) with scales
    (rows,); pooler and classifier are float32 (outputs, hidden). The key has no bias: it adds the same to all scores of
    a query, which softmax takes out again.
    """
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    arrays: Arrays = {}

    def copy(role: str, module: str) -> None:
        arrays[f"{role}.weight"], arrays[f"{role}.bias"] = state[f"{module}.weight"], state[f"{module}.bias"]

    def quantise(role: str, weights: npt.NDArray[np.float32], limit: int, axis: int) -> None:
        integers, scales = to_int8(weights, limit, axis)
        arrays[f"{role}.weight"], arrays[f"{role}.scale"] = np.ascontiguousarray(integers), scales.ravel()

    for role, module in _EMBEDDINGS.items():
        quantise(f"embeddings.{role}", state[f"distilbert.embeddings.{module}.weight"], EMBEDDING_LIMIT, axis=1)
    copy("embeddings.norm", "distilbert.embeddings.LayerNorm")
    for number in range(model.config.n_layers):
        layer, theirs = f"layers.{number}", f"distilbert.transformer.layer.{number}"
        for role, module in _LINEAR.items():
            quantise(f"{layer}.{role}", state[f"{theirs}.{module}.weight"].T, WEIGHT_LIMIT, axis=0)
            if role != "key":
                arrays[f"{layer}.{role}.bias"] = state[f"{theirs}.{module}.bias"]
        for role, module in _NORMS.items():
            copy(f"{layer}.{role}", f"{theirs}.{module}")
    for role, module in _HEAD.items():
        copy(role, module)
    return arrays


def state_of(arrays: Arrays) -> Arrays:
    """The inverse of `by_role`: its `arrays` as the float32 state of a DistilBertForSequenceClassification.

    The biases of the keys, which change no score and were left out, come back as zeros.
    """
    state: Arrays = {}

    def put(role: str, module: str) -> None:
        integers, scales = arrays[f"{role}.weight"], arrays.get(f"{role}.scale")
        linear = role.startswith("layers.") and scales is not None
        weights = integers if scales is None else integers * (scales if linear else scales[:, None])
        state[f"{module}.weight"] = np.ascontiguousarray(weights.T if linear else weights)
        if linear or scales is None:
            state[f"{module}.bias"] = arrays.get(f"{role}.bias", np.zeros(len(state[f"{module}.weight"]), np.float32))

    for role in sorted({name.rpartition(".")[0] for name in arrays}):
        put(role, _module(role))
    return state


def _module(role: str) -> str:
    """Where transformers' DistilBertForSequenceClassification has the weights of a role."""
    group, _, name = role.partition(".")
    if group == "embeddings":
        return f"distilbert.embeddings.{_EMBEDDINGS.get(name, 'LayerNorm')}"
    if group == "layers":
        number, _, part = name.partition(".")
        return f"distilbert.transformer.layer.{number}.{(_LINEAR | _NORMS)[part]}"
    return _HEAD[role]


def store(graph: Path, weights: Arrays, config: PretrainedConfig, epsilon: float) -> None:
    """Move `weights`, each a constant of `graph`, into weights.safetensors beside it; `graph` then refers to that file.

    `epsilon` is what the network's norms add to the variance. It stands in the file's metadata, with the sizes and the
    scheme, so that the file is all that the native engine reads. Raises ExportError when a weight is not in the graph.
    """
    model = onnx.load(graph)
    sizes = {size: getattr(config, name) for size, name in _SIZES.items()}
    facts = {"architecture": "distilbert", "scheme": SCHEME, "gelu": _gelu(model.graph), "epsilon": epsilon}
    # As one key: the order of several would change from run to run, and with it the file's digest.
    file = save(weights, {"network": json.dumps(facts | sizes)})
    roles, places = {_content(array): role for role, array in weights.items()}, _places(file)
    found = set()
    for tensor in model.graph.initializer:
        content = _content(numpy_helper.to_array(tensor))
        if content in roles:
            found.add(content)
            _refer(tensor, *places[roles[content]])
    missing = [role for role, array in weights.items() if _content(array) not in found]
    if missing:
        raise ExportError(f"{len(missing)} weights are not in the quantised graph as they should be: {missing[0]}")
    graph.with_name(WEIGHTS).write_bytes(file)
    onnx.save(model, graph)


def _gelu(graph: onnx.GraphProto) -> str:
    kinds = {_GELUS[node.op_type] for node in graph.node if node.op_type in _GELUS}
    if len(kinds) != 1:
        raise ExportError(f"the quantised graph should have one kind of GELU, found {sorted(kinds) or 'none'}")
    return kinds.pop()


def _content(array: npt.NDArray[Any]) -> tuple[str, bytes]:
    """Equal for equal constants, whatever their shape: torch exports only one of them."""
    return array.dtype.str, array.tobytes()


def _places(file: bytes) -> dict[str, tuple[int, int]]:
    """Name of each tensor of a safetensors file -> offset from the file's beginning, and length, in bytes."""
    data = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:data])
    offsets = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {name: (data + begin, end - begin) for name, (begin, end) in offsets.items()}


def _refer(tensor: TensorProto, offset: int, length: int) -> None:
    """Let the constant be what lies there in weights.safetensors."""
    external_data_helper.set_external_data(tensor, WEIGHTS, offset=offset, length=length)
    tensor.ClearField("raw_data")
