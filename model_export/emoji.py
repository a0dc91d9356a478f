"""Emoji as their Unicode names: most vocabularies have none, and a face that is an unknown token says nothing."""

import re
import sys
import tempfile
import unicodedata
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.normalizers import Normalizer, Precompiled, Sequence

_DROPPED = re.compile(
    "[\N{VARIATION SELECTOR-15}\N{VARIATION SELECTOR-16}\N{ZERO WIDTH JOINER}\N{COMBINING ENCLOSING KEYCAP}"
    "\U0001f3fb-\U0001f3ff]"
)
"""What joins and shades emoji; the last five are skin tones."""
_FIRST = 0x2190
"""Below the arrows no character of the category "symbol, other" is shown as an emoji, but the (c) and (r) marks are."""
_SURROGATES = range(0xD800, 0xE000)


def name_emoji(text: str) -> str:
    """Replace every emoji by its Unicode name in lower case between spaces; drop joiners and skin tones."""
    if text.isascii():
        return text
    return "".join(
        f" {unicodedata.name(character, '').lower()} " if _is_pictograph(character) else character
        for character in _DROPPED.sub("", text)
    )


def name_in(tokenizer: Tokenizer) -> None:
    """Let the tokenizer itself do as `name_emoji`, before everything else that it does; saved with it as a table."""
    after: list[Normalizer] = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = Sequence([Precompiled(_table()), *after])


def _is_pictograph(character: str) -> bool:
    return ord(character) >= _FIRST and unicodedata.category(character) == "So"


def _table() -> bytes:
    """Every character that `name_emoji` changes, as the table of replacements that sentencepiece compiles.

    Only its trainer does, so that a model of forty tokens is made beside it.
    """
    from sentencepiece import SentencePieceTrainer, sentencepiece_model_pb2  # noqa: PLC0415 - names need no library

    points = (point for point in range(sys.maxunicode + 1) if point not in _SURROGATES)
    pairs = ((point, name_emoji(chr(point))) for point in points)
    rules = "".join(
        f"{point:X}\t{' '.join(f'{ord(character):X}' for character in name)}\n"
        for point, name in pairs
        if name != chr(point)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.tsv").write_text(rules, encoding="ascii")
        (folder / "texts.txt").write_text("".join(f"a sentence with {number}\n" for number in range(200)), "ascii")
        SentencePieceTrainer.train(
            input=str(folder / "texts.txt"),
            model_prefix=str(folder / "any"),
            vocab_size=40,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(folder / "rules.tsv"),
            minloglevel=2,
        )
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString((folder / "any.model").read_bytes())
    table: bytes = model.normalizer_spec.precompiled_charsmap
    return table
