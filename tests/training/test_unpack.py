"""A package becomes a checkpoint to go on from: the bundled one, and folders that are none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from model_export.weights import by_role
from training.errors import TrainingError
from training.scorers import Scorer
from training.unpack import main, unpack, without_names

BUNDLED = Path(__file__).parents[2] / "models" / "distilbert-sst2-mini"
TEXTS = (
    "A warm, funny film.",
    "Not good, and far too long.",
    "the order was sent on Monday",
    "We expected little and got less.",
    "It could not be better!",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the bundled package. Not to be changed."""
    folder = tmp_path_factory.mktemp("unpacked") / "checkpoint"
    assert main([str(BUNDLED), "--output", str(folder)]) == 0
    return folder


def test_scores_are_near_the_packages(checkpoint: Path) -> None:
    """But for the activations' rounding, and with the temperature taken out of the head."""
    temperature = json.loads((BUNDLED / "manifest.json").read_text())["calibration"]["temperature"]
    logits = Scorer(checkpoint).margins(TEXTS) / temperature
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(Scorer(BUNDLED).positive(TEXTS), abs=0.05)


def test_exported_again_the_integers_are_the_packages(checkpoint: Path) -> None:
    """Nothing is lost by going back and forth."""
    again = by_role(AutoModelForSequenceClassification.from_pretrained(checkpoint))
    stored = load_file(BUNDLED / "weights.safetensors")
    assert set(again) == set(stored)
    assert not [role for role, array in stored.items() if array.dtype == np.int8 and (again[role] != array).any()]


def test_the_tokenizer_reads_words_alike_and_names_no_emoji(checkpoint: Path) -> None:
    """An export with --emoji-names would name them twice otherwise."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.tokenize("Films!") == ["films", "!"]
    assert tokenizer.tokenize("\N{SMILING FACE WITH OPEN MOUTH}") == ["[UNK]"]
    assert dict(tokenizer("x")) == {"input_ids": [101, 1060, 102], "attention_mask": [1, 1, 1]}
    assert without_names({"normalizer": None}) == {"normalizer": None}


def test_what_is_no_package_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and status 1 for a folder without weights; nothing is written."""
    shutil.copy(BUNDLED / "manifest.json", tmp_path)
    shutil.copy(BUNDLED / "tokenizer.json", tmp_path)
    shutil.copy(BUNDLED / "config.json", tmp_path)
    assert main([str(tmp_path), "--output", str(tmp_path / "output")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no package of a DistilBERT: ")
    assert not (tmp_path / "output").exists()


def test_the_output_is_never_overwritten(tmp_path: Path) -> None:
    """A checkpoint is hours of work."""
    with pytest.raises(TrainingError, match="exists; name a new folder"):
        unpack(BUNDLED, tmp_path)
