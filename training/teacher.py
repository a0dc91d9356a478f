"""What the present model says of a text, softened: it keeps what it was right about and forgets its certainty."""

from collections.abc import Sequence

import numpy as np

from training.examples import EVEN, Example
from training.recipe import Recipe
from training.scorers import Scorer

GOLD_SHARE = 0.5
"""How much of a target is the given label where the teacher has a say; the rest is the teacher's."""

NEUTRAL_SLOPE = 0.25
"""How much of the teacher's distance from 0.5 a comment marked as neutral keeps: which way it leans, not how sure."""


def teach(teachers: Sequence[Scorer], examples: Sequence[Example], recipe: Recipe) -> list[Example]:
    """The examples with targets blended from their own and the teachers' P(positive) at the recipe's temperature."""
    texts = [example.text for example in examples]
    margins = np.mean([teacher.margins(texts) for teacher in teachers], axis=0)
    taught = 1.0 / (1.0 + np.exp(-margins / recipe.teacher_temperature))
    return [
        Example(example.text, blend(example, float(positive)), example.source)
        for example, positive in zip(examples, taught, strict=True)
    ]


def blend(example: Example, taught: float) -> float:
    """The target of `example` when the teacher says `taught`."""
    if example.source == "goemotions-neutral":
        return EVEN + NEUTRAL_SLOPE * (taught - EVEN)
    return GOLD_SHARE * example.positive + (1 - GOLD_SHARE) * taught
