"""The recipe from its files to a checkpoint, with a tiny model."""

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch
from transformers import AutoModelForSequenceClassification

from model_export.errors import ExportError
from tests.model_export.tiny import write_checkpoint
from tests.training.corpora_files import write_corpora
from training.batches import grouped
from training.errors import TrainingError
from training.recipe import Recipe
from training.train import main, rate, run, soft_loss

RECIPE = Recipe(steps=60, batch_size=16, learning_rate=5e-3, warmup_steps=5, checkpoint_steps=30, average_steps=5)
COUNTS = {"sst2": 64, "clinc": 8, "reviews": 8, "negation": 8}


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder of small corpora."""
    return write_corpora(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A tiny checkpoint without names of labels, as an encoder alone has none."""
    return write_checkpoint(tmp_path / "start", id2label={0: "LABEL_0", 1: "LABEL_1"})


def arguments(corpora: Path, start: Path) -> dict[str, Path]:
    """Where everything lies."""
    files = {"sst2": corpora / "train.tsv", "dev": corpora / "dev.tsv", "corpora": corpora}
    return files | {"start": start, "output": corpora / "output"}


def test_a_run_learns_and_writes_what_it_measured(corpora: Path, start: Path) -> None:
    """The checkpoint tells the two words apart, kept its word embeddings, and says how it was made."""
    recipe = Recipe(**{**RECIPE.__dict__, "round": COUNTS})
    run(recipe, taught=None, **arguments(corpora, start))
    output = corpora / "output"
    record = json.loads((output / "training.json").read_text())
    assert record["recipe"]["steps"] == 60
    assert record["accuracy"][record["saved"]]["validation"] == max(
        figures["validation"] for figures in record["accuracy"].values()
    )
    assert (output / "step-30" / "model.safetensors").exists()
    assert json.loads((output / "config.json").read_text())["id2label"] == {"0": "NEGATIVE", "1": "POSITIVE"}
    before, after = (
        AutoModelForSequenceClassification.from_pretrained(path).distilbert.embeddings.word_embeddings.weight
        for path in (start, output)
    )
    assert torch.equal(before, after)


def test_frozen_layers_stay_as_they_are(corpora: Path, start: Path) -> None:
    """Of a model of two layers the embeddings and the first stay, the second and the head learn."""
    recipe = Recipe(**{**RECIPE.__dict__, "round": COUNTS, "frozen_layers": 1})
    run(recipe, taught=None, **arguments(corpora, start))
    before, after = (
        AutoModelForSequenceClassification.from_pretrained(path).state_dict() for path in (start, corpora / "output")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not {name for name in changed if ".embeddings." in name or ".layer.0." in name}
    assert {name for name in changed if ".layer.1." in name}
    assert {name for name in changed if name.startswith("classifier.")}


def test_what_a_teacher_says_is_learned(corpora: Path, start: Path) -> None:
    """Taught the opposite of the labels, the model says the opposite: the labels are three tenths of a target."""
    taught = corpora / "taught.tsv"
    lines = [
        (1.0 - n % 2, text.split("\t")[1])
        for n, text in enumerate((corpora / "train.tsv").read_text().split("\n")[1:-1])
    ]
    taught.write_text("positive\ttext\n" + "".join(f"{positive}\t{text}\n" for positive, text in lines))
    (corpora / "dev.tsv").write_text(
        "label\tsentence\n" + "".join(f"{positive:.0f}\t{text}\n" for positive, text in lines)
    )
    run(Recipe(**{**RECIPE.__dict__, "round": {"sst2": 64}}), taught=taught, **arguments(corpora, start))
    assert (
        max(
            figures["validation"]
            for figures in json.loads((corpora / "output" / "training.json").read_text())["accuracy"].values()
        )
        > 90
    )


def test_a_run_that_learns_nothing_is_refused(corpora: Path, start: Path) -> None:
    """Without steps the model stays random, and nothing is saved."""
    recipe = Recipe(**{**RECIPE.__dict__, "round": COUNTS, "steps": 1, "learning_rate": 0.0})
    labels = "".join(f"{int(n > 20)}\tfilm {n}\n" for n in range(200))
    (corpora / "dev.tsv").write_text("label\tsentence\n" + labels)
    with pytest.raises(ExportError, match="nothing was learned"):
        run(recipe, taught=None, **arguments(corpora, start))
    assert not (corpora / "output" / "model.safetensors").exists()


def test_the_output_is_never_overwritten(corpora: Path, start: Path) -> None:
    """An hour of work is not lost to a repeated command."""
    with pytest.raises(TrainingError, match="exists; name a new folder"):
        run(RECIPE, taught=None, **arguments(corpora, start) | {"output": corpora})


def test_the_command_names_what_is_missing(
    corpora: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and status 1."""
    options = arguments(corpora, start) | {"corpora": tmp_path / "nowhere"}
    assert main([part for name, path in options.items() for part in (f"--{name}", str(path))]) == 1
    assert capsys.readouterr().err.startswith("error: cannot read ")


def test_the_loss_is_least_at_the_target() -> None:
    """A target of 0.8 is met by a score of 0.8, not by a surer one."""
    target = torch.tensor([0.8])
    losses = [soft_loss(torch.tensor([[0.0, margin]]), target).item() for margin in (1.0, 1.386, 3.0)]
    assert min(losses) == losses[1]


def test_the_rate_rises_stays_and_falls() -> None:
    """Warm-up, plateau, linear decay to zero."""
    rates = [rate(step, Recipe(steps=1000, warmup_steps=100, decay_share=0.4)) for step in (0, 99, 500, 800, 1000)]
    assert rates == pytest.approx([0.01, 1.0, 1.0, 0.5, 0.0])


def test_batches_keep_their_bounds() -> None:
    """Every text once, at most so many texts and tokens, alike in length."""
    recipe = Recipe(batch_size=8, batch_tokens=256)
    lengths = [random.Random(n).choice([5, 9, 60, 128]) for n in range(200)]
    batches = grouped(lengths, recipe, random.Random(0))
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert all(len(batch) <= 8 and len(batch) * max(lengths[i] for i in batch) <= 256 for batch in batches)
