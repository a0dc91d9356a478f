"""model_export/treebank.py: a split without leaks, and text as people type it."""

import pytest

from model_export.labelled import Example
from model_export.treebank import detokenise, hold_out


def test_no_training_phrase_is_part_of_a_held_out_sentence() -> None:
    """Phrases of a held-out sentence leave the training set with it; all others stay."""
    examples = [
        Example(1, "a warm and funny little film"),
        Example(1, "warm and funny"),
        Example(0, "the dullest hour of the whole year"),
        Example(0, "dullest hour"),
        Example(0, "whole"),
    ]
    training, held_out = hold_out(examples, 0.5, seed=0)
    assert len(held_out) == 1
    assert len(training) in (2, 3)
    assert not any(example.text in held_out[0].text for example in training)


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("it does n't work , but i 'd stay .", "it doesn't work, but i'd stay."),
        ("`` fine '' -lrb- for now -rrb-", '"fine" (for now)'),
        ("the film 's end", "the film's end"),
        ("plain words", "plain words"),
    ],
)
def test_treebank_spacing_is_undone(written: str, typed: str) -> None:
    """Training sees what people type, not only what a treebank holds."""
    assert detokenise(written) == typed
