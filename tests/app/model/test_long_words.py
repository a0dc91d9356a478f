"""Words without an end, in tokenizers that bound them and in such that do not."""

import threading
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from app.model.package import Package
from app.model.tokenizer import Encoder, Truncation
from app.settings import BUNDLED_MODEL

MAX_TOKENS = 512
HANGUL = "각" * 99_000
TEXTS = {
    "one word": "o" * 4_098,
    "one long word": "o" * 99_001,
    "words": "ooo oo oooo o " * 9_000,
    "long words": ("o" * 4_099 + " ") * 9,
    "long words, many spaces": ("o" * 4_099 + "   ") * 9,
    "a word, then spaces": "oo" + " " * 50_000 + "ooo",
    "Hangul": HANGUL,
}


def unigram() -> Tokenizer:
    """Like XLM-R's: pieces of words, the best split of the whole word."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -5.0), ("o", -4.0), ("ooo", -6.0), ("ooooo", -7.0)]
    tokenizer = Tokenizer(Unigram([*pieces, ("▁oo", -5.5), ("ooooooo", -8.1)], unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return tokenizer


def bpe() -> Tokenizer:
    """Like RoBERTa's: merges in the order of their rank, wherever in the word."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "o": 3, "Ġ": 4, "oo": 5, "Ġo": 6, "oooo": 7, "ooo": 8}
    merges = [("o", "o"), ("Ġ", "o"), ("oo", "oo"), ("oo", "o")]
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("make", [unigram, bpe])
@pytest.mark.parametrize(("truncation", "direction"), [("end", "right"), ("start", "left")])
def test_part_has_the_ids_of_the_text(
    tmp_path: Path, make: type[Tokenizer], text: str, truncation: Truncation, direction: str
) -> None:
    """As many as the model reads, and whether there are more."""
    tokenizer = make()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    tokenizer.enable_truncation(MAX_TOKENS, direction=direction)
    whole = tokenizer.encode(text)
    encoded = Encoder(path, MAX_TOKENS).encode(text, truncation)
    assert encoded.ids == whole.ids
    assert encoded.truncated == bool(whole.overflowing)


def test_long_texts_leave_the_interpreter_to_others() -> None:
    """While three texts of 99,000 letters are tokenised, another thread goes on."""
    package = Package(BUNDLED_MODEL)
    encoder = Encoder(package.tokenizer_path, MAX_TOKENS)
    began = threading.Event()

    def tokenise() -> None:
        began.set()
        for _ in range(3):
            assert len(encoder.encode(HANGUL).ids) == 3

    thread = threading.Thread(target=tokenise)
    thread.start()
    began.wait(30)
    turns = 0
    while thread.is_alive():
        turns += 1
        time.sleep(0.001)  # lets the interpreter go, and needs it again
    assert turns > 20
