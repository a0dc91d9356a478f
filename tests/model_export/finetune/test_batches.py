"""Batches: every text once, little padding, and the same ones again for a run that goes on."""

import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch

from model_export.checkpoint import load
from model_export.dataset import LabelledText
from model_export.finetune.batches import epoch, length_sorted_batches, padded
from model_export.finetune.recipe import Recipe


def test_batches_hold_every_text_once_and_near_lengths_together() -> None:
    """Padding is less than half of what random batches would have."""
    rng = random.Random(3)
    lengths = [rng.randint(3, 60) for _ in range(1_000)]
    batches = length_sorted_batches(lengths, 32, rng)
    assert sorted(index for batch in batches for index in batch) == list(range(1_000))

    def padding(of: list[list[int]]) -> int:
        return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in of)

    shuffled = rng.sample(range(1_000), 1_000)
    assert 2 * padding(batches) < padding([shuffled[at : at + 32] for at in range(0, 1_000, 32)])


def test_skipped_batches_change_nothing_of_the_others(checkpoint: Path) -> None:
    """Nor of what the next epoch draws."""
    tokenizer, texts = load(checkpoint).tokenizer, [LabelledText(f"good film {n}", (0,)) for n in range(20)]
    recipe, one, other = Recipe(batch_size=3, max_tokens=5), random.Random(5), random.Random(5)
    whole, rest = list(epoch(tokenizer, texts, recipe, one)), list(epoch(tokenizer, texts, recipe, other, skip=4))
    assert len(whole) == 7
    assert [indices.tolist() for _, indices in rest] == [indices.tolist() for _, indices in whole[4:]]
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for (a, _), (b, _) in zip(rest, whole[4:], strict=True))
    assert one.getstate() == other.getstate()
    assert max(encoded["input_ids"].shape[1] for encoded, _ in whole) == 5


def test_padding_is_zero_behind_a_mask() -> None:
    """As the service has it."""
    encoded = padded([[5, 6, 7], [8]])
    assert encoded["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert encoded["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
