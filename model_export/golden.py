"""Golden texts: what the service scores at start, to learn whether this CPU computes what the exporting one did."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_export.scores import FloatArray, PackageScorer, one_by_one
from model_export.verify import margins

_COUNT = 10
_TOKEN_LIMIT = 64
_IDEAL_MARGIN = 0.8
"""Far enough from a tie to keep its label on any CPU, and not so saturated that a broken kernel's error vanishes."""


@dataclass(frozen=True)
class Golden:
    """A text with the score of every label by the package itself, alone in its batch."""

    text: str
    scores: dict[str, float]


def choose(package: PackageScorer, texts: Sequence[str], labels: Sequence[str]) -> list[Golden]:
    """Pick about ten short texts of every length and every predicted label, with margins that are clear."""
    short = [text for text in texts if len(package.token_ids(text)) < _TOKEN_LIMIT]
    scores = one_by_one(package, short)
    return [
        Golden(
            short[index], {label: round(float(score), 6) for label, score in zip(labels, scores[index], strict=True)}
        )
        for index in _spread(scores, [len(package.token_ids(text)) for text in short])
    ]


def _spread(scores: FloatArray, lengths: Sequence[int]) -> list[int]:
    """Indices of one text per length class and predicted label, in the order of their length."""
    predicted = scores.argmax(axis=1)
    distance = np.abs(margins(scores) - _IDEAL_MARGIN)
    groups = [np.flatnonzero(predicted == label) for label in np.unique(predicted)][:_COUNT]
    chosen: list[int] = []
    for group in groups:
        by_length = sorted(group.tolist(), key=lambda index: lengths[index])
        parts = np.array_split(by_length, min(len(by_length), -(-_COUNT // len(groups))))
        chosen += [min(part.tolist(), key=lambda index: float(distance[index])) for part in parts]
    return sorted(chosen, key=lambda index: lengths[index])
