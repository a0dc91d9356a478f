"""A checkpoint as PyTorch and the fast tokenizer load it, or the reason why it can't be exported."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from model_export.errors import ExportError, one_line
from model_export.scores import Activation
from model_export.source import SENTENCEPIECE_FILES, weight_files

TOKEN_TYPES = "token_type_ids"  # noqa: S105 - an input of a network
_TASK = "ForSequenceClassification"
_UNLIMITED_TOKENS = 1_000_000
"""Tokenizers without a limit of their own say 1e30."""

_MIN_TOKENS = 3
"""The service takes no package with less (max_tokens in app/model/package.py)."""

_NAME_THEM = "name them, in the order of the logits: --labels A,B"

MAX_GRAPH_BYTES = 2**31 - 2**26
"""Of fp32 weights: protobuf, in which ONNX graphs are written, ends at 2 GiB, and the nodes need some room."""


@dataclass(frozen=True)
class Checkpoint:
    """An fp32 classifier in evaluation mode, its tokenizer, and what its logits mean."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    labels: tuple[str, ...]
    activation: Activation
    max_tokens: int

    @property
    def architecture(self) -> str:
        """The class that `transformers` chose, as `DistilBertForSequenceClassification`."""
        return type(self.model).__name__

    @property
    def reads_token_types(self) -> bool:
        """Whether the tokenizer gives each token a type, and the network takes it."""
        return self.takes_token_types and TOKEN_TYPES in self.tokenizer.model_input_names

    @property
    def takes_token_types(self) -> bool:
        """Whether the network takes them; some ignore them."""
        return TOKEN_TYPES in signature(self.model.forward).parameters


def load(folder: Path, labels: Sequence[str] | None = None, *, name: str | None = None) -> Checkpoint:
    """Load a sequence-classification checkpoint; `labels` replace its own names, by logit index.

    `name` is what messages call it, if that is not the folder's name: a download lies in one named by its commit.
    Raises ExportError for anything but a complete classifier with a fast tokenizer.
    """
    name = name or folder.resolve().name
    config = _read_config(folder, name)
    weight_files(folder, name)
    model = _load_model(folder, name)
    check_size(model, name)
    activation = _activation(model, name)
    names = _labels(model, config, labels, name)
    tokenizer = load_tokenizer(folder, name)
    check_vocabulary(tokenizer, model, name)
    return Checkpoint(model, tokenizer, names, activation, max_tokens(model, tokenizer, name))


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    """Look at config.json alone, before seconds go into the weights; return it as it was written."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{name} is no checkpoint: it has no config.json") from None
    except (OSError, ValueError) as exc:
        raise ExportError(f"{name}: config.json can't be read: {one_line(exc)}") from exc
    if not isinstance(config, dict):
        raise ExportError(f"{name}: config.json can't be read: it holds no JSON object")
    architectures = config.get("architectures")
    if architectures and not any(str(architecture).endswith(_TASK) for architecture in architectures):
        raise ExportError(f"{name} is a {architectures[0]}; only ...{_TASK} checkpoints can be exported")
    return config


def _load_model(folder: Path, name: str) -> PreTrainedModel:
    try:
        model: PreTrainedModel
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as exc:  # damaged files fail in a dozen ways, each library in its own
        raise ExportError(f"{name} can't be loaded as a classifier: {one_line(exc)}") from exc
    # transformers fills what a checkpoint lacks with random numbers and only warns.
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ExportError(f"{name} lacks {len(missing)} of the classifier's weights, such as {missing[0]}")
    model.eval()
    return model


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, name: str) -> None:
    """Raise ExportError for a tokenizer with ids that the model has no embedding for."""
    highest = max(tokenizer.get_vocab().values())
    if highest >= model.config.vocab_size:
        raise ExportError(
            f"{name}: the tokenizer has ids up to {highest}, the model only {model.config.vocab_size} of them; save "
            "the tokenizer that it was trained with beside it"
        )


def check_size(model: PreTrainedModel, name: str) -> None:
    """Raise ExportError for a model that is too large for an ONNX file."""
    size = sum(weights.numel() * weights.element_size() for weights in model.parameters())
    if size > MAX_GRAPH_BYTES:
        raise ExportError(
            f"{name} has {size / 1e6:,.1f} MB of fp32 weights, and an ONNX file holds at most "
            f"{MAX_GRAPH_BYTES / 1e6:,.1f}: export a smaller model of its family"
        )


def _activation(model: PreTrainedModel, name: str) -> Activation:
    config = model.config
    if config.num_labels == 1 or config.problem_type == "regression":
        raise ExportError(f"{name}: a regression model (one output) gives no labels, so there is nothing to classify")
    return "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"


def _labels(
    model: PreTrainedModel, written: dict[str, Any], labels: Sequence[str] | None, name: str
) -> tuple[str, ...]:
    """The names by logit index; they are written into the model's config, so that both files agree.

    `written` is config.json as it stands in the checkpoint.
    """
    config = model.config
    if labels is not None and len(labels) != config.num_labels:
        raise ExportError(f"--labels names {len(labels)} labels, the model has {config.num_labels}")
    own = config.id2label or {}
    names = labels or ["" if own.get(index) is None else str(own[index]) for index in range(config.num_labels)]
    if len(set(names)) != len(names) or not all(label.strip() for label in names):
        raise ExportError(f"{name}: labels must be distinct and not empty, got {list(names)}; {_NAME_THEM}")
    if labels is None:
        _check_label2id(written.get("label2id"), names, name)
    config.id2label = dict(enumerate(names))
    config.label2id = {label: index for index, label in enumerate(names)}
    return tuple(names)


def _check_label2id(label2id: object, names: Sequence[str], name: str) -> None:
    """Which name is which logit's must not be a guess. LABEL_0, LABEL_1, ... alone say nothing."""
    if not isinstance(label2id, dict):
        return
    found = {label: str(index) for label, index in label2id.items()}
    unnamed = {f"LABEL_{index}": str(index) for index, _ in enumerate(names)}
    if found not in (unnamed, {label: str(index) for index, label in enumerate(names)}):
        raise ExportError(
            f"{name}: by id2label the labels are {list(names)}, but label2id says {label2id}; {_NAME_THEM}"
        )


