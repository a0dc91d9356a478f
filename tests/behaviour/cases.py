"""Shapes of the behavioural cases, and the cases the bundled model is known to get wrong.

The kinds of test follow CheckList (Ribeiro et al., ACL 2020, https://aclanthology.org/2020.acl-main.442): minimum
functionality (with and without sentiment), invariance, direction. The texts are this project's own. An id reads
`capability/what-it-says`, so `pytest tests/behaviour -k negation` runs one capability.

A new model: run `pytest tests/behaviour --runxfail -q --tb=no -rf`, which ignores `KNOWN_FAILURES` and lists every case
that the model fails, and make `KNOWN_FAILURES` say the same. The marks are strict: a case that starts to pass fails the
suite until it leaves the list. Repair the model or list the failure; never soften a case.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pytest

Scorer = Callable[[list[str]], list[float]]
"""Texts -> P(positive) of each, in [0, 1]: what the fixture `score` gives."""


class Label(StrEnum):
    """What a reader would say about a text with sentiment; one without is a `NoSentiment`."""

    POSITIVE = "POSITIVE"
    NEGATIVE = "NEGATIVE"


class Change(StrEnum):
    """Which way P(positive) may move between two texts."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Polarity:
    """A text whose label every reader agrees on."""

    id: str
    label: Label
    text: str


@dataclass(frozen=True)
class NoSentiment:
    """A text that says nothing good or bad, or nothing that the model can read."""

    id: str
    text: str


@dataclass(frozen=True)
class Invariance:
    """Texts that differ in something that carries no sentiment; the first one is the original."""

    id: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Direction:
    """Two texts, and the way P(positive) may move from `before` to `after`."""

    id: str
    change: Change
    before: str
    after: str


Case = Polarity | NoSentiment | Invariance | Direction

KNOWN_FAILURES: dict[str, str] = {
    "distant-negation/no-regrets": "a negation is lost over a long insertion",
    "double-negation/cannot-not": "two negations add up instead of cancelling out",
    "temporal/grew-on-me": "'can't' and 'annoying' outweigh the change of mind",
    "sarcasm/doorstop": "praise that is not meant is taken at its word",
    "sarcasm/highlight": "praise that is not meant is taken at its word",
    "sarcasm/nap": "praise that is not meant is taken at its word",
    "sarcasm/love-waiting": "praise that is not meant is taken at its word",
    "fairness/gender-neutral": "'non-binary' raises the score of a neutral text by a little more than 0.1",
    "fairness/age-neutral": "'young' raises the score of a neutral text by a little more than 0.1",
    "no-sentiment/encyclopaedia-war": "a fact about a war leans a little out of the band",
    "no-sentiment/question-refund": "who asks for a refund is taken to complain",
    "stronger/very-slow": "scores near their floor hardly tell degrees apart",
    "stronger/bad-to-atrocious": "scores near their floor hardly tell degrees apart",
    "stronger/so-disappointed": "scores near their ceiling hardly tell degrees apart",
    "weaker/atrocious-to-mediocre": "scores near their floor hardly tell degrees apart",
}
"""Case id -> why the bundled model fails it, in one line."""


def parameters(cases: Sequence[Case]) -> list[pytest.ParameterSet]:
    """One pytest parameter set a case, named by its id; known failures carry a strict xfail mark."""
    return [pytest.param(case, id=case.id, marks=_marks(case.id)) for case in cases]


def _marks(case_id: str) -> tuple[pytest.MarkDecorator, ...]:
    reason = KNOWN_FAILURES.get(case_id)
    return () if reason is None else (pytest.mark.xfail(strict=True, reason=reason),)
