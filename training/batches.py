"""Examples -> padded batches of token ids with their targets."""

import random
from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedTokenizerFast

from training.examples import Example
from training.mixture import Mixture
from training.recipe import Recipe

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
"""`input_ids` and `attention_mask`, int64 (texts, tokens), and P(positive) of each text, float32 (texts,)."""


def token_rows(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], windows: Sequence[int], rng: random.Random
) -> list[list[int]]:
    """Token ids of each text with [CLS] and [SEP]; of a longer text a random run, as long as one of `windows`."""
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    for index, row in enumerate(rows):
        room = rng.choice(windows) - 2
        if len(row) > room:
            # As the service cuts: windows begin at multiples of the room, the last one ends with the text.
            start = min(rng.randrange(0, len(row), room), len(row) - room)
            rows[index] = row[start : start + room]
    return [[tokenizer.cls_token_id, *row, tokenizer.sep_token_id] for row in rows]


def grouped(lengths: Sequence[int], recipe: Recipe, rng: random.Random) -> list[list[int]]:
    """Indices in batches of similar length, at most `batch_size` texts and `batch_tokens` tokens; in random order."""
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lambda at: (lengths[at], rng.random())):
        size = len(batches[-1]) + 1
        if size > recipe.batch_size or size * lengths[index] > recipe.batch_tokens:
            batches.append([])
        batches[-1].append(index)
    rng.shuffle(batches)
    return batches


def batches_of(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], recipe: Recipe, rng: random.Random
) -> Iterator[Batch]:
    """One round of `examples` as batches."""
    rows = token_rows(tokenizer, [example.text for example in examples], recipe.window_tokens, rng)
    for chosen in grouped([len(row) for row in rows], recipe, rng):
        padded = tokenizer.pad({"input_ids": [rows[index] for index in chosen]}, return_tensors="pt")
        yield dict(padded), torch.tensor([examples[index].positive for index in chosen])


def endless(tokenizer: PreTrainedTokenizerFast, mixture: Mixture, recipe: Recipe) -> Iterator[Batch]:
    """Batches of one round after the other."""
    rng = random.Random(recipe.seed)  # noqa: S311 - repeatable
    while True:
        yield from batches_of(tokenizer, mixture.round(), recipe, rng)
