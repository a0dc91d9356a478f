"""Print how a checkpoint or a package does on everything that was held out.

python -m training.evaluate MODEL --corpora FOLDER --sst2 TRAIN.tsv --dev DEV.tsv [--json FILE]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from model_export.errors import ExportError
from model_export.progress import note
from training.errors import TrainingError
from training.examples import EVEN, Example
from training.heldout import HeldOut, held_out
from training.measures import FloatArray, neutral, polar, spread
from training.scorers import Scorer

WINDOW = 128
TOLERANCE = 0.1
"""How far a score may move, CheckList's tolerance for invariance and direction."""


def labels(examples: Sequence[Example]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True for POSITIVE, (texts,)."""
    return np.array([example.positive > EVEN for example in examples])


def _texts(examples: Sequence[Example]) -> list[str]:
    return [example.text for example in examples]


def moved(scorer: Scorer, pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """P(positive) after minus before of each pair."""
    return scorer.positive([after for _, after in pairs]) - scorer.positive([before for before, _ in pairs])


def measured(scorer: Scorer, sets: HeldOut) -> dict[str, dict[str, Any]]:
    """All figures by kind and set; rates in per cent."""

    def accuracy_of(examples: Sequence[Example], window: int | None = None) -> dict[str, float]:
        return asdict(polar(scorer.positive(_texts(examples), window), labels(examples)))

    return {
        "polar": {name: accuracy_of(examples) for name, examples in sets.polar.items()},
        "neutral": {name: asdict(neutral(scorer.positive(texts))) for name, texts in sets.neutral.items()},
        "fairness": {"unseen groups": asdict(spread([scorer.positive(variants) for variants in sets.fairness]))},
        "failures": {name: failures(scorer, examples) for name, examples in sets.capabilities.items()}
        | {name: float(np.mean(np.abs(moved(scorer, pairs)) > TOLERANCE) * 100) for name, pairs in sets.same.items()}
        | {
            f"added {name}": float(np.mean(moved(scorer, pairs) * (-1 if name == "pos" else 1) > TOLERANCE) * 100)
            for name, pairs in sets.added.items()
        },
        "long": {
            f"{name}, {how}": accuracy_of(examples, window)
            for name, examples in sets.long.items()
            for how, window in (("as served", None), (f"windows of {WINDOW}", WINDOW))
        },
    }


def failures(scorer: Scorer, examples: Sequence[Example]) -> float:
    """Share of wrong labels in per cent."""
    return 100.0 - polar(scorer.positive(_texts(examples)), labels(examples)).accuracy


def lines(figures: dict[str, dict[str, Any]]) -> list[str]:
    """The figures as Markdown, one line a set."""
    shown = []
    for kind, sets in figures.items():
        shown += ["", f"**{kind}**", ""]
        for name, values in sets.items():
            cells = values if isinstance(values, dict) else {"failed": values}
            shown.append(f"- {name}: " + ", ".join(f"{key} {_number(value)}" for key, value in cells.items()))
    return shown[1:]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="folder of a checkpoint or a package")
    parser.add_argument("--sst2", type=Path, required=True, help="SST-2 training set, which is not measured")
    parser.add_argument("--dev", type=Path, required=True, help="SST-2 validation set")
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the other corpora")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args(arguments)
    try:
        figures = measured(Scorer(options.model), held_out(options.corpora, options.sst2, options.dev))
    except (TrainingError, ExportError) as exc:
        note(f"error: {exc}")
        return 1
    sys.stdout.write("\n".join(lines(figures)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
