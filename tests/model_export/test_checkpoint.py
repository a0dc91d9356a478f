"""model_export/checkpoint.py: complete classifiers with a fast tokenizer load, everything else is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from safetensors.torch import load_file, save_file

from model_export.checkpoint import load
from model_export.errors import ExportError
from tests.model_export.tiny import write_checkpoint


def change_json(path: Path, **values: Any) -> None:
    """Overwrite fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tiny DistilBERT that a test may spoil."""
    return write_checkpoint(tmp_path / "copy")


@pytest.mark.parametrize(
    ("architecture", "max_tokens"),
    [
        ("DistilBertForSequenceClassification", 512),
        ("BertForSequenceClassification", 512),
        ("RobertaForSequenceClassification", 512),  # of 514 positions, two lie before the first token
    ],
)
def test_encoders_load_with_their_limits(tmp_path: Path, architecture: str, max_tokens: int) -> None:
    """The longest input follows from the tokenizer and the position embeddings."""
    loaded = load(write_checkpoint(tmp_path / "model", architecture))
    assert (loaded.architecture, loaded.max_tokens) == (architecture, max_tokens)


def test_shorter_positions_limit_the_tokens(tmp_path: Path) -> None:
    """A model with 64 positions takes 64 tokens, whatever its tokenizer says."""
    assert load(write_checkpoint(tmp_path / "model", max_position_embeddings=64)).max_tokens == 64


def test_half_precision_is_loaded_as_fp32(copy: Path) -> None:
    """Float16 weights are widened: the reference computes in fp32."""
    weights = copy / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert {str(tensor.dtype) for tensor in load(copy).model.parameters()} == {"torch.float32"}


def test_raw_labels_stay_without_names(copy: Path) -> None:
    """No name is invented for LABEL_0: only the user knows which side is positive."""
    assert load(copy).labels == ("LABEL_0", "LABEL_1")


def test_given_labels_reach_the_config(copy: Path) -> None:
    """The package's config.json must not contradict its manifest."""
    loaded = load(copy, ["NEGATIVE", "POSITIVE"])
    assert loaded.labels == ("NEGATIVE", "POSITIVE")
    assert loaded.model.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    assert loaded.model.config.label2id == {"NEGATIVE": 0, "POSITIVE": 1}


@pytest.mark.parametrize(("labels", "reason"), [(["A"], "names 1 labels, the model has 2"), (["A", "A"], "distinct")])
def test_labels_that_do_not_fit_are_refused(copy: Path, labels: list[str], reason: str) -> None:
    """One distinct name for each logit."""
    with pytest.raises(ExportError, match=reason):
        load(copy, labels)


def test_multi_label_problem_is_scored_by_sigmoid(tmp_path: Path) -> None:
    """Labels that don't exclude each other have scores that don't sum to one."""
    folder = write_checkpoint(tmp_path / "model", num_labels=3, problem_type="multi_label_classification")
    assert load(folder).activation == "sigmoid"


@pytest.mark.parametrize("config", [{"num_labels": 1}, {"problem_type": "regression"}])
def test_regression_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    """A number is not a label."""
    with pytest.raises(ExportError, match="regression"):
        load(write_checkpoint(tmp_path / "model", **config))


def test_missing_head_is_refused(copy: Path) -> None:
    """Without the check transformers would make a head of random numbers."""
    weights = load_file(copy / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=re.escape("lacks 1 of the classifier's weights, such as classifier.weight")):
        load(copy)


def test_language_model_is_refused_by_name(tmp_path: Path) -> None:
    """The line says what the checkpoint is instead of a classifier."""
    with pytest.raises(ExportError, match="is a DistilBertForMaskedLM; only"):
        load(write_checkpoint(tmp_path / "model", "DistilBertForMaskedLM"))


def test_language_model_without_a_name_is_refused_by_its_weights(tmp_path: Path) -> None:
    """A config that doesn't name an architecture proves nothing; the weights do."""
    folder = write_checkpoint(tmp_path / "model", "DistilBertForMaskedLM")
    change_json(folder / "config.json", architectures=None)
    with pytest.raises(ExportError, match="lacks 4 of the classifier's weights"):
        load(folder)


@pytest.mark.parametrize(
    ("tokenizer_class", "reason"),
    [("CanineTokenizer", "CanineTokenizer is written in Python"), ("NoSuchTokenizer", "no usable fast tokenizer")],
)
def test_slow_or_unknown_tokenizer_is_refused(copy: Path, tokenizer_class: str, reason: str) -> None:
    """The service has nothing but the tokenizers library."""
    change_json(copy / "tokenizer_config.json", tokenizer_class=tokenizer_class)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match=reason):
        load(copy)


def test_tokenizer_of_another_model_is_refused(copy: Path, tmp_path: Path) -> None:
    """More tokens than embeddings would read beyond the table."""
    other = write_checkpoint(tmp_path / "other", "RobertaForSequenceClassification")
    for path in copy.glob("*token*"):
        path.unlink()
    for path in [*other.glob("*token*"), *other.glob("vocab.*"), *other.glob("merges.*")]:
        path.rename(copy / path.name)
    with pytest.raises(ExportError, match="the tokenizer knows 261 tokens, the model only"):
        load(copy)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", "{", "config.json can't be read"),
        ("config.json", '{"architectures": null, "model_type": "no-such"}', "can't be loaded as a classifier"),
        ("model.safetensors", "", "can't be loaded as a classifier"),
        ("tokenizer.json", "{}", "no usable fast tokenizer"),
    ],
)
def test_damaged_file_is_one_line(copy: Path, file: str, content: str, reason: str) -> None:
    """Libraries fail in many ways on a broken file; the user reads one line."""
    (copy / file).write_text(content)
    with pytest.raises(ExportError, match=reason) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("file", "reason"), [("config.json", "no config.json"), ("model.safetensors", "no weights")])
def test_missing_file_is_named(copy: Path, file: str, reason: str) -> None:
    """A folder that is no checkpoint is called that."""
    (copy / file).unlink()
    with pytest.raises(ExportError, match=reason):
        load(copy)
