"""Labelled texts -> padded batches."""

import random
from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedTokenizerFast

from model_export.dataset import LabelledText
from model_export.finetune.recipe import Recipe
from model_export.treebank import detokenise

MEGABATCH = 64
"""Batches whose texts are sorted by length together: little padding, and still a random order."""

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
"""`input_ids` and `attention_mask`, int64 (texts, tokens), and the indices of the texts, int64 (texts,)."""


def length_sorted_batches(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Shuffle, then sort by length within `MEGABATCH` batches; batches come in random order. Indices of `lengths`."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), batch_size * MEGABATCH):
        chunk = sorted(order[start : start + batch_size * MEGABATCH], key=lambda index: lengths[index])
        batches += [chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size)]
    rng.shuffle(batches)
    return batches


def epoch(
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[LabelledText],
    recipe: Recipe,
    rng: random.Random,
    skip: int = 0,
) -> Iterator[Batch]:
    """The batches of one epoch but for the first `skip`; a random share of the texts is detokenised each time.

    What `rng` gives is taken before the first batch, whatever is skipped.
    """
    written = [detokenise(one.text) if rng.random() < recipe.detokenised_share else one.text for one in texts]
    rows: list[list[int]] = tokenizer(written, truncation=True, max_length=recipe.max_tokens)["input_ids"]
    for batch in length_sorted_batches([len(row) for row in rows], recipe.batch_size, rng)[skip:]:
        yield padded([rows[index] for index in batch]), torch.tensor(batch)


def padded(rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """As the service pads: with id 0 behind a mask, whatever the tokenizer's own pad token is."""
    shape = len(rows), max(map(len, rows))
    encoded = {name: torch.zeros(shape, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    for index, row in enumerate(rows):
        encoded["input_ids"][index, : len(row)] = torch.tensor(row)
        encoded["attention_mask"][index, : len(row)] = 1
    return encoded
