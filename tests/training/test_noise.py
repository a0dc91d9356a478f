"""Noise changes how a text is written, and nothing else."""

import random

import pytest

from training.noise import addition, markup, no_apostrophes, noisy, punctuation, typing_slip

TEXT = "It isn't what we ordered."


@pytest.mark.parametrize("change", [typing_slip, addition, markup])
def test_a_change_leaves_every_other_word(change: object) -> None:
    """At most one word is written otherwise."""
    assert callable(change)
    for seed in range(30):
        kept = set(change(TEXT, random.Random(seed)).replace(">", "> ").replace("<", " <").split())
        assert len(set(TEXT.split()) - {word.strip('"()*') for word in kept}) <= 1


def test_a_typing_slip_needs_a_long_word() -> None:
    """A slip in a short word often makes another word."""
    assert typing_slip("I am so so", random.Random(0)) == "I am so so"
    assert any(typing_slip("ordered", random.Random(seed)) != "ordered" for seed in range(5))


def test_contractions_keep_their_negation() -> None:
    """The word "isn't" becomes "isnt" or "is not"."""
    assert {no_apostrophes(TEXT, random.Random(seed)) for seed in range(20)} == {
        "It isnt what we ordered.",
        "It is not what we ordered.",
    }


def test_punctuation_changes_at_the_end_alone() -> None:
    """The words stay."""
    assert all(punctuation(TEXT, random.Random(seed)).startswith("It isn't what we ordered") for seed in range(20))


def test_the_share_is_kept() -> None:
    """A share of 0 changes nothing."""
    assert noisy(TEXT, 0.0, random.Random(0)) == TEXT
