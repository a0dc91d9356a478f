"""Fine-tune all-MiniLM-L6-v2, as a DistilBERT, on labelled texts: SST-2 for the bundled model, or one's own.

    python -m model_export.finetune --data TRAIN.tsv --dev DEV.tsv --output CHECKPOINT
    python -m model_export.finetune --data mine.csv --text-column review --label-column stars --output CHECKPOINT

MiniLM (Wang et al., 2020, arXiv:2002.10957) is a BERT of 6 layers x 384. Without its token-type embeddings and its
pooler a BERT *is* a DistilBERT, so its weights carry over exactly. The shipped weights are the mean of snapshots from
the last third of the run (Izmailov et al., 2018, arXiv:1803.05407): steadier than any single one of them.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel
from transformers import (
    AutoTokenizer,
    BertModel,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
    get_linear_schedule_with_warmup,
)

from model_export.dataset import Dataset, load
from model_export.errors import ExportError
from model_export.labelled import Example, read_labelled
from model_export.minilm import bert_as_distilbert, minilm_folder
from model_export.precision import autocast
from model_export.progress import note
from model_export.selection import most_accurate
from model_export.tracking import of_checkpoint, tracker
from model_export.treebank import detokenise, hold_out

LABELS = ("NEGATIVE", "POSITIVE")
DEV_SHARE = 0.1
"""Of texts that come without a validation set."""
MOST = 10_000
"""Of whatever an option counts."""
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
    """Fine-tune `model` in place; return it or the mean of its late snapshots, and the accuracies by stage and set.

    The better of the two on `checks["dev"]` is returned. Raises ExportError when it learned nothing.
    """
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
            with autocast():
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
    candidates: dict[str, DistilBertForSequenceClassification] = {f"epoch {recipe.epochs}": model}
    if average.n_averaged:  # a run of few steps has no snapshots, and the mean of none is the untrained model
        candidates["mean of snapshots"] = average.module
        figures["mean of snapshots"] = {
            name: accuracy(average.module, tokenizer, check, recipe) for name, check in checks.items()
        }
        note(f"mean of snapshots: {figures['mean of snapshots']}")
    chosen = most_accurate({name: figures[name]["dev"] for name in candidates}, checks["dev"])
    return candidates[chosen], figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model_export.finetune", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="training set: as GLUE has it, or see --text-column")
    parser.add_argument("--dev", type=Path, help="validation set of the same form; with --text-column not needed")
    parser.add_argument("--text-column", help="column of the text in a .csv, .tsv, .jsonl or .parquet file")
    parser.add_argument("--label-column", default="label", help="column of the label, with --text-column")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint; must not exist")
    for name, kind in (
        ("epochs", positive(int)),
        ("batch_size", positive(int)),
        ("learning_rate", positive(float)),
        ("max_tokens", positive(int)),
        ("seed", int),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(Recipe, name))
    options = parser.parse_args(arguments)
    try:
        tracked_by = tracker()
        recipe = Recipe(
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            max_tokens=options.max_tokens,
            seed=options.seed,
            detokenised_share=0.0 if options.text_column else Recipe.detokenised_share,
        )
        run(recipe, read(options), options.output)
        if tracked_by:
            tracked_by.log(of_checkpoint(options.output))
    except ExportError as exc:
        note(f"error: {exc}")
        return 1
    return 0


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """For argparse: a number above 0, and at most 10,000."""

    def read_number(value: str) -> float:
        number = kind(value)
        if not 0 < number <= MOST:
            raise argparse.ArgumentTypeError(f"{value} should be above 0 and at most {MOST}")
        return number

    return read_number


def read(options: argparse.Namespace) -> Dataset:
    """The texts in the named columns, or without names those of GLUE's SST-2. Raises ExportError for bad options."""
    if options.output.exists():  # said before minutes of work, not after
        raise ExportError(f"{options.output} exists; name a new folder")
    if options.text_column:
        return load(options.data, options.dev, (options.text_column, options.label_column), DEV_SHARE, options.seed)
    if options.dev is None:
        raise ExportError("without --text-column, --dev is needed too")
    return Dataset(LABELS, read_labelled(options.data), read_labelled(options.dev))


def run(recipe: Recipe, data: Dataset, output: Path) -> None:
    """Map, train, and write the checkpoint with its `training.json`. Raises ExportError for what is missing."""
    dev, start = data.dev, minilm_folder()
    torch.manual_seed(recipe.seed)
    # DistilBERT takes no token types; the saved tokenizer must not make any.
    tokenizer = AutoTokenizer.from_pretrained(start, model_input_names=["input_ids", "attention_mask"])
    model = bert_as_distilbert(BertModel.from_pretrained(start, add_pooling_layer=False), data.labels)
    training, held_out = hold_out(data.training, recipe.held_out_share, recipe.seed)
    note(f"{len(training)} texts to train on, {len(held_out)} held out, {len(dev)} for validation")
    trained, figures = train(model, tokenizer, training, {"dev": dev, "held out": held_out}, recipe)
    trained.save_pretrained(output)
    tokenizer.save_pretrained(output)
    sizes = {"training": len(training), "held out": len(held_out), "dev": len(dev)}
    record = {"recipe": asdict(recipe), "texts": sizes, "accuracy": figures}
    (output / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
