"""The case tables are sound: a typing slip here would silently drop a case or a known failure."""

from .cases import KNOWN_FAILURES, Case
from .direction import DIRECTION
from .invariance import INVARIANCE
from .minimum_functionality import MINIMUM_FUNCTIONALITY
from .no_sentiment import NO_SENTIMENT

CASES: tuple[Case, ...] = (*MINIMUM_FUNCTIONALITY, *NO_SENTIMENT, *INVARIANCE, *DIRECTION)
IDS = [case.id for case in CASES]


def test_every_id_is_used_once() -> None:
    """An id names one case, so that a known failure does too."""
    assert len(set(IDS)) == len(IDS)


def test_every_known_failure_is_a_case() -> None:
    """A known failure whose case was renamed or dropped is noticed."""
    assert set(KNOWN_FAILURES) <= set(IDS)


def test_every_variant_differs_from_the_others() -> None:
    """A case that compares a text with itself could not fail."""
    assert all(len(set(case.texts)) == len(case.texts) > 1 for case in INVARIANCE)
    assert all(case.before != case.after for case in DIRECTION)
