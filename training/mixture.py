"""How much of what the model sees in one round, and what happens to a text on the way."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from model_export.labelled import read_labelled
from model_export.treebank import detokenise
from training.corpora import CORPORA, group_terms, name_placeholders, snippet, split, swap_groups
from training.errors import TrainingError
from training.examples import EVEN, Example, target
from training.noise import noisy
from training.templates import CAPABILITIES, generate

ROUND: dict[str, int] = {
    "sst2": 10000,
    "goemotions": 3000,
    "goemotions-neutral": 1400,
    "tweets": 1500,
    "products": 1500,
    "editorials": 800,
    "reviews": 500,
    "openings": 500,
    "sentences": 5000,
    "clinc": 500,
    "snips": 120,
    "foreign": 250,
    "plain": 700,
    "negation": 2200,
    "contrast": 1100,
    "temporal": 350,
    "question": 400,
    "neutral": 700,
    "groups_neutral": 1800,
    "groups_polar": 400,
    "emoji": 600,
}
"""Texts a round by source: about 33,000. Rounds are short, so that any stopping point has seen every source."""

NOISE_SHARE = 0.45

PHRASE_SHARE = 0.12
"""How many comments get a phrase of the same mood behind them."""

NO_MOOD = 0.1
"""How far from 0.5 the target of a text without a mood may lie; a phrase behind it decides, with `PHRASE_STRENGTH`."""

PHRASE_STRENGTH = 0.9


def read_all(corpora: Path, sst2: Path) -> tuple[dict[str, list[Example]], dict[str, list[Example]]]:
    """(to train on, held out) by source; SST-2 is trained on as a whole, its validation set is held out already."""
    training: dict[str, list[Example]] = {
        "sst2": [Example(row.text, target(row.label == 1), "sst2") for row in read_labelled(sst2)]
    }
    held_out: dict[str, list[Example]] = {}
    for corpus in CORPORA:
        for parts, examples in zip((training, held_out), split(corpus(corpora)), strict=True):
            for example in examples:
                parts.setdefault(example.source, []).append(example)
    return training, held_out


class Mixture:
    """Endless rounds of examples, each source at its count, corpora without repetition until they are used up.

    Raises TrainingError for a source without texts.
    """

    def __init__(self, corpora: Mapping[str, list[Example]], counts: Mapping[str, int], seed: int) -> None:
        for source, count in counts.items():
            if count and source not in CAPABILITIES and not corpora.get(source):
                raise TrainingError(f"the mixture takes {count} texts of {source} a round, but there is none")
        self._rng = random.Random(seed)  # noqa: S311 - repeatable
        self._counts = counts
        self._streams = {source: self._shuffled(examples) for source, examples in corpora.items()}
        self._terms = group_terms()

    def _shuffled(self, examples: list[Example]) -> Iterator[Example]:
        while True:
            yield from self._rng.sample(examples, len(examples))

    def round(self) -> list[Example]:
        """The next round, in random order."""
        chosen: list[Example] = []
        for source, count in self._counts.items():
            if source in CAPABILITIES:
                chosen += generate(source, count, self._rng)
            elif count:
                chosen += [next(self._streams[source]) for _ in range(count)]
        self._rng.shuffle(chosen)
        return [
            Example(self._changed(example), example.positive, example.source)
            for example in map(self._with_phrase, chosen)
        ]

    def _with_phrase(self, example: Example) -> Example:
        """A comment, sometimes with "You are wonderful." behind it: what follows counts and weakens nothing."""
        if not example.source.startswith("goemotions") or self._rng.random() >= PHRASE_SHARE:
            return example
        (phrase,) = generate("phrase", 1, self._rng)
        positive = phrase.positive
        if abs(example.positive - EVEN) <= NO_MOOD:
            positive = target(positive > EVEN, PHRASE_STRENGTH)
        elif (example.positive > EVEN) != (positive > EVEN):
            return example
        return Example(f"{example.text.rstrip(' .!?')}. {phrase.text}", positive, example.source)

    def _changed(self, example: Example) -> str:
        text, rng = example.text, self._rng
        if example.source == "foreign":
            return snippet(text, rng)
        if example.source in ("reviews", "openings", "editorials"):
            return swap_groups(text, rng, self._terms)
        if example.source == "sst2" and rng.random() < EVEN:
            text = detokenise(text)
        if example.source.startswith("goemotions"):
            text = name_placeholders(swap_groups(text, rng, self._terms), rng)
        return noisy(text, NOISE_SHARE, rng)
