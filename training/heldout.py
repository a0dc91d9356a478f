"""What the model is measured on: the held-out parts of the corpora, and templates of other wording and fillers."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_export.emoji import name_emoji
from model_export.labelled import read_labelled
from model_export.treebank import detokenise
from training.corpora import RATED, name_placeholders, of_rating
from training.examples import EVEN, Example, target
from training.mixture import read_all
from training.noise import noisy, typing_slip
from training.templates import fill, fillers, generate, templates

CAPABILITY_TEXTS = 300
NEUTRAL_TEXTS = 600
SEED = 1

GROUP_SLOTS = ("country", "nationality", "religion", "orientation", "ethnicity", "person", "name", "condition")
LABEL_RATING, NEUTRAL_RATING = 0.35, 0.2
"""Steps from the middle of the raters' scale from which a text has a label, and up to which it has none."""

LONG_TEXTS, LONG_WORDS = 150, 450
"""How many long texts of a kind, and the words from which they come to more than 512 tokens."""


@dataclass(frozen=True)
class HeldOut:
    """Texts by set. `pairs` are (before, after): what was added, changed or misspelt says nothing new, or says more."""

    polar: dict[str, list[Example]]
    neutral: dict[str, list[str]]
    capabilities: dict[str, list[Example]]
    fairness: list[list[str]]
    same: dict[str, list[tuple[str, str]]]
    added: dict[str, list[tuple[str, str]]]
    long: dict[str, list[Example]]


def held_out(corpora: Path, sst2: Path, dev: Path) -> HeldOut:
    """Everything that is measured, the same texts each time."""
    rng = random.Random(SEED)  # noqa: S311 - repeatable
    _, parts = read_all(corpora, sst2)
    validation = [Example(row.text, float(row.label), "dev") for row in read_labelled(dev)]
    comments = [
        Example(name_placeholders(example.text, rng), example.positive, "comments") for example in parts["goemotions"]
    ]
    sample = rng.sample(comments, min(NEUTRAL_TEXTS, len(comments)))
    return HeldOut(
        polar={
            "SST-2 validation": validation,
            "SST-2 validation, detokenised": [Example(detokenise(e.text), e.positive, e.source) for e in validation],
            "comments (GoEmotions)": comments,
            "reviews, first 40 words": [
                Example(" ".join(e.text.split()[:40]), e.positive, e.source) for e in parts["reviews"]
            ],
            **{
                f"{source}, rated": [
                    e for e in parts[source] if not of_rating(-LABEL_RATING) < e.positive < of_rating(LABEL_RATING)
                ]
                for source in RATED
            },
        },
        neutral=_neutral(parts, rng),
        capabilities=_capabilities(rng),
        fairness=group_variants(rng),
        same={
            "typing slips": [(e.text, typing_slip(e.text, rng)) for e in sample],
            "other noise": [(e.text, noisy(e.text, 1.0, rng)) for e in sample],
        },
        added={
            sign: [(e.text, f"{e.text} {rng.choice(fillers('test', f'{sign}_phrase'))}.") for e in sample]
            for sign in ("pos", "neg")
        },
        long=_long(parts["reviews"], parts["clinc"], rng),
    )


def _neutral(parts: Mapping[str, list[Example]], rng: random.Random) -> dict[str, list[str]]:
    def some(source: str) -> list[str]:
        texts = [example.text for example in parts[source]]
        return rng.sample(texts, min(NEUTRAL_TEXTS, len(texts)))

    return {
        "assistant questions (CLINC150)": some("clinc"),
        "commands (Snips)": some("snips"),
        "unseen languages (UDHR)": some("foreign"),
        "comments marked neutral": [name_placeholders(text, rng) for text in some("goemotions-neutral")],
        "editorials, rated as neutral": [
            example.text
            for example in parts["editorials"]
            if of_rating(-NEUTRAL_RATING) <= example.positive <= of_rating(NEUTRAL_RATING)
        ],
        "sentences from templates": [example.text for example in generate("neutral", NEUTRAL_TEXTS, rng, "test")],
        "negated facts from templates": [
            # Of a generator of its own, so that the sets below stay what they were.
            example.text
            for example in generate("negated_neutral", NEUTRAL_TEXTS, random.Random(SEED), "test")  # noqa: S311
        ],
    }


def _capabilities(rng: random.Random) -> dict[str, list[Example]]:
    names = ("plain", "negation", "contrast", "temporal", "question", "emoji")
    found = {name: generate(name, CAPABILITY_TEXTS, rng, "test") for name in names}
    negation = found.pop("negation")
    found["negated positive"] = [example for example in negation if example.positive < EVEN]
    found["negated negative"] = [example for example in negation if example.positive > EVEN]
    found["mood emoji alone, unseen"] = mood_emoji("test")
    found["mood emoji alone, seen"] = mood_emoji("train")
    found["sentiment beside a group"] = generate("fairness_polar", CAPABILITY_TEXTS, rng, "test")
    return found


def mood_emoji(part: str) -> list[Example]:
    """The names of all mood emoji of a part, each as a text of its own."""
    return [
        Example(name_emoji(emoji).strip(), target(sign == "pos"), "emoji")
        for sign in ("pos", "neg")
        for emoji in fillers(part, f"{sign}_emoji")
    ]


def group_variants(rng: random.Random) -> list[list[str]]:
    """Each fairness template with every group that training never named; nothing else differs."""
    variants = []
    for template in templates("test", "fairness"):
        slot = next(name for name in GROUP_SLOTS if f"{{{name}}}" in template.text)
        variants.append([fill(template, "test", rng, {slot: group})[0] for group in fillers("test", slot)])
    return variants


def _long(reviews: list[Example], questions: list[Example], rng: random.Random) -> dict[str, list[Example]]:
    """Reviews as they are, and texts of more than 512 tokens made of them, since no single one is that long."""
    chosen = rng.sample(reviews, min(LONG_TEXTS, len(reviews)))
    aside = [_joined(questions, rng) for _ in chosen]
    return {
        "reviews": reviews,
        "questions, then a review": [
            Example(f"{other} {e.text}", e.positive, "long") for other, e in zip(aside, chosen, strict=True)
        ],
        "a review, then questions": [
            Example(f"{e.text} {other}", e.positive, "long") for other, e in zip(aside, chosen, strict=True)
        ],
        "reviews of one label": [
            Example(_joined([e for e in reviews if (e.positive > EVEN) == positive], rng), float(positive), "long")
            for positive in (True, False)
            for _ in range(LONG_TEXTS // 2)
        ],
    }


def _joined(examples: list[Example], rng: random.Random) -> str:
    """Texts drawn at random, one behind the other, until they have `LONG_WORDS` words."""
    words: list[str] = []
    while len(words) < LONG_WORDS:
        words += rng.choice(examples).text.split()
    return " ".join(words)
