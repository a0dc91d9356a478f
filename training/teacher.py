"""What larger or older models say of the texts of some sources: softer and better targets than labels alone.

    python -m training.teacher TEACHER [TEACHER ...] --sst2 TRAIN.tsv --corpora FOLDER --output TAUGHT.tsv

A teacher is a checkpoint or a package. Its scores are written once, and every seed of `training.train` reads them.
"""

import argparse
import math
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from model_export.errors import one_line
from model_export.progress import note
from training.corpora import name_placeholders, rows
from training.errors import TrainingError
from training.examples import EVEN, Example
from training.mixture import ROUND, read_all
from training.scorers import Scorer

GOLD_SHARE: dict[str, float] = {
    "sst2": 0.5,
    "goemotions": 0.5,
    "goemotions-neutral": 0.0,
    "openings": 0.5,
    "sentences": 0.0,
}
"""How much of a target is the given label, by source; the rest is the teachers'. The label of a review is no label of
its sentences, and that a comment is neutral counts by `NEUTRAL_SLOPE`."""

NEUTRAL_SLOPE = 0.25
"""How much of the teachers' distance from 0.5 a comment marked as neutral keeps: which way it leans, not how sure."""

HEADER = "positive text"
PART = 4096
"""Texts scored between two notes of progress."""


def blend(example: Example, taught: float) -> Example:
    """`example` with its target and what the teachers say, P(positive), as one."""
    if example.source == "goemotions-neutral":
        taught = EVEN + NEUTRAL_SLOPE * (taught - EVEN)
    gold = GOLD_SHARE[example.source]
    return Example(example.text, gold * example.positive + (1 - gold) * taught, example.source)


def apply(examples: Mapping[str, list[Example]], taught: Mapping[str, float]) -> dict[str, list[Example]]:
    """The examples by source; of a source that was taught those that the teachers saw, with blended targets."""
    return {
        source: [blend(e, taught[e.text]) for e in texts if e.text in taught] if source in GOLD_SHARE else texts
        for source, texts in examples.items()
    }


def read(path: Path) -> dict[str, float]:
    """Text -> P(positive), as `main` wrote it. Raises TrainingError that names file and line."""
    taught = {}
    for number, (written, text) in enumerate(rows(path, HEADER), start=2):
        try:
            positive = float(written)
        except ValueError:
            positive = math.nan
        if not 0.0 <= positive <= 1.0:
            raise TrainingError(f"{path}, line {number}: expected P(positive) from 0 to 1, got {written[:60]!r}")
        taught[text] = positive
    return taught


def chosen(examples: Mapping[str, list[Example]], rounds: float) -> list[str]:
    """Different texts of the taught sources, at random, as many as so many rounds of the mixture draw."""
    rng = random.Random(0)  # noqa: S311 - repeatable
    return [
        text
        for source in GOLD_SHARE
        for texts in [sorted({example.text for example in examples[source]})]
        for text in rng.sample(texts, int(min(len(texts), ROUND[source] * rounds)))
    ]


def run(folders: Sequence[Path], *, sst2: Path, corpora: Path, output: Path, rounds: float, temperature: float) -> None:
    """Write what the teachers in `folders` say into the new file `output`. Raises TrainingError and OSError."""
    if output.exists():
        raise TrainingError(f"{output} exists; name a new file")
    output.parent.mkdir(parents=True, exist_ok=True)
    teachers = [Scorer(folder) for folder in folders]
    texts = chosen(read_all(corpora, sst2)[0], rounds)
    rng = random.Random(0)  # noqa: S311 - repeatable
    named = [name_placeholders(text, rng) for text in texts]
    lines = [HEADER.replace(" ", "\t")]
    for start in range(0, len(texts), PART):
        part = slice(start, start + PART)
        margins = np.mean([teacher.margins(named[part]) for teacher in teachers], axis=0)
        taught = 1.0 / (1.0 + np.exp(-margins / temperature))
        lines += [f"{positive:.4f}\t{text}" for positive, text in zip(taught, texts[part], strict=True)]
        note(f"{min(start + PART, len(texts))} of {len(texts)} texts")
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what the teachers say; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.teacher", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("teachers", type=Path, nargs="+", metavar="TEACHER", help="checkpoint or package")
    parser.add_argument("--sst2", type=Path, required=True, help="SST-2 training set: label, tab, sentence")
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the other corpora")
    parser.add_argument("--output", type=Path, required=True, help="file for P(positive) and text; must not exist")
    parser.add_argument(
        "--rounds", type=float, default=math.inf, help="texts for so many rounds of the mixture, instead of all"
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="what the logits are divided by: 2.5 for a teacher that is sure"
    )
    options = parser.parse_args(arguments)
    try:
        run(
            options.teachers,
            sst2=options.sst2,
            corpora=options.corpora,
            output=options.output,
            rounds=options.rounds,
            temperature=options.temperature,
        )
    except (TrainingError, OSError) as exc:
        note(f"error: {one_line(exc)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
