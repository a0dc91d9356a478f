"""Texts -> token ids, with the tokenizer of the bundled package."""

import random
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from app.model.onnxruntime import pad
from app.model.package import Package
from app.model.tokenizer import Encoder, Pair
from app.settings import BUNDLED_MODEL

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


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
def test_cutting_the_start_keeps_the_last_tokens(text: str) -> None:
    """The ids are those of a tokenizer that cuts the whole text on the left."""
    reference = Tokenizer.from_file(str(PACKAGE.tokenizer_path))
    reference.no_padding()
    reference.enable_truncation(512, direction="left")
    whole = reference.encode(text)
    encoded = ENCODER.encode(text, "start")
    assert encoded.ids == whole.ids
    assert encoded.truncated == bool(whole.overflowing)


def test_whole_text_has_the_same_tokens_whatever_would_be_cut() -> None:
    """Nothing is, where it fits."""
    assert ENCODER.encode("good " * 510, "start") == ENCODER.encode("good " * 510, "end")
    assert not ENCODER.encode("good " * 510, "start").truncated


@pytest.mark.parametrize(("words", "tokens", "truncated"), [(1, 3, False), (510, 512, False), (511, 512, True)])
def test_truncation_begins_after_the_last_token_that_fits(words: int, tokens: int, *, truncated: bool) -> None:
    """510 words and two special tokens fit; one more is cut."""
    encoded = ENCODER.encode("good " * words)
    assert (len(encoded.ids), encoded.truncated) == (tokens, truncated)
    assert encoded.ids[-1] == ENCODER.encode("good").ids[-1], "the last token is the separator"


def test_special_tokens_in_a_text_are_plain_text() -> None:
    """Whoever writes [SEP] ends no sentence, and [MASK] hides no word."""
    special = {ENCODER.encode("good").ids[0], ENCODER.encode("good").ids[-1], 0, 100, 103}
    ids = ENCODER.encode("a [CLS] b [SEP] c [MASK] d [PAD] e [UNK] f").ids
    assert special.isdisjoint(ids[1:-1])


@pytest.mark.parametrize(
    ("emoji", "name"),
    [
        ("\N{POUTING FACE}", "pouting face"),
        ("\N{HEAVY BLACK HEART}", "heavy black heart"),
        ("\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}", "heavy black heart"),
        ("\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}", "thumbs up sign"),
        ("\N{MAN}\N{ZERO WIDTH JOINER}\N{GIRL}", "man girl"),
        ("1\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}", "1"),
    ],
)
def test_bundled_model_reads_emoji_by_name(emoji: str, name: str) -> None:
    """Nothing of it is unknown, wherever it stands."""
    assert ENCODER.encode(f"so{emoji}fine") == ENCODER.encode(f"so {name} fine" if name != "1" else "so1fine")
    assert ENCODER.encode(emoji).unknown == 0


@pytest.mark.parametrize(
    ("words", "lengths", "truncated"),
    [
        (14, [16], False),
        (15, [16, 7], False),  # four words again, and the one that is new
        (24, [16, 16], False),
        (34, [16, 16, 16], False),
        (35, [16, 16, 16], True),
    ],
)
def test_long_text_is_read_in_windows(words: int, lengths: list[int], *, truncated: bool) -> None:
    """Three windows of 14 words, of which 4 stood in the one before; every one begins and ends as a text does."""
    encoder = Encoder(PACKAGE.tokenizer_path, 16, overlap=4, max_windows=3)
    text = " ".join(str(number) for number in range(words))
    start, *content, end = ENCODER.encode(text).ids
    assert len(content) == words, "each number is one token"
    encoded = encoder.encode(text)
    windows = [[start, *content[begin : begin + 14], end] for begin in (0, 10, 20)][: len(lengths)]
    assert [len(window) for window in windows] == lengths
    assert encoded == (list(chain.from_iterable(windows)), truncated, 0)


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
def test_cutting_characters_first_changes_no_window(text: str) -> None:
    """A prefix is enough for windows, too."""
    reference = Tokenizer.from_file(str(PACKAGE.tokenizer_path))
    reference.no_padding()
    reference.enable_truncation(128, stride=32)
    whole = reference.encode(text)
    encoded = Encoder(PACKAGE.tokenizer_path, 128, overlap=32, max_windows=3).encode(text)
    assert encoded.ids == whole.ids + [id_ for window in whole.overflowing[:2] for id_ in window.ids]
    assert encoded.truncated == (len(whole.overflowing) > 2)


