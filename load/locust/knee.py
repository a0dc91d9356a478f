"""Where more users stop bringing more answers."""

from collections.abc import Sequence
from dataclasses import dataclass

GROWTH = 1.1
MAX_FAILURES = 0.01


@dataclass(frozen=True)
class Step:
    """What one step brought."""

    users: int
    requests_per_second: float
    failure_share: float
    p99_milliseconds: float


def grew(before: Step, after: Step) -> bool:
    """Whether the later step brought enough more answers, without failing."""
    return after.requests_per_second >= GROWTH * before.requests_per_second and after.failure_share <= MAX_FAILURES


def knee_of(steps: Sequence[Step]) -> int:
    """Index of the last step up to which each one brought more answers."""
    knee = 0
    while knee + 1 < len(steps) and grew(steps[knee], steps[knee + 1]):
        knee += 1
    return knee


def stalled(steps: Sequence[Step]) -> bool:
    """Whether the last two steps brought nothing more: one alone may be chance."""
    return len(steps) > 2 and not grew(steps[-2], steps[-1]) and not grew(steps[-3], steps[-2])  # noqa: PLR2004
