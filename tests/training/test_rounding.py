"""What a short training from a package changes is less than half a step of its integers, and must not be lost."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from model_export.quantise import WEIGHT_LIMIT, to_int8
from tests.model_export.tiny import write_checkpoint
from training.rounding import round_at_random

SHIFT = 0.2
"""Steps by which the test moves weights that lie on the grid."""


@pytest.fixture
def model(tmp_path: Path) -> PreTrainedModel:
    """A tiny one whose weights lie on the grid."""
    found: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(write_checkpoint(tmp_path))
    round_at_random(found, seed=0)
    return found


def steps(weights: torch.Tensor) -> np.ndarray:
    """Weights (outputs, inputs) in steps of the export's grid."""
    return np.asarray(weights.detach() / (weights.detach().abs().amax(dim=1, keepdim=True) / WEIGHT_LIMIT))


def test_an_export_changes_nothing_again(model: PreTrainedModel) -> None:
    """The export rounds to the same integers."""
    for layer in model.distilbert.transformer.layer:
        integers, _ = to_int8(layer.ffn.lin1.weight.detach().numpy().T, WEIGHT_LIMIT, axis=0)
        assert np.allclose(integers.T, steps(layer.ffn.lin1.weight), atol=1e-4)


def test_less_than_half_a_step_survives_on_average(model: PreTrainedModel) -> None:
    """Rounded to the nearest integer, all of it would be gone. The largest weights stay: they set the scale."""
    weights = model.distilbert.transformer.layer[0].ffn.lin1.weight
    before = steps(weights)
    inner = np.abs(before) < WEIGHT_LIMIT - 1
    with torch.no_grad():
        scales = weights.abs().amax(dim=1, keepdim=True) / WEIGHT_LIMIT
        weights.add_(torch.from_numpy(inner) * SHIFT * scales)
    assert (np.rint(steps(weights)) == np.rint(before)).all()
    round_at_random(model, seed=1)
    assert (steps(weights) - before)[inner].mean() == pytest.approx(SHIFT, abs=0.05)


def test_a_seed_gives_the_same_weights(tmp_path: Path) -> None:
    """Another one does not."""
    rounded = []
    for seed in (0, 0, 1):
        model = AutoModelForSequenceClassification.from_pretrained(write_checkpoint(tmp_path / "checkpoint"))
        round_at_random(model, seed)
        rounded.append(model.distilbert.transformer.layer[1].attention.q_lin.weight)
    assert torch.equal(rounded[0], rounded[1])
    assert not torch.equal(rounded[0], rounded[2])
