"""The texts that every load generator here sends, made by a seeded grammar: `python -m load.texts` writes texts.json.

No data set's sentences: what is measured may be published, and nobody's words are in it. Lengths follow a lognormal
distribution around 17 words, as short reviews and messages do. A warm text is one of a fixed set, as repeated questions
are; a cold one carries a nonce, so that no cache can know it.
"""

import json
import random
import sys
from functools import cache
from pathlib import Path
from typing import TypedDict

FILE = Path(__file__).with_name("texts.json")
SEED = 20_261_121
WARM_TEXTS = 100
COLD_TEXTS = 400
MEDIAN_WORDS = 17
SIGMA = 0.55
"""Of the logarithm of the word count: two thirds of the texts have 10 to 30 words."""
MIN_WORDS, MAX_WORDS = 3, 120

SUBJECTS = (
    "the service", "my order", "this film", "the second season", "the new update", "the hotel room", "our waiter",
    "the battery", "the ending", "the main actor", "the book", "the delivery", "the support team", "the camera",
    "the soundtrack", "this recipe", "the train ride", "the keyboard", "the staff at the desk", "the whole evening",
)  # fmt: skip
VERBS = ("was", "felt", "seemed", "turned out to be", "is", "remained", "looked", "became", "has always been")
JUDGEMENTS = (
    "wonderful", "a complete waste of time", "better than I had hoped", "painfully slow", "warm and honest",
    "far too expensive", "surprisingly good", "broken after two days", "a delight from start to finish", "rather dull",
    "exactly as described", "not worth the money", "charming in its own way", "full of careless mistakes", "superb",
    "a little disappointing", "the best I have had in years", "neither good nor bad", "hard to recommend", "a joy",
)  # fmt: skip
LINKS = (", and", ", but", " because", ", although", "; still,", " while", ", so I think", ", even if", ". Besides,")
DETAILS = (
    "for a family with two small children", "in the middle of a very busy week", "after we had waited for an hour",
    "on a rainy Tuesday in November", "when nobody else could be bothered to help", "at a price that I can live with",
    "with a smile that made all the difference", "until the very last page", "compared with what they sold last year",
    "as far as I can tell", "without a single word of apology", "which my sister had warned me about",
)  # fmt: skip


class Texts(TypedDict):
    """What texts.json holds."""

    seed: int
    warm: list[str]
    cold: list[str]


def make_texts(seed: int = SEED) -> Texts:
    """The same texts for the same seed, all different from each other."""
    source = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
    found: dict[str, None] = {}
    while len(found) < WARM_TEXTS + COLD_TEXTS:
        found[_sentence(source)] = None
    texts = list(found)
    return {"seed": seed, "warm": texts[:WARM_TEXTS], "cold": texts[WARM_TEXTS:]}


@cache
def load_texts() -> Texts:
    """The texts as they stand in texts.json."""
    texts: Texts = json.loads(FILE.read_text(encoding="utf-8"))
    return texts


def cold_text(text: str, nonce: str) -> str:
    """A text never sent before, if `nonce` never was: "The book is superb. Ticket 4f09a1."."""
    return f"{text} Ticket {nonce}."


def _sentence(source: random.Random) -> str:
    words = min(MAX_WORDS, max(MIN_WORDS, round(source.lognormvariate(0, SIGMA) * MEDIAN_WORDS)))
    text = _clause(source)
    while len(text.split()) < words:
        if source.random() < 0.5:  # noqa: PLR2004 - a coin
            text = f"{text} {source.choice(DETAILS)}"
        else:
            text = f"{text}{source.choice(LINKS)} {_clause(source)}"
    # Cut at the drawn length: real messages break off anywhere, too, and lengths then follow the distribution.
    text = " ".join(text.split()[:words]).rstrip(",;.")
    return text[0].upper() + text[1:] + source.choice((".", ".", ".", "!", ""))


def _clause(source: random.Random) -> str:
    return f"{source.choice(SUBJECTS)} {source.choice(VERBS)} {source.choice(JUDGEMENTS)}"


if __name__ == "__main__":
    FILE.write_text(json.dumps(make_texts(), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"wrote {FILE}\n")
