"""The bundled model's recipe: what it starts from, what it holds out, and that it trains at all."""

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel

from model_export.finetune import (
    LABELS,
    Recipe,
    bert_as_distilbert,
    length_sorted_batches,
    main,
    minilm_folder,
)


def test_minilm_carries_over_exactly() -> None:
    """The DistilBERT's hidden states are those of the BERT that it was made from, to 1e-5, padded texts included."""
    bert = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).eval()
    distilbert = bert_as_distilbert(bert, LABELS).distilbert.eval()
    texts = ["Good.", "An overlong, overwrought and yet oddly moving story about two people and a lighthouse."]
    encoded = AutoTokenizer.from_pretrained(minilm_folder())(texts, padding=True, return_tensors="pt")
    inputs = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
    with torch.inference_mode():
        difference = bert(**inputs).last_hidden_state - distilbert(**inputs).last_hidden_state
    assert (difference * encoded["attention_mask"][..., None]).abs().max() < 1e-5


def test_batches_hold_every_text_once_and_near_lengths_together() -> None:
    """Padding is less than half of what random batches would have."""
    rng = random.Random(3)
    lengths = [rng.randint(3, 60) for _ in range(1_000)]
    batches = length_sorted_batches(lengths, 32, rng)
    assert sorted(index for batch in batches for index in batch) == list(range(1_000))

    def padding(of: list[list[int]]) -> int:
        return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in of)

    shuffled = rng.sample(range(1_000), 1_000)
    assert 2 * padding(batches) < padding([shuffled[at : at + 32] for at in range(0, 1_000, 32)])


def test_recipe_writes_a_checkpoint_with_its_record(tmp_path: Path) -> None:
    """A run of one epoch on a few texts ends in a checkpoint that transformers loads, with the figures beside it."""
    data = tmp_path / "data.tsv"
    data.write_text(
        "label\tsentence\n" + "".join(f"{n % 2}\t{'good' if n % 2 else 'bad'} text {n} of five\n" for n in range(64))
    )
    output = tmp_path / "checkpoint"
    assert main(["--data", str(data), "--dev", str(data), "--output", str(output), "--epochs", "1"]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(output)
    assert model.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    record = json.loads((output / "training.json").read_text())
    assert record["recipe"]["epochs"] == 1
    assert set(record["accuracy"]) == {"epoch 1", "mean of snapshots"}
    assert record["texts"]["training"] + record["texts"]["held out"] <= 64


def test_existing_output_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half an hour of work is not to be lost to a repeated command."""
    assert main(["--data", "x", "--dev", "x", "--output", str(tmp_path)]) == 1
    assert "exists; name a new folder" in capsys.readouterr().err


def test_default_recipe_is_the_shipped_one() -> None:
    """The numbers in the model card; a change of one needs a new model."""
    assert (Recipe.epochs, Recipe.batch_size, Recipe.learning_rate, Recipe.seed) == (3, 32, 5e-5, 0)
