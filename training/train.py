"""Continue a two-label checkpoint on the mixture: calibrated, neutral where there is nothing, fair.

    python -m training.train --start CHECKPOINT --sst2 TRAIN.tsv --dev DEV.tsv --corpora FOLDER --output CHECKPOINT

The word embeddings stay as they are, so that words no text of the mixture has keep their meaning.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from model_export.checkpoint import silence
from model_export.errors import ExportError
from model_export.labelled import Example as Labelled
from model_export.labelled import read_labelled
from model_export.precision import autocast
from model_export.progress import note
from model_export.selection import best, majority
from model_export.tracking import of_checkpoint, tracker
from training import teacher
from training.batches import endless
from training.errors import TrainingError
from training.mixture import ROUND, Mixture, read_all
from training.recipe import Recipe

LOG_STEPS = 50
CHECK_BATCH = 32
LABELS = {0: "NEGATIVE", 1: "POSITIVE"}


def soft_loss(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of (texts, 2) logits to P(positive), summed over the texts."""
    return torch.nn.functional.cross_entropy(logits, torch.stack([1 - positive, positive], dim=1), reduction="sum")


def rate(step: int, recipe: Recipe) -> float:
    """The learning rate at `step` as a share of the recipe's: rises linearly, stays, falls linearly to zero."""
    left = (recipe.steps - step) / max(1.0, recipe.steps * recipe.decay_share)
    return max(0.0, min(1.0, (step + 1) / recipe.warmup_steps, left))


def optimiser_of(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over what is trained; biases and layer norms are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def freeze(model: PreTrainedModel, layers: int) -> None:
    """Keep the word embeddings as they are, and with `layers` all embeddings and as many layers above them."""
    model.get_input_embeddings().weight.requires_grad_(False)
    if layers:
        model.base_model.embeddings.requires_grad_(False)
        stack = next(module for module in model.base_model.modules() if isinstance(module, torch.nn.ModuleList))
        stack[:layers].requires_grad_(False)


def train(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, mixture: Mixture, recipe: Recipe, output: Path
) -> torch.nn.Module:
    """Train `model` in place and return the moving average of its weights; both are saved now and then."""
    optimiser = optimiser_of(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, recipe))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    batches = endless(tokenizer, mixture, recipe)
    began, seen = time.monotonic(), [0, 0.0, 0]
    model.train()
    for step in range(1, recipe.steps + 1):
        encoded, positive = next(batches)
        with autocast():
            logits = model(**encoded).logits
        loss = soft_loss(logits.float(), positive)
        (loss / recipe.batch_size).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        seen = [seen[0] + len(positive), seen[1] + loss.item(), seen[2] + encoded["input_ids"].numel()]
        if step % recipe.average_steps == 0:
            average.update_parameters(model)
        if step % LOG_STEPS == 0:
            passed = time.monotonic() - began
            note(
                f"step {step}/{recipe.steps}, loss {seen[1] / seen[0]:.4f}, {seen[2] / passed:.0f} tokens/s, "
                f"{passed / step * (recipe.steps - step) / 60:.0f} min left"
            )
        if step % recipe.checkpoint_steps == 0:
            average.module.save_pretrained(output / f"step-{step}")
            model.save_pretrained(output / f"step-{step}-last")
            tokenizer.save_pretrained(output / f"step-{step}")
    return average.module


def accuracy(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, dev: Sequence[Labelled]) -> float:
    """Share of right labels in per cent, by the fp32 model."""
    right = 0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(dev), CHECK_BATCH):
            part = dev[start : start + CHECK_BATCH]
            encoded = tokenizer([row.text for row in part], padding=True, truncation=True, return_tensors="pt")
            predicted = model(**encoded).logits.argmax(dim=1).tolist()
            right += sum(label == row.label for label, row in zip(predicted, part, strict=True))
    return 100.0 * right / len(dev)


def run(
    recipe: Recipe, *, start: Path, taught: Path | None, sst2: Path, dev: Path, corpora: Path, output: Path
) -> None:
    """Read, train, and write the better of the last and the mean weights. Raises TrainingError, ExportError."""
    if output.exists():
        raise TrainingError(f"{output} exists; name a new folder")
    validation, (examples, _) = read_labelled(dev), read_all(corpora, sst2)
    if taught:
        examples = teacher.apply(examples, teacher.read(taught))
    torch.manual_seed(recipe.seed)
    silence()
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = AutoModelForSequenceClassification.from_pretrained(
        start, dtype=torch.float32, id2label=LABELS, label2id={label: index for index, label in LABELS.items()}
    )
    freeze(model, recipe.frozen_layers)
    mean = train(model, tokenizer, Mixture(examples, recipe.round, recipe.seed), recipe, output)
    candidates = {"last": model, "mean": mean}
    figures = {name: accuracy(candidate, tokenizer, validation) for name, candidate in candidates.items()}
    note(f"accuracy on the validation set: {figures}")
    name = best(figures, majority([example.label for example in validation]))
    candidates[name].save_pretrained(output)
    tokenizer.save_pretrained(output)
    record = {
        "recipe": asdict(recipe),
        "saved": name,
        "texts": {source: len(texts) for source, texts in examples.items()} | {"validation": len(validation)},
        "accuracy": {candidate: {"validation": figure} for candidate, figure in figures.items()},
    }
    (output / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--start", type=Path, required=True, help="checkpoint to continue")
    parser.add_argument("--sst2", type=Path, required=True, help="SST-2 training set: label, tab, sentence")
    parser.add_argument("--dev", type=Path, required=True, help="validation set of the same form")
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the other corpora")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint; must not exist")
    parser.add_argument(
        "--taught", type=Path, metavar="TAUGHT.tsv", help="what training.teacher wrote: part of the targets"
    )
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument(
        "--decay-share", type=float, default=Recipe.decay_share, help="last share of the steps, of a falling rate"
    )
    parser.add_argument("--batch-size", type=int, default=Recipe.batch_size, help="texts a batch at most")
    parser.add_argument("--frozen-layers", type=int, default=0, help="layers that stay as they are, from the first on")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument(
        "--without", choices=ROUND, nargs="*", default=(), metavar="SOURCE", help="sources of the mixture to leave out"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = Recipe(
        steps=options.steps,
        learning_rate=options.learning_rate,
        decay_share=options.decay_share,
        batch_size=options.batch_size,
        frozen_layers=options.frozen_layers,
        seed=options.seed,
        round=ROUND | dict.fromkeys(options.without, 0),
    )
    try:
        tracked_by = tracker()
        run(
            recipe,
            start=options.start,
            taught=options.taught,
            sst2=options.sst2,
            dev=options.dev,
            corpora=options.corpora,
            output=options.output,
        )
        if tracked_by:
            tracked_by.log(of_checkpoint(options.output))
    except (TrainingError, ExportError) as exc:
        note(f"error: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
