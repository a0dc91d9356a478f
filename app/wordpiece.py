"""WordPiece for plain ASCII text, by remembering words: the same ids as the tokenizer's, at a tenth of its time.

A sentence takes the `tokenizers` library some 45 microseconds on the event loop, most of it for offsets and strings
that nobody asks for. BERT's tokenisation of printable ASCII is simple: lower case (or not), split at spaces, each
punctuation mark a word of its own (`BertPreTokenizer`), then each word by itself into pieces. So the ids of a text are
those of its words one after another, and a word that was met before is one look-up. Whatever is not plain goes to the
library.
"""

import re
from itertools import chain

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

WORDS = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z ]")
"""As BertPreTokenizer splits printable ASCII: all of it that is neither alphanumeric nor a space is punctuation."""
LINES = str.maketrans("\t\n\r", "   ")
MAX_WORDS = 20_000
"""Words that are remembered, some 4 MB; all sentences of SST-2 have 14,000 different ones."""
MAX_WORD_CHARACTERS = 32
"""Longer words are rare, and none of them may fill the memory."""


class PlainEncoder:
    """Ids of plain texts. Safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer, special_tokens: list[str], *, lowercase: bool, max_tokens: int) -> None:
        self._model = tokenizer.model
        self._lowercase = lowercase
        self._known: dict[str, tuple[int, ...]] = {}
        # What stands around the ids of the words: [CLS] before and [SEP] behind them, as a rule.
        frame = tokenizer.encode("a")
        first, words = frame.special_tokens_mask.index(0), frame.special_tokens_mask.count(0)
        self._before, self._after = frame.ids[:first], frame.ids[first + words :]
        self._room = max_tokens - len(self._before) - len(self._after)
        # The tokenizer finds these wherever they stand, even within a word.
        self._special = re.compile("|".join(map(re.escape, special_tokens)) or "(?!)")

    def encode(self, text: str) -> tuple[list[int], int] | None:
        """At most `max_tokens` ids, special tokens included, and how many more there were; None when not plain."""
        if not text.isascii() or self._special.search(text):
            return None
        if not text.isprintable():
            text = text.translate(LINES)
            if not text.isprintable():
                return None
        words = WORDS.findall(text.lower() if self._lowercase else text)
        known = self._known
        try:
            pieces = [known[word] for word in words]
        except KeyError:
            pieces = [known.get(word) or self._learn(word) for word in words]
        ids = [*self._before, *chain.from_iterable(pieces), *self._after]
        dropped = len(ids) - len(self._before) - len(self._after) - self._room
        if dropped <= 0:
            return ids, 0
        return [*ids[: len(self._before) + self._room], *self._after], dropped

    def _learn(self, word: str) -> tuple[int, ...]:
        ids = tuple([piece.id for piece in self._model.tokenize(word)])
        if len(word) <= MAX_WORD_CHARACTERS:
            if len(self._known) >= MAX_WORDS:
                self._known.clear()
            self._known[word] = ids
        return ids


def plain_encoder(tokenizer: Tokenizer, max_tokens: int) -> PlainEncoder | None:
    """An encoder for plain texts, if this tokenizer treats them as BERT's does; None for any other."""
    normaliser, added = tokenizer.normalizer, tokenizer.get_added_tokens_decoder().values()
    if (
        isinstance(normaliser, BertNormalizer)
        and normaliser.clean_text
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.model, WordPiece)
        and not any(token.lstrip or token.rstrip or token.normalized for token in added)
    ):
        special = [token.content for token in added]
        return PlainEncoder(tokenizer, special, lowercase=normaliser.lowercase, max_tokens=max_tokens)
    return None
