"""The mean of checkpoints: every weight, and nothing for models that have none."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch
from transformers import AutoModelForSequenceClassification

from tests.model_export.tiny import write_checkpoint
from training.average import main


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a checkpoint."""
    state: dict[str, torch.Tensor] = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    return state


def moved(start: Path, folder: Path, by: float) -> Path:
    """`start` with every weight moved."""
    model = AutoModelForSequenceClassification.from_pretrained(start)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)
    model.save_pretrained(folder)
    return folder


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    """Of all checkpoints alike; the tokenizer is the first one's."""
    start = write_checkpoint(tmp_path / "start")
    others = [moved(start, tmp_path / f"by{by}", by) for by in (0.25, 0.5)]
    assert main([str(path) for path in (start, *others)] + ["--output", str(tmp_path / "mean")]) == 0
    before, after = weights(start), weights(tmp_path / "mean")
    assert before.keys() == after.keys()
    assert all(torch.allclose(after[name], before[name] + 0.25, atol=1e-6) for name in before)
    assert (tmp_path / "mean" / "tokenizer.json").exists()


def test_weights_say_how_much_each_counts(tmp_path: Path) -> None:
    """Three quarters of one and a quarter of the other, whatever they add up to."""
    start = write_checkpoint(tmp_path / "start")
    other = moved(start, tmp_path / "other", 1.0)
    assert main([str(start), str(other), "--output", str(tmp_path / "mean"), "--weights", "3", "1"]) == 0
    before, after = weights(start), weights(tmp_path / "mean")
    assert all(torch.allclose(after[name], before[name] + 0.25, atol=1e-6) for name in before)


@pytest.mark.parametrize("shares", [["1"], ["1", "0"], ["1", "1", "1"]], ids=["few", "zero", "many"])
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, shares: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    assert main(["a", "b", "--output", str(tmp_path / "mean"), "--weights", *shares]) == 1
    assert "expected 2 numbers above 0" in capsys.readouterr().err


def test_rounding_leaves_the_grid_alone(tmp_path: Path) -> None:
    """Rounded once, weights are rounded to themselves, whatever the seed."""
    start = write_checkpoint(tmp_path / "start")
    for source, seed, output in ((start, 0, "once"), (tmp_path / "once", 1, "twice")):
        assert main([str(source), "--round-at-random", str(seed), "--output", str(tmp_path / output)]) == 0
    name = "distilbert.transformer.layer.0.ffn.lin1.weight"
    first, once, twice = (weights(path)[name] for path in (start, tmp_path / "once", tmp_path / "twice"))
    assert torch.allclose(once, twice, atol=1e-7)
    assert not torch.allclose(first, once, atol=1e-7)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"hidden_dim": 48}, "has other weights than"), (None, "exists; name a new folder")],
    ids=["shapes", "output"],
)
def test_what_has_no_mean_is_refused(
    tmp_path: Path, changed: dict[str, int] | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, and nothing is written."""
    start = write_checkpoint(tmp_path / "start")
    other = write_checkpoint(tmp_path / "other", **changed) if changed else start
    assert main([str(start), str(other), "--output", str(tmp_path / "mean" if changed else other)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
