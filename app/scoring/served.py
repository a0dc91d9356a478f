"""What was answered: labels, scores, lengths. A text counts each time it is answered, from the cache or not."""

from collections.abc import Sequence

from app.scoring.drift import DriftWindow
from app.scoring.memory import Answer
from app.telemetry.metrics import PROTOCOLS, TEXT_TOKENS, TEXTS, TOP_SCORE, TRUNCATED, UNKNOWN_TOKENS


class ServedTexts:
    """Counts answers by the labels of one model, and shows them to `drift`, if traffic is watched."""

    def __init__(self, labels: Sequence[str], drift: DriftWindow | None) -> None:
        self._labels = {protocol: [TEXTS.labels(label, protocol) for label in labels] for protocol in PROTOCOLS}
        self._drift = drift

    def add(self, keys: Sequence[bytes], answers: Sequence[Answer], protocol: str) -> None:
        """Count texts that were answered, with their cache keys."""
        labels = self._labels[protocol]
        for key, answer in zip(keys, answers, strict=True):
            labels[answer.labels[0]].inc()
            TOP_SCORE.observe(answer.scores[0])
            TEXT_TOKENS.observe(answer.tokens)
            if answer.unknown_tokens:
                UNKNOWN_TOKENS.inc(answer.unknown_tokens)
            if answer.truncated:
                TRUNCATED.inc()
            if self._drift is not None:
                self._drift.add(key, answer)
