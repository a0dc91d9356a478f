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
    accuracy,
    length_sorted_batches,
    main,
)
from model_export.labelled import read_labelled
from model_export.minilm import bert_as_distilbert, minilm_folder


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


def write_data(path: Path, rows: int) -> Path:
    """Labelled texts that a few steps tell apart, and whose sentences share no phrases."""
    words = ("awful dull rude", "great lovely kind")
    lines = (f"{n % 2}\t{words[n % 2]} text number{n} of{n} many{n}\n" for n in range(rows))
    path.write_text("label\tsentence\n" + "".join(lines))
    return path


def test_recipe_writes_a_checkpoint_with_its_record(tmp_path: Path) -> None:
    """A run too short for a snapshot saves the last epoch, trained and measured, with the figures beside it."""
    data, output = write_data(tmp_path / "data.tsv", 640), tmp_path / "checkpoint"
    assert main(["--data", str(data), "--dev", str(data), "--output", str(output), "--epochs", "1"]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(output)
    assert model.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    record = json.loads((output / "training.json").read_text())
    assert record["recipe"]["epochs"] == 1
    assert set(record["accuracy"]) == {"epoch 1"}
    assert record["texts"]["training"] + record["texts"]["held out"] <= 640
    tokenizer = AutoTokenizer.from_pretrained(output)
    examples = read_labelled(data)[:100]
    assert accuracy(model, tokenizer, examples, Recipe()) == pytest.approx(record["accuracy"]["epoch 1"]["dev"], abs=5)


def test_three_named_labels_from_csv_without_a_dev_set(tmp_path: Path) -> None:
    """The checkpoint has the labels of the file, and both splits come from it."""
    data, output = tmp_path / "data.csv", tmp_path / "checkpoint"
    words = {"sad": "awful dull rude", "glad": "great lovely kind", "calm": "slow quiet lake"}
    rows = (f"{label},{text} text number{n} of{n} many{n}\n" for n in range(100) for label, text in words.items())
    data.write_text("mood,review\n" + "".join(rows))
    options = ["--text-column", "review", "--label-column", "mood", "--epochs", "2", "--learning-rate", "1e-3"]
    assert main(["--data", str(data), "--output", str(output), *options]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(output)
    assert model.config.id2label == {0: "calm", 1: "glad", 2: "sad"}
    assert json.loads((output / "training.json").read_text())["texts"]["dev"] == 30


def test_a_run_that_learns_nothing_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels without any relation to the texts end in a reason, not in a checkpoint."""
    data, dev, output = tmp_path / "data.tsv", tmp_path / "dev.tsv", tmp_path / "checkpoint"
    data.write_text("label\tsentence\n" + "".join(f"0\tthe same five words {n}\n" for n in range(32)))
    dev.write_text("label\tsentence\n0\tthe same five words\n1\tanother six words of text\n")
    assert main(["--data", str(data), "--dev", str(dev), "--output", str(output), "--epochs", "1"]) == 1
    assert "nothing was learned: 50.0 %" in capsys.readouterr().err
    assert not output.exists()


def test_existing_output_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half an hour of work is not to be lost to a repeated command."""
    assert main(["--data", "x", "--dev", "x", "--output", str(tmp_path)]) == 1
    assert "exists; name a new folder" in capsys.readouterr().err


def test_default_recipe_is_the_shipped_one() -> None:
    """The numbers in the model card; a change of one needs a new model."""
    assert (Recipe.epochs, Recipe.batch_size, Recipe.learning_rate, Recipe.seed) == (3, 32, 5e-5, 0)


@pytest.mark.parametrize("option", ["--epochs=0", "--batch-size=-1", "--learning-rate=nan", "--max-tokens=100000"])
def test_options_have_bounds(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, before anything is read."""
    with pytest.raises(SystemExit):
        main(["--data", "x", "--output", "y", option])
    assert "should be above 0 and at most 10000" in capsys.readouterr().err
