"""What came out on the dev set, by label and by text: what the report shows and `training.json` records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from model_export.calibrate import Targets
from model_export.finetune.measures import losses
from model_export.scores import Activation, FloatArray, given

WORST = 20
"""Errors that the report lists."""


@dataclass(frozen=True)
class Outcome:
    """The texts of the dev set, which labels are right for them, and the scores (texts, labels) they got.

    `uncalibrated` are the scores before the temperature, the same as `scores` without one. `record` is what
    `training.json` says.
    """

    labels: tuple[str, ...]
    activation: Activation
    texts: Sequence[str]
    targets: Targets
    uncalibrated: FloatArray
    scores: FloatArray
    record: Mapping[str, Any]

    @property
    def given(self) -> Targets:
        """The labels that the model gives."""
        return given(self.scores, self.activation)


class LabelFigures(NamedTuple):
    """Of the texts that get a label, in per cent those that should; of those that should, those that get it."""

    label: str
    texts: int
    precision: float
    recall: float
    f1: float


class Mistake(NamedTuple):
    """A text, its right labels and those that it got, each with its score."""

    text: str
    right: dict[str, float]
    given: dict[str, float]


def by_label(outcome: Outcome) -> list[LabelFigures]:
    """Precision, recall and F1 of each label, in per cent; 0 where a label was never given or never right."""
    found = precision_recall_fscore_support(outcome.targets, outcome.given, average=None, zero_division=0.0)
    precision, recall, f1 = (100.0 * values for values in found[:3])
    columns = (column.tolist() for column in (found[3], precision, recall, f1))
    return [LabelFigures(*row) for row in zip(outcome.labels, *columns, strict=True)]


def worst(outcome: Outcome) -> list[Mistake]:
    """The wrong answers with the highest loss: where the model was surest and erred; at most `WORST`."""
    loss, decided = losses(outcome.scores, outcome.targets, outcome.activation), outcome.given
    wrong = np.flatnonzero((decided != outcome.targets).any(axis=1))
    return [
        Mistake(
            outcome.texts[index],
            _scored(outcome, index, outcome.targets[index]),
            _scored(outcome, index, decided[index]),
        )
        for index in wrong[np.argsort(-loss[wrong], kind="stable")][:WORST]
    ]


def _scored(outcome: Outcome, text: int, chosen: Targets) -> dict[str, float]:
    return {outcome.labels[label]: float(outcome.scores[text, label]) for label in np.flatnonzero(chosen)}
