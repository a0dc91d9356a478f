"""Accuracy of package and checkpoint on labelled texts; quantisation may not cost more than half a point."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_export.calibrate import targets_of
from model_export.checkpoint import Checkpoint
from model_export.dataset import LabelledText
from model_export.errors import ExportError
from model_export.labelled import Example
from model_export.reference import CheckpointScorer
from model_export.scores import Activation, PackageScorer, Scorer, given

MAX_DROP_POINTS = 0.5
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Accuracy:
    """Texts with the right label in per cent, with all right labels and no other where a text may have several.

    They are `rows` texts of the file `data`, which has this SHA-256.
    """

    data: str
    rows: int
    sha256: str
    onnx: float
    pytorch: float


def measure(
    reference: CheckpointScorer,
    package: PackageScorer,
    examples: Sequence[Example | LabelledText],
    data: Path,
    activation: Activation,
) -> Accuracy:
    """Score every example with both; raises ExportError when the package is more than 0.5 points worse."""
    result = Accuracy(
        data=data.name,
        rows=len(examples),
        sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
        onnx=round(percent_right(package, examples, activation), 3),
        pytorch=round(percent_right(reference, examples, activation), 3),
    )
    # Rounded, because 90.5 and 90.0 are not 0.5 apart in binary.
    drop = round(result.pytorch - result.onnx, 6)
    if drop > MAX_DROP_POINTS:
        raise ExportError(
            f"accuracy on {data.name} drops by {drop:.2f} points, from {result.pytorch:.2f} to {result.onnx:.2f} % "
            f"(allowed: {MAX_DROP_POINTS:g})"
        )
    return result


def check(examples: Sequence[Example | LabelledText], checkpoint: Checkpoint, data: Path) -> None:
    """Raise ExportError for numbers of labels that don't fit the checkpoint. Line 1 of the file is the header."""
    if checkpoint.activation == "sigmoid":
        raise ExportError(
            f"{data} holds one label a text, but the checkpoint gives several at once: name the columns of a table "
            "with --text-column and --label-column, its labels separated by ;"
        )
    labels = len(checkpoint.labels)
    for line, example in enumerate(examples, start=2):
        if (highest := max(example.labels)) >= labels:
            raise ExportError(f"{data}, line {line}: label {highest}, but the model has only {labels} labels")


def percent_right(scorer: Scorer, examples: Sequence[Example | LabelledText], activation: Activation) -> float:
    """Share of texts with all right labels in per cent, in batches of similar length to spare padding."""
    ordered = sorted(examples, key=lambda example: len(example.text))
    right = 0
    for start in range(0, len(ordered), _BATCH_SIZE):
        batch = ordered[start : start + _BATCH_SIZE]
        scores = scorer.scores([example.text for example in batch])
        wanted = targets_of(batch, scores.shape[1])
        right += int(np.sum((given(scores, activation) == wanted).all(axis=1)))
    return 100.0 * right / len(examples)
