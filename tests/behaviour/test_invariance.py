"""Invariance: the score stays where it is when only something changes that carries no sentiment."""

import pytest

from .cases import Invariance, Scorer, parameters
from .invariance import INVARIANCE

# The score must stay, not only the label: a label that stays hides a score that fell from 0.99 to 0.51, and that is
# what a client with a threshold of its own, or a reader of a report about groups of people, gets to see. 0.1 is the
# tolerance of CheckList's invariance tests.
MAX_SPREAD = 0.1


@pytest.mark.parametrize("case", parameters(INVARIANCE))
def test_score_ignores_what_carries_no_sentiment(case: Invariance, score: Scorer) -> None:
    """Over all variants of a text, P(positive) spreads by less than 0.1."""
    scores = score(list(case.texts))
    shown = ", ".join(f"{positive:.3f} {text!r}" for text, positive in zip(case.texts, scores, strict=True))
    assert max(scores) - min(scores) < MAX_SPREAD, shown
