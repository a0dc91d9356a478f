"""The corpora as examples with targets, each split into a part to train on and a part held out to measure.

A corpus is split by what its texts share, never text by text: intents (CLINC150, Snips), languages (UDHR), pairs of a
review and its rewrite (counterfactual IMDb), the review or editorial that a sentence is from; comments and tweets,
which stand alone, by a digest of the text.
"""

import hashlib
import html
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from model_export.emoji import name_emoji
from training.errors import TrainingError
from training.examples import EVEN, Example, target
from training.templates import fillers

HELD_OUT_LANGUAGES = frozenset({"ces", "swe", "tur", "kor", "por"})
HELD_OUT_SHARE = 0.1
RATED_HELD_OUT_SHARE = 0.25
"""More of the rated texts, which are few and the only ones of their kinds."""

POLITE_INTENTS = frozenset({"thank_you", "damaged_card", "report_fraud", "lost_luggage"})
"""Intents of CLINC150 whose texts have a mood; of no use as neutral ones."""

STRONG_POSITIVE = frozenset(("admiration", "amusement", "excitement", "gratitude", "joy", "love", "pride", "relief"))
WEAK_POSITIVE = frozenset(("approval", "caring", "optimism"))
STRONG_NEGATIVE = frozenset(("anger", "annoyance", "disappointment", "disgust", "grief", "sadness"))
WEAK_NEGATIVE = frozenset(("disapproval", "embarrassment", "fear", "nervousness", "remorse"))
STRONG, WEAK = 0.92, 0.85
"""Targets by how well an emotion tells the label: raters agree less on weak ones."""

REVIEW, OPENING, SENTENCE = 0.95, 0.78, 0.65
"""Targets of a review's label: for a window of it, for its first words and for one sentence, which often say little."""

SENTENCE_WORDS = (4, 60)
"""Words of a sentence of a review, at least and at most; what lies outside is a heading or a list."""

RATED = {"tweets": "tweets", "products": "amazonReviewSnippets", "editorials": "nytEditorialSnippets"}
"""Source -> how its file is called in the archive of Hutto and Gilbert."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

RATING_SLOPE = 4.0
"""Of the logistic curve from a mean rating to a target. Raters who lean by a third of a step agree on the label nearly
always: half the slope left tweets and editorials scored far more carefully than they were right."""

MOST_RATED = 0.97
"""The farthest target that a rating gives."""


def read(path: Path, encoding: str) -> list[str]:
    """The lines of a file. Raises TrainingError that names it."""
    try:
        return path.read_text(encoding).rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise TrainingError(f"cannot read {path}: {exc}") from exc


def rows(path: Path, header: str) -> Iterator[tuple[str, ...]]:
    """Yield the tab-separated rows of a corpus below its header line. Raises TrainingError that names file and line."""
    lines = read(path, "utf-8")
    if lines[0] != header.replace(" ", "\t"):
        raise TrainingError(f"{path}, line 1: expected the columns {header}, got {lines[0][:60]!r}")
    columns = header.count(" ") + 1
    for number, line in enumerate(lines[1:], start=2):
        row = tuple(line.split("\t", columns - 1))
        if len(row) != columns or not row[-1].strip():
            raise TrainingError(f"{path}, line {number}: expected {columns} columns ({header}), got {line[:60]!r}")
        yield row


def is_held_out(key: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a `share` of all keys, chosen by their digest, includes this one."""
    return hashlib.sha256(key.encode()).digest()[0] < 256 * share


def split(examples: Iterator[tuple[Example, bool]]) -> tuple[list[Example], list[Example]]:
    """(to train on, held out), each in the order of the corpus."""
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example, held_out in examples:
        parts[held_out].append(example)
    return parts


def clinc(folder: Path) -> Iterator[tuple[Example, bool]]:
    """Questions and commands to an assistant, 150 intents."""
    for intent, text in rows(folder / "clinc-train.tsv", "intent text"):
        if intent not in POLITE_INTENTS:
            yield Example(text, EVEN, "clinc"), is_held_out(intent)


def snips(folder: Path) -> Iterator[tuple[Example, bool]]:
    """Commands about music, weather, books, films and restaurants; one of the seven intents is held out."""
    for intent, text in rows(folder / "snips.tsv", "intent text"):
        yield Example(text, EVEN, "snips"), intent == "BookRestaurant"


def foreign(folder: Path) -> Iterator[tuple[Example, bool]]:
    """Sentences in languages that the model can't read; five of the 23 languages are held out."""
    for language, text in rows(folder / "udhr.tsv", "language text"):
        yield Example(text, EVEN, "foreign"), language in HELD_OUT_LANGUAGES


