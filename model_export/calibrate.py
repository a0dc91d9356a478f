"""Temperature scaling (Guo et al., 2017, arXiv:1706.04599): scores that mean what they say, at no cost when serving.

One number divides all logits; the labels stay as they are. It is fitted on labelled texts that the model has not
learned from, and folded into the classifier's last layer, so that whoever runs the package needs to know nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model_export.checkpoint import Checkpoint
from model_export.errors import ExportError
from model_export.labelled import Example
from model_export.reference import CheckpointScorer
from model_export.scores import FloatArray, activate
from model_export.windows import Windows

MIN_TEXTS = 200
"""Fewer say too little: at 90 % right, 200 texts have 20 wrong ones to learn from."""

LOWEST, HIGHEST = 0.9, 10.0
"""Bounds of the temperature. Below 1 it sharpens, and what one kind of text bears makes the model certain where it errs
about others: little of that is allowed. Texts without a single wrong label would ask for 0, which is certainty."""

BINS = 15
_BATCH_SIZE = 32
_STEPS = 60


@dataclass(frozen=True)
class Calibration:
    """What is divided by, what it was fitted on, and the expected calibration error before and after, in per cent."""

    temperature: float
    data: str
    rows: int
    error_before: float
    error_after: float


def calibrate(
    checkpoint: Checkpoint, examples: Sequence[Example], data: Path, windows: Windows | None = None
) -> Calibration | None:
    """Fit a temperature on `examples` and fold it into the head of `checkpoint`; None for fewer than 200 texts.

    Raises ExportError for a model whose last layer can't be told.
    """
    if len(examples) < MIN_TEXTS:
        return None
    logits = _logits(CheckpointScorer(checkpoint, windows), examples)
    labels = np.array([example.label for example in examples])
    temperature = fit(logits, labels)
    fold(checkpoint, temperature)
    return Calibration(
        temperature=round(temperature, 4),
        data=data.name,
        rows=len(examples),
        error_before=round(calibration_error(logits, labels), 2),
        error_after=round(calibration_error(logits / temperature, labels), 2),
    )


def fit(logits: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """The temperature in [0.9, 10] that gives `labels` (texts,) the highest likelihood under `logits` (texts, labels).

    The likelihood is concave in 1 / temperature, so that halving the interval of its slope's sign finds the maximum.
    """
    given = logits[np.arange(len(labels)), labels]
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        expected = np.sum(activate(logits * middle, "softmax") * logits, axis=1)
        if np.mean(given - expected) > 0.0:
            low = middle
        else:
            high = middle
    return 2.0 / (low + high)


def fold(checkpoint: Checkpoint, temperature: float) -> None:
    """Divide the weights and the bias of the last layer by `temperature`, in place.

    Raises ExportError when the model has no linear last layer of one output a label.
    """
    outputs = len(checkpoint.labels)
    heads = [
        module
        for name, module in checkpoint.model.named_modules()
        if name.startswith("classifier") and isinstance(module, torch.nn.Linear) and module.out_features == outputs
    ]
    if not heads:
        raise ExportError(f"a {checkpoint.architecture} has no classifier to divide by a temperature")
    with torch.no_grad():
        for parameter in heads[-1].parameters():
            parameter.div_(temperature)


def calibration_error(logits: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """Expected calibration error in per cent over 15 equal bins of the likeliest label's score (Guo et al., eq. 3)."""
    scores = activate(logits, "softmax")
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float(np.sum(right[bins == each]) - np.sum(confidence[bins == each]))) for each in range(BINS)]
    return 100.0 * sum(gaps) / len(labels)


def _logits(scorer: CheckpointScorer, examples: Sequence[Example]) -> FloatArray:
    """The logits (texts, labels) of every example, in the order given."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].text))
    batches = [order[start : start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]
    found = [scorer.logits([examples[index].text for index in batch]) for batch in batches]
    logits: FloatArray = np.concatenate(found).astype(np.float64)[np.argsort(order)]
    return logits
