"""Golden texts: what the service scores at start, to learn whether this CPU computes what the exporting one did."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_export.pairs import Text
from model_export.scores import FloatArray, PackageScorer, one_by_one
from model_export.verify import margins

_COUNT = 10
_TOKEN_LIMIT = 64
_IDEAL_MARGIN = 0.8
"""Far enough from a tie to keep its label on any CPU, and not so saturated that a broken kernel's error vanishes."""


@dataclass(frozen=True)
class Golden:
    """A text, or a pair, with the score of every label by the package itself, alone in its batch."""

    text: Text
    scores: dict[str, float]


def choose(package: PackageScorer, texts: Sequence[Text], labels: Sequence[str]) -> list[Golden]:
    """Pick about ten short texts of every length and every predicted label, with margins that are clear.

    Where long texts are scored in windows, the shortest of those is one more.
    """
    limit = min(_TOKEN_LIMIT, package.windows.tokens)
    short = [text for text in texts if len(package.token_ids(text)) < limit]
    chosen = [
        short[index] for index in _spread(one_by_one(package, short), [len(package.token_ids(text)) for text in short])
    ]
    in_windows = [text for text in texts if len(package.token_ids(text)) > package.windows.tokens]
    chosen += sorted(in_windows, key=len)[:1]
    return [
        Golden(text, {label: round(float(score), 6) for label, score in zip(labels, scores, strict=True)})
        for text, scores in zip(chosen, one_by_one(package, chosen), strict=True)
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
