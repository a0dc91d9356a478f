"""Remembered words give the ids that the tokenizers library gives, for every text that counts as plain."""

import random
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import Whitespace

from app import wordpiece
from app.package import Package
from app.settings import BUNDLED_MODEL
from app.wordpiece import MAX_WORDS, PlainEncoder, plain_encoder
from tests.conftest import ROOT

PATH = str(Package(BUNDLED_MODEL).tokenizer_path)
SST2 = ROOT.parent / "shared" / "data" / "sst2"
PIECES = [
    "good",
    "unbelievable",
    "Don't",
    "[MASK]",
    "[SEP]",
    "[mask]",
    "_",
    "\t",
    "\n",
    "\x00",
    "\x7f",
    "é",
    "x" * 101,
    "1,000",
]


def library(max_tokens: int = 512) -> Tokenizer:
    """The bundled tokenizer."""
    tokenizer = Tokenizer.from_file(PATH)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def plain(max_tokens: int = 512) -> PlainEncoder:
    """Made before truncation is set, as the service does."""
    tokenizer = Tokenizer.from_file(PATH)
    encoder = plain_encoder(tokenizer, max_tokens)
    assert encoder is not None
    return encoder


LIBRARY, PLAIN = library(), plain()


def same(encoder: PlainEncoder, tokenizer: Tokenizer, text: str) -> bool:
    """Check for the same ids and the same cut where the text is plain; returns whether it is."""
    ours, theirs = encoder.encode(text), tokenizer.encode(text)
    if ours is not None:
        assert ours[0] == theirs.ids, repr(text)
        assert (ours[1] > 0) == bool(theirs.overflowing), repr(text)
    return ours is not None


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(codec="ascii"), max_size=12)), max_size=12))
@example(["\x1c", "a"])
@example(["[CL", "S]"])
def test_any_ascii_text_gives_the_same_ids(pieces: list[str]) -> None:
    """Special tokens, control characters, punctuation, words too long: the same, or left to the library."""
    same(PLAIN, LIBRARY, "".join(pieces))
    same(PLAIN, LIBRARY, " ".join(pieces))


@given(st.text(max_size=40))
def test_any_text_gives_the_same_ids(text: str) -> None:
    """Whatever is not plain is said to be so."""
    same(PLAIN, LIBRARY, text)


@pytest.mark.parametrize(
    "text", ["", " ", "Good.", "two\nlines\tand a tab\r\n", string.printable.replace("\x0b", "").replace("\x0c", "")]
)
def test_plain_texts_do_not_need_the_library(text: str) -> None:
    """What most texts are made of."""
    assert same(PLAIN, LIBRARY, text)


@pytest.mark.parametrize("text", ["naïve", "[MASK] it", "a\x00b", "\x7f", "中"])
def test_other_texts_are_left_to_the_library(text: str) -> None:
    """Accents, special tokens, control characters, ideographs."""
    assert PLAIN.encode(text) is None


def test_every_sentence_of_sst2_gives_the_same_ids() -> None:
    """68,000 real ones, nearly all of them plain."""
    if not SST2.exists():
        pytest.skip("needs ../shared/data/sst2, which is not part of a clone")
    lines = [line for name in ("dev", "train") for line in (SST2 / f"{name}.tsv").read_text().splitlines()[1:]]
    share = sum(same(PLAIN, LIBRARY, line.split("\t")[1]) for line in lines) / len(lines)
    assert share > 0.99


@pytest.mark.parametrize("words", [13, 14, 15, 40])
def test_long_text_is_cut_at_the_same_place(words: int) -> None:
    """Around the limit and beyond it; what is cut off is counted without special tokens."""
    assert same(plain(16), library(16), "good " * words)
    encoded = plain(16).encode("good " * words)
    assert encoded
    assert encoded[1] == max(0, words - 14)


def test_cased_vocabulary_keeps_its_case() -> None:
    """Where the tokenizer does not lower, neither do we."""
    tokenizer = Tokenizer.from_file(PATH)
    tokenizer.normalizer = BertNormalizer(lowercase=False)
    encoder = plain_encoder(tokenizer, 512)
    assert encoder is not None
    assert encoder.encode("Good GOOD good") == (tokenizer.encode("Good GOOD good").ids, 0)


def _with(**parts: object) -> Tokenizer:
    tokenizer = Tokenizer.from_file(PATH)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def test_other_tokenizers_are_left_alone() -> None:
    """Another model, another way to split, no clean-up, an added token that is matched after normalising."""
    stripping = Tokenizer.from_file(PATH)
    stripping.add_tokens([AddedToken("hello world", normalized=True)])
    others = [
        _with(model=BPE()),
        _with(pre_tokenizer=Whitespace()),
        _with(normalizer=BertNormalizer(clean_text=False)),
        stripping,
    ]
    assert [plain_encoder(other, 512) for other in others] == [None] * 4


def test_memory_for_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of invented words is forgotten from time to time, and still gives the right ids."""
    monkeypatch.setattr(wordpiece, "MAX_WORDS", 50)
    encoder, draw = plain(), random.Random(7)
    for _ in range(500):
        text = "".join(draw.choices(string.ascii_lowercase, k=draw.randint(1, 12)))
        assert encoder.encode(text) == (LIBRARY.encode(text).ids, 0)
        assert len(encoder._known) <= 50
    assert MAX_WORDS * 250 < 8_000_000
