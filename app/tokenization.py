"""Texts -> token ids. A text's cost is bounded by the model's tokens, not by its characters."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from app.wordpiece import plain_encoder

IntArray = npt.NDArray[np.int64]

CHARACTERS_PER_TOKEN = 8
"""First guess of how many characters fill one token; English needs about 4.5."""
SLACK_TOKENS = 128
"""A prefix may end inside a word and so change that word's tokens: 100 tokens at most, since a word of over 100
characters is one unknown token. With this many to spare, the change lies behind the cut."""


class Tokens(NamedTuple):
    """One text as the model reads it: at most `max_tokens` ids, special tokens included."""

    ids: list[int]
    truncated: bool
    unknown: int
    """How many of the ids stand for something that is not in the vocabulary."""


class Encoder:
    """The package's fast tokenizer, with truncation to `max_tokens`. Safe to use from several threads."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._plain = plain_encoder(self._tokenizer, max_tokens)
        self._tokenizer.enable_truncation(max_tokens)
        self._unknown_id = _unknown_id(self._tokenizer)
        self.max_tokens = max_tokens

    def encode(self, text: str) -> Tokens:
        """Tokenise one text; never fails on a str without lone surrogates.

        Only as much of a long text is read as it takes to fill the model: a prefix that grows fourfold until it has
        tokens to spare.
        """
        characters = self.max_tokens * CHARACTERS_PER_TOKEN
        while True:
            ids, dropped = self._encode(text if characters >= len(text) else text[:characters])
            if characters >= len(text) or dropped >= SLACK_TOKENS:
                return Tokens(ids, dropped > 0, ids.count(self._unknown_id))
            characters *= 4

    def _encode(self, text: str) -> tuple[list[int], int]:
        """The ids of a text, special tokens included, and how many more there would be beyond `max_tokens`."""
        plain = self._plain.encode(text) if self._plain else None
        if plain is not None:
            return plain
        encoding = self._tokenizer.encode(text)
        return encoding.ids, sum(len(part) for part in encoding.overflowing)


def _unknown_id(tokenizer: Tokenizer) -> int:
    """The id of the unknown token; -1 for vocabularies that can spell anything (byte-level BPE)."""
    token: str | None = getattr(tokenizer.model, "unk_token", None)
    if token is not None:
        unknown_id: int | None = tokenizer.token_to_id(token)
    else:  # Unigram names an id, and only in its file
        unknown_id = json.loads(tokenizer.to_str())["model"].get("unk_id")
    return -1 if unknown_id is None else unknown_id


def pad(rows: list[list[int]]) -> tuple[IntArray, IntArray]:
    """Stack token ids into (input_ids, attention_mask), both int64 (batch, tokens), padded at the end.

    The padding id does not matter, since the mask hides it: 0 is in every vocabulary.
    """
    if len(rows) == 1:
        input_ids = np.array(rows, dtype=np.int64)
        return input_ids, np.ones_like(input_ids)
    lengths = np.array([len(row) for row in rows])
    attention_mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    input_ids = np.zeros(attention_mask.shape, dtype=np.int64)
    input_ids[attention_mask.astype(bool)] = np.concatenate(rows)
    return input_ids, attention_mask
