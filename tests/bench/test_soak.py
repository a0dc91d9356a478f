"""The soak as a user runs it, for a few hundred texts."""

from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from bench.soak import MAX_TOKENS, MIN_TOKENS, growth, random_texts
from tests.bench.measurement import measured
from tests.conftest import ROOT

TOKENIZER = ROOT / "models" / "distilbert-sst2-mini" / "tokenizer.json"


def test_texts_have_lengths_from_3_to_512_tokens() -> None:
    """As the tokenizer counts them, and most are short."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    lengths = sorted(len(one.ids) for one in tokenizer.encode_batch(list(islice(random_texts(TOKENIZER), 2000))))
    assert MIN_TOKENS <= lengths[0] <= 4
    assert 490 < lengths[-1] <= MAX_TOKENS
    assert 30 < lengths[1000] < 50
    assert 90 < sum(lengths) / 2000 < 110


def test_growth_compares_the_last_quarter_with_the_second() -> None:
    """What the first texts take is not growth."""
    samples = [(n, mb) for n, mb in enumerate([50.0, 90.0, 100.0, 99.0, 101.0, 100.0, 103.0, 102.0])]
    assert growth(samples) == 3.0


def test_soak_says_what_it_found(tmp_path: Path) -> None:
    """Whether memory is flat after so few texts is no matter."""
    report = measured(tmp_path, "soak", "--texts", "200", "--idle-seconds", "0.5", last="idle: share of one core")
    assert (report["texts"], report["failures"]) == (200, 0)
    assert report["peak_rss_mb"] > 50
    assert report["rss_mb"][-1][0] == 200
