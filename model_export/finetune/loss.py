"""What training makes small: cross-entropy, of one label a text or of each label alone, weighted or not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from model_export.finetune.recipe import ClassWeights
from model_export.scores import Activation

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""float32 logits and float32 targets of 0 and 1, both (texts, labels) -> the mean loss, float32 ()."""


def loss_of(activation: Activation, weights: torch.Tensor | None) -> Loss:
    """The loss of logits that `activation` makes scores of; `weights` as `balanced` gives them."""
    if activation == "sigmoid":
        return lambda logits, targets: functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
    return lambda logits, targets: functional.cross_entropy(logits, targets.argmax(dim=1), weight=weights)


def class_weights(kind: ClassWeights, targets: npt.NDArray[np.bool_], activation: Activation) -> torch.Tensor | None:
    """A weight for each label by its frequency in `targets` (texts, labels), float32; None for "none".

    For one label a text, texts / (labels * texts with it), as scikit-learn's "balanced"; for several, texts without it
    / texts with it. Both make rare labels count as much as frequent ones.
    """
    if kind == "none":
        return None
    having = targets.sum(axis=0).clip(min=1)  # a label that only the dev set has, or none, divides by nothing
    texts, labels = targets.shape
    balanced: npt.NDArray[Any] = (texts - having).clip(min=1) / having
    if activation == "softmax":
        balanced = texts / (labels * having)
    return torch.tensor(balanced, dtype=torch.float32)
