"""One text with the probability of POSITIVE that the model should give it."""

from dataclasses import dataclass

EVEN = 0.5
"""The target of a text without sentiment."""

SURE = 0.95
"""The target of a text whose label is certain. Not 1: a model that is taught certainty is certain where it errs."""


@dataclass(frozen=True)
class Example:
    """A text and its target, P(positive) in [0, 1]; `source` names where it comes from."""

    text: str
    positive: float
    source: str


def target(positive: bool, strength: float = SURE) -> float:
    """P(positive) of a text with a known label: `strength` on the side of the label."""
    return strength if positive else 1.0 - strength
