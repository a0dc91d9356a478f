"""model_export/checkpoint.py: complete classifiers with a fast tokenizer load, everything else is refused."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from safetensors.torch import load_file, save_file

from model_export import checkpoint
from model_export.checkpoint import load
from model_export.errors import ExportError, one_line
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
        ("IBertForSequenceClassification", 511),  # the same with a table of its own kind, and a pad token of 0
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


@pytest.mark.parametrize("name", [None, ""])
def test_missing_label_is_refused(copy: Path, name: str | None) -> None:
    """`null` is no label of that name, and the line says how to give one."""
    change_json(copy / "config.json", id2label={"0": name, "1": "POSITIVE"}, label2id={})
    with pytest.raises(ExportError, match=re.escape("got ['', 'POSITIVE']; name them, in the order of the logits: --")):
        load(copy)
    assert load(copy, ["NEGATIVE", "POSITIVE"]).labels == ("NEGATIVE", "POSITIVE")


@pytest.mark.parametrize("label2id", [{"NEG": 1, "POS": 0}, {"NEG": 0}, {"bad": 0, "good": 1}])
def test_contradictory_labels_are_refused(copy: Path, label2id: dict[str, int]) -> None:
    """A guess may turn every sentiment around."""
    change_json(copy / "config.json", id2label={"0": "NEG", "1": "POS"}, label2id=label2id)
    with pytest.raises(
        ExportError, match=r"copy: by id2label the labels are \['NEG', 'POS'\], but label2id says .*--lab"
    ):
        load(copy)
    assert load(copy, ["NEG", "POS"]).model.config.label2id == {"NEG": 0, "POS": 1}


@pytest.mark.parametrize("label2id", [None, {"LABEL_0": 0, "LABEL_1": 1}, {"NEG": "0", "POS": "1"}])
def test_labels_without_contradiction_are_taken(copy: Path, label2id: dict[str, Any] | None) -> None:
    """Many checkpoints name their labels in one of the two places only; the package has them in both."""
    change_json(copy / "config.json", id2label={"0": "NEG", "1": "POS"}, label2id=label2id)
    loaded = load(copy)
    assert loaded.labels == ("NEG", "POS")
    assert loaded.model.config.label2id == {"NEG": 0, "POS": 1}


@pytest.mark.parametrize("limit", [-1, 0, int(1e30)])
def test_limit_of_the_tokenizer_that_is_none(copy: Path, limit: int) -> None:
    """The positions then say how many tokens the model takes."""
    change_json(copy / "tokenizer_config.json", model_max_length=limit)
    assert load(copy).max_tokens == 512


def test_limit_below_one_word_is_refused(copy: Path) -> None:
    """[CLS] and [SEP] alone fill two tokens."""
    change_json(copy / "tokenizer_config.json", model_max_length=2)
    with pytest.raises(ExportError, match="copy takes only 2 tokens, and a text needs 3: correct model_max_length"):
        load(copy)


def test_weights_beyond_protobuf_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before minutes go into a graph that can't be written. The limit is lowered to what a test can afford."""
    monkeypatch.setattr(checkpoint, "MAX_GRAPH_BYTES", 100_000)
    with pytest.raises(ExportError, match=r"copy has 0\.\d MB of fp32 weights, and an ONNX file holds at most 0\.1: "):
        load(copy)


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
    with pytest.raises(ExportError, match="the tokenizer has ids up to 260, the model only"):
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


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="sentencepiece makes the tokenizer.json")
@pytest.mark.parametrize("file", ["sentencepiece.bpe.model", "spiece.model", "spm.model"])
def test_sentencepiece_alone_says_what_is_missing(copy: Path, file: str) -> None:
    """Not "check your tokenizer": which file there is, and what makes a tokenizer.json of it."""
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").unlink(missing_ok=True)
    change_json(copy / "tokenizer_config.json", tokenizer_class="XLMRobertaTokenizer")
    (copy / file).touch()
    with pytest.raises(
        ExportError, match=f"owner/model has no tokenizer.json, and making one of {file} takes the pack"
    ):
        load(copy, name="owner/model")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\nof\nthese\n\nIf you want advice", "one of these"),
        ("word " * 100, f"{'word ' * 60}..."),
        ("x" * 400, f"{'x' * 300} ..."),
        ("", "ValueError"),
    ],
)
def test_message_of_a_library_is_whole(text: str, line: str) -> None:
    """Lists that go on in the next line belong to the message; what is cut is cut between words, and says so."""
    assert one_line(ValueError(text)) == line


@pytest.mark.parametrize(("file", "reason"), [("config.json", "no config.json"), ("model.safetensors", "no weights")])
def test_missing_file_is_named(copy: Path, file: str, reason: str) -> None:
    """A folder that is no checkpoint is called that."""
    (copy / file).unlink()
    with pytest.raises(ExportError, match=reason):
        load(copy)
