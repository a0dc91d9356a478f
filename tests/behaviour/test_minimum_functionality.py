"""Minimum functionality: the bundled model gives simple texts the label that a reader would give."""

import pytest

from .cases import Label, NoSentiment, Polarity, Scorer, parameters
from .minimum_functionality import MINIMUM_FUNCTIONALITY
from .no_sentiment import NO_SENTIMENT

EVEN = 0.5
"""P(positive) above which POSITIVE is the likelier of the two labels."""

NO_CLEAR_SENTIMENT = (1 / 3, 2 / 3)
"""The band of P(positive) that the model card names "no clear sentiment"; CheckList's for models of two labels."""


@pytest.mark.parametrize("case", parameters(MINIMUM_FUNCTIONALITY))
def test_text_gets_the_label_a_reader_would_give(case: Polarity, score: Scorer) -> None:
    """The likelier label is the right one."""
    [positive] = score([case.text])
    label = Label.POSITIVE if positive > EVEN else Label.NEGATIVE
    assert label == case.label, f"P(positive) = {positive:.3f} for {case.text!r}"


@pytest.mark.parametrize("case", parameters(NO_SENTIMENT))
def test_text_without_sentiment_gets_no_clear_score(case: NoSentiment, score: Scorer) -> None:
    """Neither label is clearly the likelier."""
    [positive] = score([case.text])
    low, high = NO_CLEAR_SENTIMENT
    assert low <= positive <= high, f"P(positive) = {positive:.3f} for {case.text!r}"