def goemotions(folder: Path) -> Iterator[tuple[Example, bool]]:
    """Reddit comments: `goemotions` with a label by their emotions, `goemotions-neutral` marked as neutral alone."""
    for emotions, written in rows(folder / "goemotions-train.tsv", "emotions text"):
        named = set(emotions.split(";"))
        text, held_out = name_emoji(written), is_held_out(written)
        if named == {"neutral"}:
            yield Example(text, EVEN, "goemotions-neutral"), held_out
            continue
        named.discard("neutral")
        for positive, strong, weak in ((True, STRONG_POSITIVE, WEAK_POSITIVE), (False, STRONG_NEGATIVE, WEAK_NEGATIVE)):
            if named <= strong | weak:
                yield Example(text, target(positive, STRONG if named & strong else WEAK), "goemotions"), held_out


def reviews(folder: Path) -> Iterator[tuple[Example, bool]]:
    """Film reviews and their minimal rewrites to the opposite label, by pair; also their first words, and sentences."""
    fewest, most = SENTENCE_WORDS
    for pair, label, text in rows(folder / "imdb-counterfactual-train.tsv", "pair label text"):
        positive, held_out = label == "POSITIVE", is_held_out(pair)
        yield Example(text, target(positive, REVIEW), "reviews"), held_out
        yield Example(opening(text), target(positive, OPENING), "openings"), held_out
        for sentence in _SENTENCE_END.split(text):
            if fewest <= len(sentence.split()) <= most:
                yield Example(sentence, target(positive, SENTENCE), "sentences"), held_out


def of_rating(rating: float) -> float:
    """The target of a text with this mean rating, -4 to 4."""
    return min(MOST_RATED, max(1.0 - MOST_RATED, 1.0 / (1.0 + math.exp(-RATING_SLOPE * rating))))


def rated(folder: Path) -> Iterator[tuple[Example, bool]]:
    """Tweets, sentences of product reviews and of editorials with the mean of 20 people's ratings, from -4 to 4.

    Raises TrainingError for a line that is not a name, a rating and a text, parted by tabs.
    """
    for source, name in RATED.items():
        path = folder / f"{name}_GroundTruth.txt"
        for number, line in enumerate(read(path, "latin-1"), start=1):
            try:
                key, rating, text = line.split("\t")
                positive = of_rating(float(rating))
            except ValueError as exc:
                raise TrainingError(
                    f"{path}, line {number}: expected name, rating and text, got {line[:60]!r}"
                ) from exc
            # A sentence is named by its review or editorial and its place there: 12_3.
            owner = text if source == "tweets" else key.partition("_")[0]
            written = name_emoji(html.unescape(text))
            yield Example(written, positive, source), is_held_out(owner, RATED_HELD_OUT_SHARE)


CORPORA: tuple[Callable[[Path], Iterator[tuple[Example, bool]]], ...] = (
    clinc, snips, foreign, goemotions, reviews, rated,
)  # fmt: skip


def name_placeholders(text: str, rng: random.Random) -> str:
    """Put a random name or religion where GoEmotions hides them: no name may come to stand for a label."""
    text = re.sub(r"\[NAME\]", lambda _: rng.choice(fillers("train", "name")), text)
    return re.sub(r"\[RELIGION\]", lambda _: rng.choice(fillers("train", "religion")), text)


def opening(text: str) -> str:
    """The first 15 to 60 words of a review, as many as its digest says."""
    return " ".join(text.split()[: 15 + hashlib.sha256(text.encode()).digest()[1] % 46])


def snippet(text: str, rng: random.Random) -> str:
    """A run of 2 to 14 words of a foreign text, or 6 to 40 characters of one written without spaces."""
    words = text.split()
    if len(words) < 6 and len(text) > 30:  # noqa: PLR2004 - a sentence without spaces
        start = rng.randrange(len(text) - 6)
        return text[start : start + rng.randint(6, 40)]
    start = rng.randrange(max(1, len(words) - 2))
    return " ".join(words[start : start + rng.randint(2, 14)])


def group_terms() -> dict[str, str]:
    """Every one-word filler that names a group -> its slot."""
    slots = ("country", "nationality", "religion", "ethnicity", "city")
    return {term: slot for slot in slots for term in fillers("train", slot) if " " not in term and term[0].isupper()}


def swap_groups(text: str, rng: random.Random, terms: dict[str, str]) -> str:
    """Name a random other group of the same kind wherever the text names one in a capital letter."""
    return re.sub(
        r"\b[A-Z][a-z]+\b",
        lambda word: rng.choice(fillers("train", terms[word[0]])) if word[0] in terms else word[0],
        text,
    )
