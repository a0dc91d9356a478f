"""SST-2 as the Stanford Sentiment Treebank left it: spaced apart, and with the phrases of each sentence beside it."""

import random
import re
from collections.abc import Sequence

from model_export.labelled import Example

SENTENCE_WORDS = 5
"""Shorter texts of the training set are phrases."""


def detokenise(text: str) -> str:
    """Undo the treebank's spacing, as people type: "it does n't -lrb- yet -rrb-" -> "it doesn't (yet)"."""
    text = text.replace("-lrb- ", "(").replace(" -rrb-", ")").replace("`` ", '"').replace(" ''", '"')
    text = re.sub(r" (n't|'(?:s|re|ve|ll|d|m)\b)", r"\1", text)
    return re.sub(r" ([.,;:!?])", r"\1", text)


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split into (training, held-out) such that no training phrase is a part of a held-out sentence.

    SST-2's training set holds the phrases of each sentence beside the sentence: a plain random split would leak. A
    sentence here is a text of five words or more that is part of no other text.
    """
    owner: dict[str, int] = {}
    sentences: list[int] = []
    for index in sorted(range(len(examples)), key=lambda i: -len(examples[i].text.split())):
        words = examples[index].text.split()
        if len(words) >= SENTENCE_WORDS and " ".join(words) not in owner:
            sentences.append(index)
        for start in range(len(words)):
            for stop in range(start + 1, len(words) + 1):
                owner.setdefault(" ".join(words[start:stop]), index)
    chosen = set(
        random.Random(seed).sample(  # noqa: S311 - repeatable
            sentences, round(len(sentences) * share)
        )
    )
    parts = {
        " ".join(words[start:stop])
        for words in (examples[index].text.split() for index in chosen)
        for start in range(len(words))
        for stop in range(start + 1, len(words) + 1)
    }
    training = [example for example in examples if " ".join(example.text.split()) not in parts]
    return training, [examples[index] for index in sorted(chosen)]
