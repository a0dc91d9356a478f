"""Fine-tune all-MiniLM-L6-v2, as a DistilBERT, or another checkpoint on labelled texts: SST-2, or one's own.

    python -m model_export.finetune --data TRAIN.tsv --dev DEV.tsv --output CHECKPOINT
    python -m model_export.finetune --data mine.csv --text-column review --label-column stars --output CHECKPOINT

MiniLM (Wang et al., 2020, arXiv:2002.10957) is a BERT of 6 layers x 384. Without its token-type embeddings and its
pooler a BERT *is* a DistilBERT, so its weights carry over exactly.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from model_export.command import ended
from model_export.errors import ExportError
from model_export.finetune.recipe import ClassWeights, Recipe
from model_export.finetune.run import Request, run
from model_export.progress import note
from model_export.text_table import SEPARATOR, Columns
from model_export.tracking import of_checkpoint, tracker

MOST = 10_000
"""Of whatever an option counts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line: 0 when the checkpoint was written, 1 with one line on standard error when not."""
    options = parser().parse_args(arguments)
    return ended(partial(_run, options), "model_export.finetune")


def _run(options: argparse.Namespace) -> None:
    tracked_by = tracker()
    run(request(options))
    note(f"wrote {options.output}, with report/report.html")
    if tracked_by:
        tracked_by.log(of_checkpoint(options.output))


def request(options: argparse.Namespace) -> Request:
    """What the options ask for. Raises ExportError for those that contradict each other."""
    if options.text_column is None and (options.multi_label or options.label_column):
        raise ExportError("--label-column and --multi-label are for tables: name the text's column with --text-column")
    if options.model is None and options.revision:
        raise ExportError("--revision is of the hub id that --model names")
    own = options.text_column is not None
    recipe = Recipe(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        max_tokens=options.max_tokens,
        class_weights=options.class_weights,
        seed=options.seed,
        detokenised_share=0.0 if own else Recipe.detokenised_share,
        held_out_share=0.0 if own else Recipe.held_out_share,
    )
    return Request(
        data=options.data,
        dev=options.dev,
        columns=Columns(options.text_column, options.label_column or "label", options.multi_label) if own else None,
        output=options.output,
        model=options.model,
        revision=options.revision,
        recipe=recipe,
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m model_export.finetune", description=(__doc__ or "").partition("\n")[0]
    )
    made.add_argument("--data", type=Path, required=True, help="training set: as GLUE has it, or see --text-column")
    made.add_argument("--dev", type=Path, help="validation set of the same form; with --text-column not needed")
    made.add_argument("--text-column", help="column of the text in a .csv, .tsv, .jsonl or .parquet file")
    made.add_argument("--label-column", help="column of the label, with --text-column (label)")
    made.add_argument(
        "--multi-label", action="store_true", help=f"a text has any number of labels, separated by {SEPARATOR}"
    )
    made.add_argument("--model", help="hub id or folder of a checkpoint to start from (all-MiniLM-L6-v2, bundled)")
    made.add_argument("--revision", help="commit, tag or branch of a hub id (main)")
    made.add_argument("--output", type=Path, required=True, help="folder for the checkpoint; must not exist")
    made.add_argument(
        "--class-weights",
        choices=get_args(ClassWeights),
        default=Recipe.class_weights,
        help="balanced: rare labels count as much as frequent ones (%(default)s)",
    )
    for name, kind in (
        ("epochs", positive(int)),
        ("batch_size", positive(int)),
        ("learning_rate", positive(float)),
        ("max_tokens", positive(int)),
        ("seed", seed),
    ):
        made.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(Recipe, name), help="(%(default)s)")
    return made


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """For argparse: a number above 0, and at most 10,000."""

    def read_number(value: str) -> float:
        number = kind(value)
        if not 0 < number <= MOST:
            raise argparse.ArgumentTypeError(f"{value} should be above 0 and at most {MOST}")
        return number

    return read_number


def seed(value: str) -> int:
    """For argparse: what PyTorch, scikit-learn and Python all take."""
    number = int(value)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{value} should be 0 to {2**32 - 1}")
    return number


if __name__ == "__main__":
    sys.exit(main())
