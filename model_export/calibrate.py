"""Temperature scaling (Guo et al., 2017, arXiv:1706.04599): scores that mean what they say, at no cost when serving.

One number divides all logits; the labels stay as they are. It is fitted on labelled texts that the model has not
learned from, and folded into the classifier's last layer, so that whoever runs the package needs to know nothing of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model_export.checkpoint import Checkpoint
from model_export.dataset import LabelledText
from model_export.errors import ExportError, one_line
from model_export.labelled import Example
from model_export.reference import CheckpointScorer, logits_of
from model_export.scores import Activation, FloatArray, activate
from model_export.windows import Windows

MIN_TEXTS = 200
"""Fewer say too little: at 90 % right, 200 texts have 20 wrong ones to learn from."""

LOWEST, HIGHEST = 0.85, 10.0
"""Bounds of the temperature. Below 1 it sharpens, and what one kind of text bears makes the model certain where it errs
about others: little of that is allowed. Texts without a single wrong label would ask for 0, which is certainty."""

BINS = 15
TRAINING = "training.json"
"""What a fine-tuning writes beside its checkpoint."""
_STEPS = 60

Targets = npt.NDArray[np.bool_]
"""(texts, labels): which labels are right for a text."""


@dataclass(frozen=True)
class Calibration:
    """What is divided by, what it was fitted on, and the expected calibration error before and after, in per cent."""

    temperature: float
    data: str
    rows: int
    error_before: float
    error_after: float


def targets_of(examples: Sequence[Example | LabelledText], labels: int) -> Targets:
    """The right labels of each text as a row of booleans."""
    targets = np.zeros((len(examples), labels), np.bool_)
    for row, example in zip(targets, examples, strict=True):
        row[list(example.labels)] = True
    return targets


def calibrate(
    checkpoint: Checkpoint, examples: Sequence[Example | LabelledText], data: Path, windows: Windows | None = None
) -> Calibration | None:
    """Fit a temperature on `examples` and fold it into the head of `checkpoint`; None for fewer than 200 texts.

    Raises ExportError for a model whose last layer can't be told.
    """
    if len(examples) < MIN_TEXTS:
        return None
    logits = logits_of(CheckpointScorer(checkpoint, windows), [example.text for example in examples])
    return scale(checkpoint, logits, targets_of(examples, logits.shape[1]), data.name)


def scale(checkpoint: Checkpoint, logits: FloatArray, targets: Targets, data: str) -> Calibration:
    """Fit a temperature on the `logits` that `checkpoint` gives for texts of `data`, and fold it into its head.

    Raises ExportError for a model whose last layer can't be told.
    """
    activation = checkpoint.activation
    temperature = fit(logits, targets, activation)
    fold(checkpoint, temperature)
    return Calibration(
        temperature=round(temperature, 4),
        data=data,
        rows=len(logits),
        error_before=round(calibration_error(activate(logits, activation), targets, activation), 2),
        error_after=round(calibration_error(activate(logits / temperature, activation), targets, activation), 2),
    )


def recorded(checkpoint: Path) -> Calibration | None:
    """What a fine-tuning wrote of the temperature that it folded into the checkpoint in this folder; None without.

    Raises ExportError for a record that can't be read.
    """
    path = checkpoint / TRAINING
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("calibration")
        return Calibration(**found) if found else None
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise ExportError(f"{path}: the calibration cannot be read: {one_line(exc)}") from exc


def fit(logits: FloatArray, targets: Targets, activation: Activation) -> float:
    """The temperature in [0.9, 10] that gives `targets` the highest likelihood under `logits`, both (texts, labels).

    The likelihood is concave in 1 / temperature, so that halving the interval of its slope's sign finds the maximum.
    The slope is the same for one label a text (softmax) and for several (sigmoid).
    """
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if np.sum((targets - activate(logits * middle, activation)) * logits) > 0.0:
            low = middle
        else:
            high = middle
    return 2.0 / (low + high)


def fold(checkpoint: Checkpoint, temperature: float) -> None:
    """Divide the weights and the bias of the last layer by `temperature`, in place.

    Raises ExportError when the model has no linear last layer of one output a label.
    """
    with torch.no_grad():
        for parameter in head(checkpoint).parameters():
            parameter.div_(temperature)


def head(checkpoint: Checkpoint) -> torch.nn.Linear:
    """The last layer: the last linear one outside of the encoder, with one output a label.

    Raises ExportError when there is none.
    """
    encoder = f"{checkpoint.model.base_model_prefix}."
    heads = [
        module
        for name, module in checkpoint.model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module.out_features == len(checkpoint.labels)
        and not name.startswith(encoder)
    ]
    if not heads:
        raise ExportError(f"a {checkpoint.architecture} has no classifier to divide by a temperature")
    return heads[-1]


def calibration_error(scores: FloatArray, targets: Targets, activation: Activation) -> float:
    """Expected calibration error in per cent over 15 equal bins of the scores (Guo et al., eq. 3)."""
    stated, right, counts = reliability(scores, targets, activation)
    return float(100.0 * np.sum(np.abs(right - stated) * counts) / np.sum(counts))


def reliability(
    scores: FloatArray, targets: Targets, activation: Activation
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """By bin of the scores: their mean, the share of right ones, and how many there are; empty bins are left out.

    With one label a text that is the likeliest label's score, with several every label's.
    """
    chosen = np.ones_like(targets)
    if activation == "softmax":
        chosen = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
    stated, right = scores[chosen], targets[chosen]
    bins = np.minimum((stated * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    kept = counts > 0
    means = [np.bincount(bins, values, BINS)[kept] / counts[kept] for values in (stated, right)]
    return means[0], means[1], counts[kept]
