"""The loss, and weights for labels that are rare."""

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from model_export.finetune.loss import class_weights, loss_of

RARE = np.array([[True, False]] * 9 + [[False, True]])


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """With one label a text; without weights there are none."""
    weights = class_weights("balanced", RARE, "softmax")
    assert weights is not None
    assert weights.tolist() == pytest.approx(
        compute_class_weight("balanced", classes=np.array([0, 1]), y=RARE[:, 1]).tolist()
    )
    assert class_weights("none", RARE, "softmax") is None


def test_balanced_weights_of_several_labels_are_odds() -> None:
    """Texts without the label by texts with it: both decisions weigh the same in sum."""
    weights = class_weights("balanced", RARE, "sigmoid")
    assert weights is not None
    assert weights.tolist() == pytest.approx([1 / 9, 9.0])


def test_one_label_a_text_is_cross_entropy() -> None:
    """Of the right label, weighted by its weight."""
    logits, targets, weights = torch.randn(4, 3), torch.eye(3)[[0, 2, 1, 2]], torch.tensor([1.0, 2.0, 3.0])
    expected = functional.cross_entropy(logits, torch.tensor([0, 2, 1, 2]), weight=weights)
    assert loss_of("softmax", weights)(logits, targets) == pytest.approx(expected.item())


def test_several_labels_are_judged_each_alone() -> None:
    """At a logit of 0 every decision costs ln 2, times the label's weight where the label is right."""
    logits, targets = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    assert loss_of("sigmoid", None)(logits, targets) == pytest.approx(np.log(2))
    assert loss_of("sigmoid", torch.tensor([3.0, 5.0]))(logits, targets) == pytest.approx((3 + 1) / 2 * np.log(2))
