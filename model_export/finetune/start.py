"""What a run starts from: the bundled MiniLM, or any checkpoint that transformers loads and the export can take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertModel, PreTrainedModel

from model_export import preconditions
from model_export.calibrate import head
from model_export.checkpoint import Checkpoint, check_size, check_vocabulary, load_tokenizer, max_tokens
from model_export.errors import ExportError, one_line
from model_export.finetune.recipe import Recipe
from model_export.minilm import bert_as_distilbert, minilm_folder
from model_export.package import digest
from model_export.scores import Activation
from model_export.source import Source, fetch, weight_files

BUNDLED = "all-MiniLM-L6-v2"
PROBLEMS: dict[Activation, str] = {
    "softmax": "single_label_classification",
    "sigmoid": "multi_label_classification",
}
"""What `problem_type` says in the config of a checkpoint, and the export makes the activation of."""


@dataclass(frozen=True)
class Start:
    """A classifier with the labels to learn, and what `training.json` says of where its weights come from."""

    checkpoint: Checkpoint
    facts: dict[str, Any]


def begin(
    model: str | None, revision: str | None, labels: Sequence[str], activation: Activation, recipe: Recipe
) -> Start:
    """The starting point by hub id or folder, by default the bundled one, with a head for `labels`.

    Raises ExportError for what can't be loaded, can't be exported afterwards, or can't read `recipe.max_tokens` tokens.
    """
    torch.manual_seed(recipe.seed)
    source = Source(minilm_folder(), BUNDLED, None) if model is None else fetch(model, revision)
    files = weight_files(source.folder, source.id)
    checkpoint = (_bundled if model is None else _loaded)(source, labels, activation)
    if recipe.max_tokens > checkpoint.max_tokens:
        raise ExportError(f"--max-tokens {recipe.max_tokens}: {source.id} reads at most {checkpoint.max_tokens}")
    head(checkpoint)  # which takes the temperature in the end
    preconditions.check(checkpoint, source.id)
    weights = {path.name: digest(path) for path in files}
    return Start(checkpoint, {"id": source.id, "revision": source.revision, "sha256": weights})


def _bundled(source: Source, labels: Sequence[str], activation: Activation) -> Checkpoint:
    # DistilBERT takes no token types; the saved tokenizer must not make any.
    tokenizer = AutoTokenizer.from_pretrained(source.folder, model_input_names=["input_ids", "attention_mask"])
    tokenizer.split_special_tokens = True  # as `load_tokenizer` has it
    model = bert_as_distilbert(BertModel.from_pretrained(source.folder, add_pooling_layer=False), labels)
    model.config.problem_type = PROBLEMS[activation]
    return Checkpoint(model.eval(), tokenizer, tuple(labels), activation, max_tokens(model, tokenizer, source.id))


def _loaded(source: Source, labels: Sequence[str], activation: Activation) -> Checkpoint:
    model = _load_model(source, labels, activation)
    check_size(model, source.id)
    tokenizer = load_tokenizer(source.folder, source.id)
    check_vocabulary(tokenizer, model, source.id)
    return Checkpoint(model.eval(), tokenizer, tuple(labels), activation, max_tokens(model, tokenizer, source.id))


def _load_model(source: Source, labels: Sequence[str], activation: Activation) -> PreTrainedModel:
    """The encoder with its own head where that has the same labels in the same order, otherwise with a new one."""
    folder, names = source.folder, dict(enumerate(labels))
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        same_labels = config.id2label == names
        config.id2label, config.label2id = names, {label: index for index, label in names.items()}
        config.problem_type = PROBLEMS[activation]
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as exc:  # damaged files fail in a dozen ways, each library in its own
        raise ExportError(f"{source.id} can't be loaded as a classifier: {one_line(exc)}") from exc
    _check_encoder(model, info, source.id)
    if not same_labels:
        _renew_head(model)
    loaded: PreTrainedModel = model
    return loaded


def _check_encoder(model: PreTrainedModel, info: dict[str, Any], name: str) -> None:
    """Transformers fills what a checkpoint lacks with random numbers and only warns; that is right for the head only.

    A pooler belongs to the head: checkpoints of masked language models have none.
    """
    absent = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    encoder = sorted(key for key in absent if key.startswith(f"{model.base_model_prefix}.") and "pooler" not in key)
    if encoder:
        raise ExportError(f"{name} lacks {len(encoder)} of the encoder's weights, such as {encoder[0]}")


def _renew_head(model: PreTrainedModel) -> None:
    """What was learned for other labels is no start for these."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not name.startswith(f"{model.base_model_prefix}."):
            module.reset_parameters()