def load_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a checkpoint. Raises ExportError where there is none."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # tokenizers raises bare Exception for a broken tokenizer.json
        model = next((file for file in SENTENCEPIECE_FILES if (folder / file).exists()), None)
        if model and not (folder / "tokenizer.json").exists() and find_spec("sentencepiece") is None:
            raise ExportError(
                f"{name} has no tokenizer.json, and making one of {model} takes the package sentencepiece: install "
                "it (pip install sentencepiece) and export again"
            ) from exc
        raise ExportError(f"{name} has no usable fast tokenizer: {one_line(exc)}") from exc
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ExportError(f"{name} has no fast tokenizer: {type(tokenizer).__name__} is written in Python")
    tokenizer.split_special_tokens = True  # as the service: in a text they are plain text
    return tokenizer


def max_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str) -> int:
    """The longest input, special tokens included.

    RoBERTa counts positions from `padding_idx + 1`, so 514 position embeddings hold 512 tokens. A limit of -1, or none,
    says nothing.
    """
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    limits = [tokenizer.model_max_length, positions - _position_offset(model)]
    known = [int(limit) for limit in limits if 0 < limit <= _UNLIMITED_TOKENS]
    if not known:
        raise ExportError(
            f"{name}: neither the tokenizer (model_max_length) nor the config (max_position_embeddings) says how many "
            "tokens the model takes; write model_max_length into tokenizer_config.json"
        )
    least = max(_MIN_TOKENS, tokenizer.num_special_tokens_to_add() + 1)
    if min(known) < least:
        raise ExportError(
            f"{name} takes only {min(known)} tokens, and a text needs {least}: correct model_max_length in "
            "tokenizer_config.json"
        )
    return min(known)


def _position_offset(model: PreTrainedModel) -> int:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings"):
            padding_idx = getattr(module, "padding_idx", None)
            return 0 if padding_idx is None else int(padding_idx) + 1
    return 0


def silence() -> None:
    """Keep the libraries' advice out of the progress lines; errors still show."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
