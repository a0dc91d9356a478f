"""Direction: more praise never lowers the score, more blame never raises it, and the degree counts."""

import math

import pytest

from .cases import Change, Direction, Scorer, parameters
from .direction import ADDITIONS, DEGREES

# How far P(positive) may move the wrong way when a sentence is added: half of what an invariance test allows.
MAX_WRONG_SCORE = 0.05

# How far the log-odds may move the wrong way when only the degree changes. In log-odds, because clear texts score so
# close to 0 or 1 that a probability has no room left to show a degree. 0.1 is what int8 rounding may move.
MAX_WRONG_LOG_ODDS = 0.1


def _log_odds(positive: float) -> float:
    """0.5 -> 0.0, 0.9 -> 2.2; clipped where float32 no longer tells a probability from 1."""
    clipped = min(max(positive, 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))


def _wrong_way(change: Change, before: float, after: float) -> float:
    """How far the step from `before` to `after` goes against `change`; negative when it goes the right way."""
    return before - after if change is Change.UP else after - before


@pytest.mark.parametrize("case", parameters(ADDITIONS))
def test_added_sentence_never_moves_the_score_the_wrong_way(case: Direction, score: Scorer) -> None:
    """One more positive (negative) sentence does not lower (raise) P(positive) by more than 0.05."""
    before, after = score([case.before, case.after])
    assert _wrong_way(case.change, before, after) <= MAX_WRONG_SCORE, f"{before:.3f} -> {after:.3f} for {case.after!r}"


@pytest.mark.parametrize("case", parameters(DEGREES))
def test_stronger_or_weaker_word_moves_the_score_its_way(case: Direction, score: Scorer) -> None:
    """A stronger (weaker) word does not move the log-odds of POSITIVE the wrong way by more than 0.1."""
    before, after = (_log_odds(positive) for positive in score([case.before, case.after]))
    assert _wrong_way(case.change, before, after) <= MAX_WRONG_LOG_ODDS, f"{before:.2f} -> {after:.2f}"
