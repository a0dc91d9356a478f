"""What a run is judged by, on answers that can be counted by hand."""

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import numpy as np

from model_export.calibrate import targets_of
from model_export.dataset import LabelledText
from model_export.finetune.measures import constant, figures, judged_by, losses
from model_export.scores import activate

TARGETS = targets_of([LabelledText("a text", (label,)) for label in (0, 0, 0, 1)], 3)
LOGITS = np.array([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])


def test_one_label_a_text() -> None:
    """Three of four right; of label 0 two of three, of label 1 one. A label that no text has is in no mean."""
    found = figures(LOGITS, TARGETS, "softmax")
    assert found["accuracy"] == 75.0
    assert found["balanced accuracy"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert found["macro F1"] == pytest.approx(100 * (0.8 + 2 / 3) / 2)
    right, wrong = np.log(1 + 2 * np.exp(-2)), np.log(np.exp(2) + 2)
    assert found["loss"] == pytest.approx((3 * right + wrong) / 4)


def test_several_labels_a_text() -> None:
    """Accuracy counts texts whose labels are all right; a text may have none."""
    targets = np.array([[True, True], [True, False], [False, False]])
    found = figures(np.array([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]]), targets, "sigmoid")
    assert found["accuracy"] == pytest.approx(100 * 2 / 3)
    assert found["micro F1"] == pytest.approx(100 * 6 / 7)
    assert found["macro F1"] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_loss_of_a_certain_error_is_finite() -> None:
    """A score of 0 for what is right would be infinite."""
    scores = activate(np.array([[2000.0, -2000.0, 0.0]]), "softmax")
    assert 100 < losses(scores, np.array([[False, True, False]]), "softmax")[0] < 1000


@pytest.mark.parametrize(("measure", "expected"), [("accuracy", 75.0), ("balanced accuracy", 50.0), ("micro F1", 75.0)])
def test_what_one_answer_for_all_can_have(measure: str, expected: float) -> None:
    """Always label 0; balanced, one of the two labels that there are."""
    assert constant(measure, TARGETS) == expected


def test_one_answer_may_be_several_labels() -> None:
    """Both labels to all three texts: 4 right of 6 given, and of 4 to be given."""
    assert constant("micro F1", np.array([[True, True], [True, False], [False, True]])) == pytest.approx(80.0)


def test_the_measure_fits_what_is_trained_for() -> None:
    """Weighted training may cost accuracy, and is not to be refused for it."""
    assert judged_by("softmax", "none") == "accuracy"
    assert judged_by("softmax", "balanced") == "balanced accuracy"
    assert judged_by("sigmoid", "none") == judged_by("sigmoid", "balanced") == "micro F1"