def test_last_windows_are_kept_where_the_start_is_cut() -> None:
    """Of 50 words the last 34 fill three windows; a text that fits is the same whatever would be cut."""
    encoder = Encoder(PACKAGE.tokenizer_path, 16, overlap=4, max_windows=3)
    text = " ".join(str(number) for number in range(50))
    start, *content, end = ENCODER.encode(text).ids
    windows = [[start, *content[begin : begin + 14], end] for begin in (16, 26, 36)]
    assert encoder.encode(text, "start") == (list(chain.from_iterable(windows)), True, 0)
    for words in (14, 15, 24, 25, 34):
        fits = " ".join(str(number) for number in range(words))
        assert encoder.encode(fits, "start") == encoder.encode(fits, "end")


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


@pytest.mark.parametrize("lengths", [(1, 1), (5, 200), (200, 5), (30, 31), (31, 30), (60, 60), (61, 300), (300, 61)])
def test_pair_is_cut_as_the_library_cuts_it(bundled_model: Path, lengths: tuple[int, int]) -> None:
    """The longer one first, whichever it is; what is written like a separator is none."""
    tokenizer = Tokenizer.from_file(str(bundled_model / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    tokenizer.encode_special_tokens = True
    first, second = ("good [SEP] " * lengths[0]).strip(), "film " * lengths[1]
    expected = tokenizer.encode(first, second)
    found = Encoder(bundled_model / "tokenizer.json", 64).encode(Pair(first, second))
    assert found.ids == expected.ids
    assert found.truncated == bool(expected.overflowing)


@pytest.mark.parametrize("text", ["\u597d" * 100_000, "good " * 20_000, "x" * 100_000])
def test_long_pair_is_read_as_far_as_the_model_reads(bundled_model: Path, text: str) -> None:
    """Not a token more, and without a combination for each two cuts."""
    encoder = Encoder(bundled_model / "tokenizer.json", 512)
    short = Pair("good", text[:20_000])
    assert encoder.encode(Pair("good", text)).ids == encoder.encode(short).ids
    assert len(encoder.encode(Pair(text, text)).ids) <= 512


def test_pairs_are_told_apart() -> None:
    """By what caches see of them, and wherever the one text ends."""
    pairs = [Pair("a", "bc"), Pair("ab", "c"), Pair("", "abc"), Pair("1:a", "bc"), Pair("1", ":abc")]
    assert len({str(pair) for pair in pairs}) == len(pairs)


WORDS = [
    "good",
    "GOOD",
    "film.",
    "isn't",
    "[SEP]",
    "[UNK]",
    "##ing",
    "a-b",
    "x" * 120,
    "'",
    '"quoted"',
    "#1",
    "",
    "~^|",
]


def test_words_alone_make_the_same_ids() -> None:
    """Texts of every kind, most of them from words that are known by then; what is not ASCII goes the usual way."""
    rng = random.Random(7)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 40))) for _ in range(400)]
    texts += ["caf\u00e9 \U0001f600", "tab\there", "line\nbreak", " leading", "trailing ", "\x00", "good " * 600, " "]
    texts += ["".join(map(chr, rng.choices(range(32, 127), k=rng.randrange(60)))) for _ in range(400)]
    for text in texts:
        assert ENCODER.encode_by_words(text) == ENCODER.encode(text), text


def test_words_that_depend_on_each_other_are_not_taken_apart(tmp_path: Path) -> None:
    """Byte-level BPE has the space in its tokens; an added token may reach over two words."""
    bpe = Tokenizer(models.BPE({token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    added = Tokenizer.from_file(str(PACKAGE.tokenizer_path))
    added.add_tokens(["good film"])
    for name, tokenizer in (("bpe", bpe), ("added", added)):
        tokenizer.save(str(tmp_path / name))
        encoder = Encoder(tmp_path / name, 512)
        for text in ("a good film", "a good  film"):
            assert encoder.encode_by_words(text) == encoder.encode(text)
