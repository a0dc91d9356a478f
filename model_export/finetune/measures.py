"""What a run is judged by, from logits (texts, labels) and targets of the same shape."""

from typing import Any

import numpy as np
from sklearn.metrics import f1_score, recall_score

from model_export.calibrate import Targets
from model_export.finetune.recipe import ClassWeights
from model_export.scores import Activation, FloatArray, activate, given


def losses(scores: FloatArray, targets: Targets, activation: Activation) -> FloatArray:
    """Cross-entropy of each text, unweighted; of several labels a text the mean over all labels."""
    right = np.where(targets, scores, 1.0 - scores) if activation == "sigmoid" else scores[targets][:, None]
    found: FloatArray = -np.log(right.clip(min=np.finfo(np.float64).tiny)).mean(axis=1)
    return found


def figures(logits: FloatArray, targets: Targets, activation: Activation) -> dict[str, float]:
    """The mean loss, and the other measures in per cent. With several labels a text, accuracy is that of all of them.

    Means over the labels ("macro", "balanced") are over those that `targets` have.
    """
    scores = activate(logits, activation)
    decided = given(scores, activation)
    present: Any = {"labels": np.flatnonzero(targets.any(axis=0)), "average": "macro", "zero_division": 0.0}
    found = {
        "accuracy": np.mean((decided == targets).all(axis=1)),
        "macro F1": f1_score(targets, decided, **present),
    }
    if activation == "sigmoid":
        found["micro F1"] = f1_score(targets, decided, average="micro", zero_division=0.0)
    else:
        found["balanced accuracy"] = recall_score(targets, decided, **present)
    percent = {name: 100.0 * float(value) for name, value in found.items()}
    return {"loss": float(losses(scores, targets, activation).mean())} | percent


def judged_by(activation: Activation, kind: ClassWeights) -> str:
    """The measure that decides which weights are saved: the one that fits what is trained for."""
    if activation == "sigmoid":
        return "micro F1"
    return "accuracy" if kind == "none" else "balanced accuracy"


def constant(measure: str, targets: Targets) -> float:
    """The best of `measure` in per cent that giving the same labels to all texts can have."""
    counts = np.sort(targets.sum(axis=0))[::-1]
    if measure == "accuracy":
        return float(100.0 * counts[0] / len(targets))
    if measure == "balanced accuracy":
        return float(100.0 / np.count_nonzero(counts))
    # F1 = 2 TP / (given + right), of the most frequent label, the two most frequent ones, and so on.
    number = np.arange(1, len(counts) + 1)
    return float(100.0 * np.max(2 * counts.cumsum() / (number * len(targets) + counts.sum())))
