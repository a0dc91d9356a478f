"""Texts -> token ids, with the tokenizer of the bundled package."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from app.package import Package
from app.settings import BUNDLED_MODEL
from app.tokenization import Encoder, pad

PACKAGE = Package(BUNDLED_MODEL)
ENCODER = Encoder(PACKAGE.tokenizer_path, 512)

LONG_TEXTS = {
    "words": "a rather long review of nothing in particular " * 3_000,
    "no spaces": "incomprehensibilities" * 4_700,
    "words over 100 characters": ("x" * 150 + " ") * 600,
    "words of 99 characters": ("z" * 99 + " ") * 1_000,
    "spaces, then a word": " " * 99_000 + "good",
    "one word": "w" * 100_000,
    "Chinese": "这部电影非常好看" * 12_000,
    "emoji": "😀 " * 50_000,
    "punctuation": "!?" * 50_000,
    "combining marks": "e\u0301" * 50_000,
    "control characters": "\x00\x01" * 20_000 + "fine",
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
def test_cutting_characters_first_changes_no_token(text: str) -> None:
    """A prefix is enough: the ids are those that the whole text gives."""
    reference = Tokenizer.from_file(str(PACKAGE.tokenizer_path))
    reference.no_padding()
    reference.enable_truncation(512)
    whole = reference.encode(text)
    encoded = ENCODER.encode(text)
    assert encoded.ids == whole.ids
    assert encoded.truncated == bool(whole.overflowing)


@pytest.mark.parametrize(("words", "tokens", "truncated"), [(1, 3, False), (510, 512, False), (511, 512, True)])
def test_truncation_begins_after_the_last_token_that_fits(words: int, tokens: int, *, truncated: bool) -> None:
    """510 words and two special tokens fit; one more is cut."""
    encoded = ENCODER.encode("good " * words)
    assert (len(encoded.ids), encoded.truncated) == (tokens, truncated)
    assert encoded.ids[-1] == ENCODER.encode("good").ids[-1], "the last token is the separator"


def test_padding_stands_at_the_end_and_is_masked() -> None:
    """Rows of unequal length become one rectangle of int64."""
    input_ids, attention_mask = pad([[1, 2, 3], [4], [5, 6]])
    assert input_ids.tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    assert attention_mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert input_ids.dtype == attention_mask.dtype == np.int64


def test_one_row_is_not_padded() -> None:
    """A text alone keeps its length."""
    input_ids, attention_mask = pad([[1, 2]])
    assert (input_ids.tolist(), attention_mask.tolist()) == ([[1, 2]], [[1, 1]])
