"""What was answered: counted, and whether it still looks like what the model is made for (drift).

A text or row is counted each time it is answered, cached or not. Drift is the population stability index by feature of
the last different texts, each of which counts once: requests repeat a few texts over and over, so that a window of
2,000 weighed by requests would hold what 18 texts say, and cry drift over traffic that has none (docs/drift.md has the
figures). Lives on the event loop alone, so it needs no lock.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from app.model.package import Profile
from app.scoring.memory import Answer
from app.settings import MIN_DRIFT_TEXTS
from app.telemetry.metrics import (
    DRIFT,
    DRIFT_TEXTS,
    PROTOCOLS,
    TEXT_TOKENS,
    TEXTS,
    TOP_SCORE,
    TRUNCATED,
    UNKNOWN_TOKENS,
)

MIN_TEXTS = MIN_DRIFT_TEXTS
"""Texts that a window must hold before it says anything. Without any drift the index of B bins is on average
(B - 1) * (1 / window + 1 / profile): with ten bins and a profile of 872 texts 0.03, and 0.09 once in a thousand
windows, still below 0.1."""
SMOOTHING = 0.5
"""Added to every bin's count on both sides: a bin that one side never met would make the index infinite."""


class _Kept(NamedTuple):
    """One text of the window: when it was last asked for (seconds), and the bin it fell into for each feature."""

    seconds: float
    bins: tuple[int, ...]


FeaturesOf = Callable[[Answer, Any], Mapping[str, float]]
"""What is compared with the profile, of an answer and the text or row that it is the answer to."""


def text_features(answer: Answer, _: str) -> Mapping[str, float]:
    """The label, how sure it is, how long the text is, and how much of it is in no vocabulary."""
    return {
        "label": answer.labels[0],
        "score": answer.scores[0],
        "tokens": answer.tokens,
        "unknown_tokens": answer.unknown_tokens / max(answer.tokens, 1),
    }


def row_features(names: Sequence[str]) -> FeaturesOf:
    """Each column by its name, and what is predicted; of a regression label and score are in no profile."""

    def features(answer: Answer, row: Sequence[float]) -> Mapping[str, float]:
        predicted = {
            "predicted_label": answer.labels[0],
            "predicted_score": answer.scores[0],
            "predicted_value": answer.scores[0],
        }
        return {**predicted, **dict(zip(names, row, strict=True))}

    return features


class DriftWindow:
    """The last `max_texts` different texts that were asked for within `max_age_seconds`, against the profile.

    Some 300 bytes a text; `add` takes one to three microseconds, `psi` some ten.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        features_of: FeaturesOf = text_features,
        max_texts: int,
        max_age_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_texts = max_texts
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._features_of = features_of
        self._features = list(profile.features)
        self._edges = [histogram.edges for histogram in profile.features.values()]
        self._expected = [histogram.counts for histogram in profile.features.values()]
        self._counts = [[0] * len(counts) for counts in self._expected]
        self._texts: dict[bytes, _Kept] = {}  # least recently asked for first
        self._published = False

    def __len__(self) -> int:
        return len(self._texts)

    def publish(self) -> None:
        """Set the gauges. NaN where there was an index and now are too few texts."""
        indices = self.psi()
        DRIFT_TEXTS.set(len(self))
        if indices or self._published:
            for feature in self._features:
                DRIFT.labels(feature).set(indices.get(feature, math.nan))
        self._published = bool(indices)

    def retire(self) -> None:
        """Have the gauges say that nothing is compared any more."""
        DRIFT_TEXTS.set(0)
        if self._published:
            for feature in self._features:
                DRIFT.labels(feature).set(math.nan)

    def add(self, key: bytes, answer: Answer, text: Any) -> None:
        """Count a text (or row) that was answered, by its cache key.

        The key tells texts apart and not the scores: those of one text differ in the eighth digit with its batch. A
        text of the window is not counted again, but stays in it for longer.
        """
        kept = self._texts.pop(key, None)
        if kept is not None:
            bins = kept.bins
        else:
            values = self._features_of(answer, text)
            bins = tuple(
                bisect_left(edges, values[feature]) for feature, edges in zip(self._features, self._edges, strict=True)
            )
            for counts, index in zip(self._counts, bins, strict=True):
                counts[index] += 1
        self._texts[key] = _Kept(self._clock(), bins)
        if len(self._texts) > self._max_texts:
            self._drop_oldest()

    def psi(self) -> dict[str, float]:
        """The index of each feature; empty while the window holds fewer than `MIN_TEXTS` texts."""
        oldest_allowed = self._clock() - self._max_age_seconds
        while self._texts and next(iter(self._texts.values())).seconds < oldest_allowed:
            self._drop_oldest()
        if len(self._texts) < MIN_TEXTS:
            return {}
        indices = map(population_stability_index, self._expected, self._counts)
        return dict(zip(self._features, indices, strict=True))

    def _drop_oldest(self) -> None:
        kept = self._texts.pop(next(iter(self._texts)))
        for counts, index in zip(self._counts, kept.bins, strict=True):
            counts[index] -= 1


class ServedTexts:
    """Counts answers by the labels of one model, and shows them to `drift`, if traffic is watched."""

    def __init__(self, labels: Sequence[str], drift: DriftWindow | None) -> None:
        self._labels = {protocol: [TEXTS.labels(label, protocol) for label in labels] for protocol in PROTOCOLS}
        self._has_scores = len(labels) > 1  # the one number of a regression is none
        self.drift = drift

    def add(self, keys: Sequence[bytes], answers: Sequence[Answer], protocol: str, texts: Sequence[Any]) -> None:
        """Count `texts` (or rows) that were answered, with their cache keys."""
        labels = self._labels[protocol]
        for key, answer, text in zip(keys, answers, texts, strict=True):
            labels[answer.labels[0]].inc()
            if self._has_scores:
                TOP_SCORE.observe(answer.scores[0])
            TEXT_TOKENS.observe(answer.tokens)
            if answer.unknown_tokens:
                UNKNOWN_TOKENS.inc(answer.unknown_tokens)
            if answer.truncated:
                TRUNCATED.inc()
            if self.drift is not None:
                self.drift.add(key, answer, text)


def population_stability_index(expected: Sequence[int], found: Sequence[int]) -> float:
    """How far two histograms over the same bins are apart: 0 for equal shares, and never negative.

    Sum over the bins of (q - p) * ln(q / p), with the expected shares p and the found shares q (Siddiqi, "Credit Risk
    Scorecards", 2006; it is Jeffreys' divergence). Below 0.1 is custom called no change, above 0.25 a shift. By chance
    alone it is distributed as chi-squared with B - 1 degrees of freedom times (1 / n + 1 / m), for n and m texts
    (Yurdakul, "Statistical Properties of Population Stability Index", 2018).
    """
    p, q = _shares(expected), _shares(found)
    return math.fsum((there - here) * math.log(there / here) for here, there in zip(p, q, strict=True))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) + SMOOTHING * len(counts)
    return [(count + SMOOTHING) / total for count in counts]
