"""What was answered: labels, scores, lengths. A text or row counts each time it is answered, cached or not."""

from collections.abc import Callable, Sequence
from typing import Any

from app.scoring.drift import DriftWindow
from app.scoring.memory import Answer
from app.telemetry.metrics import PROTOCOLS, TEXT_TOKENS, TEXTS, TOP_SCORE, TRUNCATED, UNKNOWN_TOKENS


class ServedTexts:
    """Counts answers by the labels of one model, and shows them to `drift`, if traffic is watched."""

    def __init__(self, labels: Sequence[str], drift: DriftWindow | None) -> None:
        self._labels = {protocol: [TEXTS.labels(label, protocol) for label in labels] for protocol in PROTOCOLS}
        # The one number of a regression is no score.
        self._observe_score: Callable[[float], None] = TOP_SCORE.observe if len(labels) > 1 else _ignore
        self._drift = drift

    def add(self, keys: Sequence[bytes], answers: Sequence[Answer], protocol: str, texts: Sequence[Any]) -> None:
        """Count `texts` (or rows) that were answered, with their cache keys."""
        labels, observe_score = self._labels[protocol], self._observe_score
        for key, answer, text in zip(keys, answers, texts, strict=True):
            labels[answer.labels[0]].inc()
            observe_score(answer.scores[0])
            TEXT_TOKENS.observe(answer.tokens)
            if answer.unknown_tokens:
                UNKNOWN_TOKENS.inc(answer.unknown_tokens)
            if answer.truncated:
                TRUNCATED.inc()
            if self._drift is not None:
                self._drift.add(key, answer, text)


def _ignore(_: float) -> None:
    pass
