"""Checkpoints that were trained on pairs of texts, from the export to the answer of the running service."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export group: make install-export")

import torch
from tokenizers import Tokenizer, processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from model_export.__main__ import main
from model_export.errors import ExportError
from model_export.gates import measure
from model_export.labelled import Example
from model_export.pairs import token_types
from model_export.profile import replace_profile
from tests.app import plain_http
from tests.conftest import StartService
from tests.model_export.command import error_line
from tests.model_export.tiny import TOLERANCE, write_checkpoint

PAIRS = [
    ("good film", "bad film, never again"),
    ("bad film, never again", "good film"),
    ("[SEP] love it", "perfect </s>"),
]
LONG = [("good film " * 400, "bad"), ("never " * 300, "again " * 500)]
BERT, ROBERTA = "BertForSequenceClassification", "RobertaForSequenceClassification"
NEAR = 0.1
"""Less than the order of the texts changes a score by, and more than int8 does."""
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def write_pairs(folder: Path, architecture: str) -> Path:
    """A random checkpoint; BERT's tokenizer gives types, by which the second text is told from the first."""
    write_checkpoint(folder, architecture, num_labels=3, type_vocab_size=2 if architecture == BERT else 1)
    if architecture == BERT:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[SEP]", 3), ("[CLS]", 2)]
        )
        tokenizer.save(str(folder / "tokenizer.json"))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": INPUTS}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def in_transformers(checkpoint: Path, pairs: list[tuple[str, str]]) -> list[dict[str, float]]:
    """Scores by label as the library itself gives them, token types included."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    found = []
    for first, second in pairs:
        encoded = tokenizer(
            first, second, truncation=True, max_length=512, split_special_tokens=True, return_tensors="pt"
        )
        with torch.inference_mode():
            scores = model(**encoded).logits.softmax(-1)[0].tolist()
        found.append({model.config.id2label[index]: score for index, score in enumerate(scores)})
    return found


def by_label(prediction: list[dict[str, Any]]) -> dict[str, float]:
    """Scores of one answer."""
    return {item["label"]: item["score"] for item in prediction}


@pytest.mark.parametrize("architecture", [BERT, ROBERTA])
def test_pair_goes_all_the_way(tmp_path: Path, start_service: StartService, architecture: str) -> None:
    """From the checkpoint to an answer of the service, which scores pairs as the library does, cut ones included."""
    checkpoint, package = write_pairs(tmp_path / "model", architecture), tmp_path / "package"
    options = ["--pairs", "--licence", "MIT", "--tolerance", str(TOLERANCE)]
    assert main(["--model", str(checkpoint), *options, "--output", str(package)]) == 0
    manifest = json.loads((package / "manifest.json").read_text())
    assert manifest["pairs"] is True
    assert {len(golden["text"]) for golden in manifest["golden"] if isinstance(golden["text"], list)} == {2}
    assert ("token_type_ids" in manifest["inputs"]) == (architecture == BERT)
    service = start_service(VALENCE_MODEL_DIR=str(package), VALENCE_DRAIN_SECONDS="0").wait_ready()
    answer = plain_http.post(service.url + "/predict", json={"text": [*PAIRS, *LONG]})
    assert answer.headers["X-Truncated"] == "3,4"
    expected = in_transformers(checkpoint, [*PAIRS, *LONG])
    for prediction, scores in zip(answer.json()["predictions"], expected, strict=True):
        assert by_label(prediction) == pytest.approx(scores, abs=NEAR)
    swapped = expected[1]
    assert expected[0] != pytest.approx(swapped, abs=NEAR)  # else this test would not see the order
    with pytest.raises(ExportError, match="package takes pairs of texts, and --data holds single ones"):
        measure(package, [Example(0, "good film")])


def test_package_of_pairs_gets_no_profile(tmp_path: Path) -> None:
    """A profile is of single texts."""
    (tmp_path / "manifest.json").write_text(
        json.dumps({"pairs": True, "activation": "softmax", "max_tokens": 9, "files": {}})
    )
    with pytest.raises(ExportError, match="takes pairs of texts"):
        replace_profile(tmp_path, ["good"], tmp_path / "texts")


@pytest.mark.parametrize("option", [("--window-tokens", "32"), ("--data", "dev.tsv")])
def test_what_is_of_single_texts_is_refused(checkpoint: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    """In one line that names the options."""
    said = error_line("--model", checkpoint, "--pairs", *option, "--output", tmp_path / "package")
    assert said == "--pairs goes with neither --window-tokens nor --data: both are of single texts"


def test_tokenizer_without_types_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the network tells the second text by them."""
    folder = write_checkpoint(tmp_path / "model", BERT)
    assert main(["--model", str(folder), "--pairs", "--output", str(tmp_path / "package")]) == 1
    assert "the network has token types, and its tokenizer gives none" in capsys.readouterr().err


def test_other_types_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A separator that belongs to the second text, as no BERT has it."""
    folder = write_pairs(tmp_path / "model", BERT)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP]:1 $B:1 [SEP]:1", special_tokens=[("[SEP]", 3), ("[CLS]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    assert main(["--model", str(folder), "--pairs", "--output", str(tmp_path / "package")]) == 1
    assert "the service knows 0 up to the separator" in capsys.readouterr().err


def test_types_follow_the_first_separator() -> None:
    """The last token of a pair is one."""
    assert token_types([2, 5, 3, 6, 7, 3]) == [0, 0, 0, 1, 1, 1]
    assert token_types([2, 5, 3]) == [0, 0, 0]
