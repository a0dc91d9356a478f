"""Small corpora in the files that the recipe reads."""

from collections.abc import Iterable
from pathlib import Path

from training.corpora import RATED

ROWS = 60


def write_corpora(folder: Path) -> Path:
    """All corpora with a few dozen texts each, and SST-2 as `train.tsv` and `dev.tsv`; returns `folder`."""
    polar = [("bad worst never", "good love perfect")[n % 2] + f" film {n}" for n in range(ROWS)]
    intents = ("GetWeather", "BookRestaurant")
    write(folder / "clinc-train.tsv", "intent\ttext", (f"intent{n % 20}\twhat is {n}" for n in range(ROWS)))
    write(folder / "snips.tsv", "intent\ttext", (f"{intents[n % 2]}\tthe weather {n}" for n in range(ROWS)))
    write(folder / "udhr.tsv", "language\ttext", (f"{['fra', 'swe'][n % 2]}\tle film {n}" for n in range(ROWS)))
    emotions = ("anger", "joy", "neutral")
    write(folder / "goemotions-train.tsv", "emotions\ttext", (f"{emotions[n % 3]}\t[NAME] {n}" for n in range(ROWS)))
    labels = ("NEGATIVE", "POSITIVE")
    reviews = (f"{n // 2}\t{labels[n % 2]}\t{text}. A {n} of a film." for n, text in enumerate(polar))
    write(folder / "imdb-counterfactual-train.tsv", "pair\tlabel\ttext", reviews)
    for name in RATED.values():
        rated = [f"{n}_1\t{(n % 9) - 4}\ta rated text {n}" for n in range(ROWS)]
        write(folder / f"{name}_GroundTruth.txt", rated[0], rated[1:])
    for name in ("train.tsv", "dev.tsv"):
        write(folder / name, "label\tsentence", (f"{n % 2}\t{text}" for n, text in enumerate(polar)))
    return folder


def write(path: Path, header: str, lines: Iterable[str]) -> None:
    """One file of a header and lines."""
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
