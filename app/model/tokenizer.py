"""Texts -> token ids. A text's cost is bounded by the model's tokens, not by its characters."""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, Self

from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordPiece

from app.errors import PackageError, one_line

# A batch of one needs no threads of its own; tokenizers asks for this variable at the first batch.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
CHARACTERS_PER_TOKEN = 8
"""First guess of how many characters fill one token; English needs about 4.5."""
SLACK_TOKENS = 128
"""A prefix may end inside a word and so change that word's tokens: 100 tokens at most in WordPiece, where a longer word
is one unknown token. With this many to spare, the change lies behind the cut."""
MAX_WORDS, MAX_WORD_CHARACTERS = 30_000, 32
"""What `encode_by_words` remembers: some 10 MB at most."""

Truncation = Literal["end", "start", "error", "window"]
"""What is cut of a text that is too long, its end or its start; `error` cuts the end, and whoever asked refuses it.
`window` is `end` by another name, in packages whose texts are read in windows."""


class Pair(str):
    """Two texts that a network reads together, for packages that take pairs.

    As a string, which caches, limits and the queue see, it differs from every other pair.
    """

    __slots__ = ("first", "second")
    first: str
    second: str

    def __new__(cls, first: str, second: str) -> Self:
        pair = super().__new__(cls, f"{len(first)}:{first}{second}")
        pair.first, pair.second = first, second
        return pair

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Of a sequence of two."""
        first, second = texts
        return cls(first, second)


class Tokens(NamedTuple):
    """One text as the model reads it: at most `max_tokens` ids, special tokens included.

    The ids of a text in windows are those of one window after the other, of which all but the last are full.
    """

    ids: list[int]
    truncated: bool
    unknown: int
    """How many of the ids stand for something that is not in the vocabulary."""


class Encoder:
    """The package's fast tokenizer, with truncation to `max_windows` windows of `window_tokens` tokens.

    A window begins with the last `overlap` tokens of the one before. Safe to use from several threads. Raises
    PackageError for a file that is no tokenizer, or one that needs more special tokens than the model reads.
    """

    def __init__(self, path: Path, window_tokens: int, *, overlap: int = 0, max_windows: int = 1) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(window_tokens, stride=overlap)
            self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is what somebody wrote, and no separator
            self._unknown_id = _unknown_id(self._tokenizer)
        except Exception as exc:  # tokenizers raises no narrower one
            raise PackageError(f"{path} can't be loaded: {one_line(exc)}") from exc
        model = self._tokenizer.model
        self._words_are_bounded = isinstance(model, WordPiece) and model.max_input_chars_per_word < SLACK_TOKENS
        self._known_words: dict[str, list[int]] = {}
        self._window_tokens = window_tokens
        self._overlap = overlap
        self._not_new = overlap + self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._max_windows = max_windows
        self.max_tokens = max_windows * window_tokens
        self.longest: int = window_tokens + (max_windows - 1) * (window_tokens - self._not_new)
        """Tokens of the longest text that is not cut: what windows have in common counts once, special tokens too."""

    def encode(self, text: str, truncation: Truncation = "end") -> Tokens:
        """Tokenise one text; never fails on a str without lone surrogates.

        Only as much of a long text is read as it takes to fill the model: a prefix that grows fourfold until it has
        tokens to spare, or a suffix.
        """
        if isinstance(text, Pair):
            return self._encode_pair(text)
        if truncation == "start":
            return self._encode_suffix(text)
        characters = self.max_tokens * CHARACTERS_PER_TOKEN
        while True:
            prefix = text if len(text) <= characters else self._prefix(text, characters)  # nearly all are short
            (encoding,) = self._tokenizer.encode_batch_fast([prefix])  # as `encode`, without offsets and the GIL
            more, dropped = encoding.overflowing, 0
            if more:
                dropped = sum(len(window) - self._not_new for window in more[self._max_windows - 1 :])
            if len(prefix) == len(text) or dropped >= SLACK_TOKENS:
                ids: list[int] = encoding.ids
                for window in more[: self._max_windows - 1]:
                    ids += window.ids
                return Tokens(ids, dropped > 0, ids.count(self._unknown_id))
            characters = 4 * max(characters, len(prefix))

    def encode_by_words(self, text: str) -> Tokens:
        """As `encode`, out of the ids of words that were met before, for whoever encodes many short texts.

        Only where words do not depend on each other, which is WordPiece behind BERT's rules, and for printable ASCII,
        of which those rules only lower the case. Remembers up to `MAX_WORDS` words.
        """
        if self._frame is not None and text.isascii() and text.isprintable():
            head, tail = self._frame
            ids = list(head)
            for word in text.split():
                ids += self._known_words.get(word) or self._word(word)
            ids += tail
            if len(ids) <= self._window_tokens:
                return Tokens(ids, truncated=False, unknown=ids.count(self._unknown_id))
        return self.encode(text)

    def _word(self, word: str) -> list[int]:
        ids = self._words(word)
        if len(word) <= MAX_WORD_CHARACTERS:
            if len(self._known_words) >= MAX_WORDS:
                self._known_words.clear()
            self._known_words[word] = ids
        return ids

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]] | None:
        """The special tokens before and behind a text; None where its words depend on each other."""
        rules = json.loads(self._tokenizer.to_str())
        normalizer = rules["normalizer"] or {}
        steps = {step["type"] for step in normalizer.get("normalizers", [normalizer]) if step}
        splits = (rules["pre_tokenizer"] or {}).get("type")
        plain = all(token["special"] for token in rules["added_tokens"])
        known = {"BertNormalizer"} <= steps <= {"BertNormalizer", "Precompiled"}
        if not (self._words_are_bounded and splits == "BertPreTokenizer" and known and plain):
            return None
        encoding = self._tokenizer.encode("good")
        special = encoding.special_tokens_mask
        first, last = special.index(0), len(special) - special[::-1].index(0)
        return encoding.ids[:first], encoding.ids[last:]

    def _encode_pair(self, pair: Pair) -> Tokens:
        """Both texts within one budget of tokens: of the longer one more is cut, as tokenizers' `longest_first` does.

        That itself would make every combination of what is cut of one text with what is cut of the other.
        """
        head, between, tail = self._pair_frame
        room = self.max_tokens - len(head) - len(between) - len(tail)
        first, second = self._words(pair.first), self._words(pair.second)
        truncated = len(first) + len(second) > room
        if truncated:
            shorter, longer = (first, second) if len(first) <= len(second) else (second, first)
            del shorter[room // 2 :]
            del longer[room - len(shorter) :]
        ids = [*head, *first, *between, *second, *tail]
        return Tokens(ids, truncated, ids.count(self._unknown_id))

    @cached_property
    def _pair_frame(self) -> tuple[list[int], list[int], list[int]]:
        """The special tokens before, between and behind the texts of a pair."""
        encoding = self._tokenizer.encode("good", "good")
        sides = encoding.sequence_ids
        begin, middle, end = sides.index(0), sides.index(1), len(sides) - sides[::-1].index(1)
        return encoding.ids[:begin], encoding.ids[begin + sides.count(0) : middle], encoding.ids[end:]

    def _words(self, text: str) -> list[int]:
        """The ids of a text without special tokens: all, or as many as fill the model, and some to spare."""
        characters = self.max_tokens * CHARACTERS_PER_TOKEN
        while True:
            prefix = self._prefix(text, characters)
            (encoding,) = self._tokenizer.encode_batch_fast([prefix], add_special_tokens=False)
            ids: list[int] = [*encoding.ids, *chain.from_iterable(part.ids for part in encoding.overflowing)]
            if len(prefix) == len(text) or len(ids) >= self.max_tokens + SLACK_TOKENS:
                return ids
            characters = 4 * max(characters, len(prefix))

    def _encode_suffix(self, text: str) -> Tokens:
        characters = self.max_tokens * CHARACTERS_PER_TOKEN
        while True:
            suffix = self._suffix(text, characters)
            (encoding,) = self._tokenizer.encode_batch_fast([suffix])
            ids, dropped = self._last_ids(encoding)
            if len(suffix) == len(text) or dropped >= SLACK_TOKENS:
                return Tokens(ids, dropped > 0, ids.count(self._unknown_id))
            characters = 4 * max(characters, len(suffix))

    def _last_ids(self, encoding: Encoding) -> tuple[list[int], int]:
        """As many ids as are read, of the text's end, and how many tokens before them are not.

        The tokenizer has cut the text into windows, each with special tokens around it, which stay where they are.
        """
        if not encoding.overflowing:
            return list(encoding.ids), 0
        special = encoding.special_tokens_mask
        first, last = special.index(0), len(special) - special[::-1].index(0)
        head, tail, words = encoding.ids[:first], encoding.ids[last:], encoding.ids[first:last]
        for window in encoding.overflowing:
            words += window.ids[first + self._overlap : len(window) - len(tail)]
        new = last - first - self._overlap
        kept = words[-(self._max_windows * new + self._overlap) :]
        begins = range(0, max(1, len(kept) - self._overlap), new)
        ids = [token for begin in begins for token in (*head, *kept[begin : begin + last - first], *tail)]
        return ids, len(words) - len(kept)

    def _suffix(self, text: str, characters: int) -> str:
        """About the last so many characters, with the same last tokens as the text: from a word on, as above."""
        if characters >= len(text):
            return text
        if self._words_are_bounded:
            return text[-characters:]
        words = text[-characters:].partition(" ")[2].lstrip(" ")
        return f" {words}" if words else self._suffix(text, 4 * characters)

    def _prefix(self, text: str, characters: int) -> str:
        """About the first so many characters, with the same first tokens as the text.

        In a vocabulary without a bound on words, a word that is cut may be split otherwise from its beginning on.
        """
        if characters >= len(text):
            return text
        if self._words_are_bounded:
            return text[:characters]
        return text[:characters].rpartition(" ")[0].rstrip(" ") or self._prefix(text, 4 * characters)


def _unknown_id(tokenizer: Tokenizer) -> int:
    """The id of the unknown token; -1 for vocabularies that can spell anything (byte-level BPE)."""
    token: str | None = getattr(tokenizer.model, "unk_token", None)
    if token is not None:
        unknown_id: int | None = tokenizer.token_to_id(token)
    else:  # Unigram names an id, and only in its file
        unknown_id = json.loads(tokenizer.to_str())["model"].get("unk_id")
    return -1 if unknown_id is None else unknown_id
