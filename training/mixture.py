"""How much of what the model sees in one round, and what happens to a text on the way."""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from model_export.labelled import read_labelled
from model_export.treebank import detokenise
from training.corpora import CORPORA, group_terms, name_placeholders, opening, snippet, split, swap_groups
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
    "reviews": 800,
    "openings": 350,
    "clinc": 350,
    "snips": 120,
    "foreign": 250,
    "plain": 500,
    "negation": 1900,
    "contrast": 900,
    "temporal": 350,
    "question": 350,
    "neutral": 500,
    "groups_neutral": 1400,
    "groups_polar": 350,
    "emoji": 600,
}
"""Texts a round by source: about 27,000. Rounds are short, so that any stopping point has seen every source."""

TAUGHT = frozenset({"sst2", "goemotions-neutral"})
"""Sources whose targets a teacher has a say in."""

Teach = Callable[[list[Example]], list[Example]]
"""Examples -> the same with the teacher's targets."""

NOISE_SHARE = 0.45


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

    def __init__(
        self, corpora: Mapping[str, list[Example]], counts: Mapping[str, int], seed: int, teach: Teach | None = None
    ) -> None:
        for source, count in counts.items():
            if count and source not in CAPABILITIES and not corpora.get(source):
                raise TrainingError(f"the mixture takes {count} texts of {source} a round, but there is none")
        self._rng = random.Random(seed)  # noqa: S311 - repeatable
        self._counts = counts
        self._teach = teach
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
                texts = [next(self._streams[source]) for _ in range(count)]
                chosen += self._teach(texts) if self._teach and source in TAUGHT else texts
        self._rng.shuffle(chosen)
        return [Example(self._changed(example), example.positive, example.source) for example in chosen]

    def _changed(self, example: Example) -> str:
        text, rng = example.text, self._rng
        if example.source == "foreign":
            return snippet(text, rng)
        if example.source == "openings":
            text = opening(text, rng)
        if example.source in ("reviews", "openings", "editorials"):
            return swap_groups(text, rng, self._terms)
        if example.source == "sst2" and rng.random() < EVEN:
            text = detokenise(text)
        if example.source.startswith("goemotions"):
            text = name_placeholders(swap_groups(text, rng, self._terms), rng)
        return noisy(text, NOISE_SHARE, rng)
