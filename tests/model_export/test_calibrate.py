"""The temperature: found where it is known, folded so that nobody needs to know it, and never from too few texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export group: make install-export")

from model_export import calibrate
from model_export.checkpoint import load
from model_export.errors import ExportError
from model_export.labelled import Example
from model_export.reference import CheckpointScorer
from model_export.scores import activate
from model_export.texts import short_texts
from tests.model_export.tiny import write_checkpoint


def drawn(logits: "np.ndarray[Any, np.dtype[np.float64]]", seed: int = 0) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Labels drawn with the probabilities that `logits` state."""
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return (np.random.default_rng(seed).random(len(logits)) > scores[:, 0]).astype(np.int64)


def targets(labels: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """One column a label."""
    return np.stack([labels == 0, labels == 1], axis=1)


@pytest.mark.parametrize("temperature", [0.95, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float) -> None:
    """Labels drawn from logits / T are best explained by T, and calibrated after it."""
    true = np.random.default_rng(1).normal(scale=2.0, size=(20_000, 2))
    logits, right = true * temperature, targets(drawn(true))
    assert calibrate.fit(logits, right, "softmax") == pytest.approx(temperature, rel=0.05)
    assert calibrate.calibration_error(activate(true, "softmax"), right, "softmax") < 1.0


def test_several_labels_have_one_temperature() -> None:
    """Each decision alone: targets drawn by sigmoid(logits / T) are best explained by T."""
    rng = np.random.default_rng(1)
    true = rng.normal(scale=2.0, size=(10_000, 3))
    right = rng.random(true.shape) < activate(true, "sigmoid")
    assert calibrate.fit(true * 2.5, right, "sigmoid") == pytest.approx(2.5, rel=0.05)
    assert calibrate.calibration_error(activate(true, "sigmoid"), right, "sigmoid") < 1.0
    assert calibrate.calibration_error(activate(true * 2.5, "sigmoid"), right, "sigmoid") > 5.0


def test_record_of_a_fine_tuning_is_read(tmp_path: Path) -> None:
    """Where there is one; a damaged one gets a line."""
    assert calibrate.recorded(tmp_path) is None
    path = tmp_path / "training.json"
    path.write_text('{"accuracy": {}}')
    assert calibrate.recorded(tmp_path) is None
    path.write_text(
        '{"calibration": {"temperature": 1.5, "data": "a.csv", "rows": 300, "error_before": 4.0, "error_after": 1.0}}'
    )
    assert calibrate.recorded(tmp_path) == calibrate.Calibration(1.5, "a.csv", 300, 4.0, 1.0)
    path.write_text('{"calibration": {"temperature": 1.5}}')
    with pytest.raises(ExportError, match="the calibration cannot be read"):
        calibrate.recorded(tmp_path)


def test_texts_without_an_error_do_not_ask_for_certainty() -> None:
    """The temperature is bounded where the likelihood has no maximum."""
    logits = np.array([[1.0, -1.0]] * 300)
    assert calibrate.fit(logits, targets(np.zeros(300, np.int64)), "softmax") == pytest.approx(
        calibrate.LOWEST, rel=1e-3
    )


@pytest.mark.parametrize("architecture", ["DistilBertForSequenceClassification", "RobertaForSequenceClassification"])
def test_the_head_is_divided(architecture: str, tmp_path: Path) -> None:
    """Folded into the last layer, the temperature divides every logit, and nothing else changes."""
    loaded = load(write_checkpoint(tmp_path / "tiny", architecture))
    texts = list(short_texts())[:8]
    before = CheckpointScorer(loaded).scores(texts)
    calibrate.fold(loaded, 2.0)
    after = CheckpointScorer(loaded).scores(texts)
    ratio = np.log(before[:, 0] / before[:, 1]) / np.log(after[:, 0] / after[:, 1])
    assert ratio == pytest.approx(2.0, rel=1e-3)


def test_a_model_is_calibrated_in_place(checkpoint: Path) -> None:
    """An overconfident model's error falls, and what is reported is what was folded."""
    loaded = load(checkpoint)
    texts = (list(short_texts()) * 40)[:400]
    scores = CheckpointScorer(loaded).scores(texts)
    labels = drawn(np.log(scores) / 4.0)
    examples = [Example(int(label), text) for label, text in zip(labels, texts, strict=True)]
    found = calibrate.calibrate(loaded, examples, Path("dev.tsv"))
    assert found is not None
    assert found.temperature > 1.5
    assert found.error_after < found.error_before
    again = CheckpointScorer(loaded).scores(texts)
    ratio = np.log(scores[:, 0] / scores[:, 1]) / np.log(again[:, 0] / again[:, 1])
    assert ratio == pytest.approx(found.temperature, rel=1e-2)


def test_few_texts_fit_nothing(checkpoint: Path) -> None:
    """Under 200 texts the model stays as it is."""
    assert calibrate.calibrate(load(checkpoint), [Example(0, "bad")] * 199, Path("dev.tsv")) is None


def test_a_model_without_a_head_is_refused(checkpoint: Path) -> None:
    """Nothing is divided by guesswork."""
    loaded = load(checkpoint)
    del loaded.model.classifier
    with pytest.raises(ExportError, match="no classifier"):
        calibrate.fold(loaded, 2.0)
