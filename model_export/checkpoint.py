"""A checkpoint as PyTorch and the fast tokenizer load it, or the reason why it can't be exported."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from model_export.errors import ExportError
from model_export.scores import Activation
from model_export.source import first_line, weight_files

_TASK = "ForSequenceClassification"
_UNLIMITED_TOKENS = 1_000_000
"""Tokenizers without a limit of their own say 1e30."""


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


def load(folder: Path, labels: Sequence[str] | None = None) -> Checkpoint:
    """Load a sequence-classification checkpoint; `labels` replace its own names, by logit index.

    Raises ExportError for anything but a complete classifier with a fast tokenizer.
    """
    _check_architectures(folder)
    weight_files(folder)
    model = _load_model(folder)
    activation = _activation(model)
    names = _labels(model, labels)
    tokenizer = _load_tokenizer(folder)
    if len(tokenizer) > model.config.vocab_size:
        raise ExportError(f"the tokenizer knows {len(tokenizer)} tokens, the model only {model.config.vocab_size}")
    return Checkpoint(model, tokenizer, names, activation, _max_tokens(model, tokenizer))


def _check_architectures(folder: Path) -> None:
    """Look at config.json alone, before seconds go into the weights."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{folder.name} is no checkpoint: it has no config.json") from None
    except (OSError, ValueError) as exc:
        raise ExportError(f"{folder.name}/config.json can't be read: {first_line(exc)}") from exc
    architectures = config.get("architectures") if isinstance(config, dict) else None
    if architectures and not any(name.endswith(_TASK) for name in architectures):
        raise ExportError(f"{folder.name} is a {architectures[0]}; only ...{_TASK} checkpoints can be exported")


def _load_model(folder: Path) -> PreTrainedModel:
    try:
        model: PreTrainedModel
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, EOFError, SafetensorError, pickle.UnpicklingError) as exc:
        raise ExportError(f"{folder.name} can't be loaded as a classifier: {first_line(exc)}") from exc
    # transformers fills what a checkpoint lacks with random numbers and only warns.
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ExportError(f"{folder.name} lacks {len(missing)} of the classifier's weights, such as {missing[0]}")
    model.eval()
    return model


def _activation(model: PreTrainedModel) -> Activation:
    config = model.config
    if config.num_labels == 1 or config.problem_type == "regression":
        raise ExportError("a regression model (one output) gives no labels, so there is nothing to classify")
    return "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"


def _labels(model: PreTrainedModel, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The names by logit index; new ones are written into the model's config too, so that both files agree."""
    config = model.config
    if labels is not None:
        if len(labels) != config.num_labels:
            raise ExportError(f"--labels names {len(labels)} labels, the model has {config.num_labels}")
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    names = tuple(str((config.id2label or {}).get(index, "")) for index in range(config.num_labels))
    if len(set(names)) != len(names) or not all(names):
        raise ExportError(f"labels must be distinct and not empty, got {', '.join(names)}")
    return names


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # tokenizers raises bare Exception for a broken tokenizer.json
        raise ExportError(f"{folder.name} has no usable fast tokenizer: {first_line(exc)}") from exc
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ExportError(f"{folder.name} has no fast tokenizer: {type(tokenizer).__name__} is written in Python")
    return tokenizer


def _max_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """The longest input, special tokens included.

    RoBERTa counts positions from `padding_idx + 1`, so 514 position embeddings hold 512 tokens.
    """
    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        limits.append(positions - _position_offset(model))
    if min(limits) > _UNLIMITED_TOKENS:
        raise ExportError("neither the tokenizer nor the config says how many tokens the model takes")
    return int(min(limits))


def _position_offset(model: PreTrainedModel) -> int:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def silence() -> None:
    """Keep the libraries' advice out of the progress lines; errors still show."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
