"""Emoji become words, by ourselves and by a tokenizer that is told to."""

import sys
import unicodedata

import pytest

pytest.importorskip("sentencepiece", reason="needs the export environment: make install-export")

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from model_export.emoji import name_emoji, name_in
from training.templates import fillers

CASES = [
    ("no emoji, caf\N{LATIN SMALL LETTER E WITH ACUTE}", "no emoji, caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ("bad\N{POUTING FACE}", "bad pouting face "),
    ("\N{THUMBS UP SIGN}\U0001f3fd", " thumbs up sign "),
    ("\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}", " heavy black heart "),
    ("\N{HEAVY BLACK HEART}", " heavy black heart "),
    ("\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}", " man  woman  girl "),
    ("1\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}", "1"),
    ("100 \N{DEGREE SIGN}C \N{COPYRIGHT SIGN}", "100 \N{DEGREE SIGN}C \N{COPYRIGHT SIGN}"),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """One that does nothing but name emoji."""
    made = Tokenizer(WordLevel({}))
    name_in(made)
    return Tokenizer.from_str(made.to_str())  # as it is saved


@pytest.mark.parametrize(("text", "named"), CASES)
def test_emoji_are_named(tokenizer: Tokenizer, text: str, named: str) -> None:
    """Every pictograph becomes its Unicode name, with and without presentation selector or skin tone."""
    assert name_emoji(text) == named
    assert tokenizer.normalizer.normalize_str(text) == named


def test_tokenizer_names_every_character_alike(tokenizer: Tokenizer) -> None:
    """Those that are assigned, each between two letters."""
    assigned = (
        chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) not in ("Cn", "Cs", "Co")
    )
    text = "".join(f"x{character}x\n" for character in assigned)
    assert tokenizer.normalizer.normalize_str(text) == name_emoji(text)


@pytest.mark.parametrize("slot", ["pos_emoji", "neg_emoji", "object_emoji"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_every_emoji_of_the_tables_has_a_name(part: str, slot: str) -> None:
    """No entry of the tables is left as a character that the vocabulary lacks."""
    assert all(name_emoji(emoji).isascii() for emoji in fillers(part, slot))
