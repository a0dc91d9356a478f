"""Tables of labelled texts that a tiny model learns in seconds, and the options to do so."""

import random
from pathlib import Path

WORDS = {"calm": ("the", "not"), "glad": ("good", "love"), "sad": ("bad", "worst")}
"""Of the tiny checkpoint's vocabulary."""


def moods(path: Path, rows: int, seed: int = 0) -> Path:
    """One label a text; as CSV with the columns mood and review. Other seeds make other texts."""
    rng = random.Random(seed)
    names = [list(WORDS)[row % 3] for row in range(rows)]
    lines = (f"{name},{' '.join(rng.choices(WORDS[name], k=4))} {seed} {row}\n" for row, name in enumerate(names))
    path.write_text("mood,review\n" + "".join(lines))
    return path


def mixed_moods(path: Path, rows: int, seed: int = 0) -> Path:
    """Any number of labels a text, none of them for an eighth of the texts."""
    rng = random.Random(seed)
    chosen = [[name for bit, name in enumerate(WORDS) if row >> bit & 1] for row in range(rows)]
    lines = (
        f"{';'.join(names)},{' '.join(rng.choice(WORDS[name]) for name in names for _ in range(2))} {seed} {row}\n"
        for row, names in enumerate(chosen)
    )
    path.write_text("mood,review\n" + "".join(lines))
    return path


def options(data: Path, checkpoint: Path, output: Path, *more: str) -> list[str]:
    """Of a command that learns such a table from a tiny checkpoint."""
    columns = ["--text-column", "review", "--label-column", "mood"]
    sizes = ["--max-tokens", "32", "--learning-rate", "5e-3"]
    return ["--data", str(data), "--model", str(checkpoint), "--output", str(output), *columns, *sizes, *more]
