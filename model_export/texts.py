"""The project's own texts for verification and calibration: no line of them comes from a data set."""

from itertools import chain
from pathlib import Path

_FILE = Path(__file__).with_name("texts.txt")
_HEADING = "## "
# Every length scale up to more words than 512 tokens hold, so that truncation is met as well.
_WORD_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 700)


def short_texts() -> list[str]:
    """The lines of texts.txt, without its headings."""
    lines = _FILE.read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line.strip() and not line.startswith(_HEADING)]


def verification_texts() -> list[str]:
    """The short texts, then concatenations of them that reach every length from 1 to some 1,000 tokens."""
    short = short_texts()
    words = list(chain.from_iterable(text.split() for text in short))
    long, start = [], 0
    for count in _WORD_COUNTS:
        wanted = [words[(start + offset) % len(words)] for offset in range(count)]
        long.append(" ".join(wanted))
        start += count
    return short + long
