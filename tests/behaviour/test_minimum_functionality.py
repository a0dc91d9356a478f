"""Minimum functionality: the bundled model gives simple texts the label that a reader would give."""

import pytest

from .cases import Label, Polarity, Scorer, parameters
from .minimum_functionality import MINIMUM_FUNCTIONALITY

EVEN = 0.5
"""P(positive) above which POSITIVE is the likelier of the two labels."""


@pytest.mark.parametrize("case", parameters(MINIMUM_FUNCTIONALITY))
def test_text_gets_the_label_a_reader_would_give(case: Polarity, score: Scorer) -> None:
    """The likelier label is the right one."""
    [positive] = score([case.text])
    label = Label.POSITIVE if positive > EVEN else Label.NEGATIVE
    assert label == case.label, f"P(positive) = {positive:.3f} for {case.text!r}"
