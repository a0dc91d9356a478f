"""Labelled texts of one's own for fine-tuning: tables with named columns, named labels, a stratified dev split."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

from model_export.errors import ExportError
from model_export.labelled import Example

MIN_ROWS = 20
READERS = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".tsv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False, sep="\t"),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".parquet": pd.read_parquet,
}


@dataclass(frozen=True)
class Dataset:
    """Names of the labels in the order of their numbers, and the examples of both splits, which share no text."""

    labels: tuple[str, ...]
    training: list[Example]
    dev: list[Example]


def read_rows(path: Path, text_column: str, label_column: str) -> list[tuple[str, str]]:
    """(text, label) of each row. Raises ExportError that names the file and what is wrong with it."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ExportError(f"{path}: unknown format; name a file that ends in {', '.join(READERS)}")
    try:
        table = reader(path)
    except (OSError, ValueError) as exc:  # broken encodings and pandas' and Arrow's parser errors are ValueErrors
        raise ExportError(f"{path} cannot be read: {str(exc).partition(chr(10))[0]}") from exc
    for column in (text_column, label_column):
        if column not in table.columns:
            raise ExportError(f"{path} has no column {column!r}; it has {', '.join(map(str, table.columns))}")
    rows = []
    for number, (text, label) in enumerate(zip(table[text_column], table[label_column], strict=True), start=1):
        for column, value in ((text_column, text), (label_column, label)):
            if (pd.api.types.is_scalar(value) and pd.isna(value)) or not str(value).strip():
                raise ExportError(f"{path}, row {number}: column {column!r} is empty")
        rows.append((str(text).strip(), str(label).strip()))
    return rows


def in_order(names: set[str]) -> tuple[str, ...]:
    """Numbered labels by number, named ones by name."""
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))


def load(data: Path, dev: Path | None, columns: tuple[str, str], dev_share: float, seed: int) -> Dataset:
    """Read `data`, and `dev` or a stratified `dev_share` of `data`. Columns are those of the text and of the label.

    Raises ExportError for fewer than `MIN_ROWS` rows, one label only, a label or text of `dev` that may not be there.
    """
    rows = read_rows(data, *columns)
    if len(rows) < MIN_ROWS:
        raise ExportError(f"{data} has {len(rows)} rows; fine-tuning needs at least {MIN_ROWS}")
    labels = in_order({label for _, label in rows})
    if len(labels) == 1:
        raise ExportError(f"{data} has one label only, {labels[0]!r}; a classifier needs two")
    if dev is None:
        unique = list({text: (text, label) for text, label in rows}.values())  # no text may be in both
        try:
            rows, held = train_test_split(
                unique, test_size=dev_share, random_state=seed, stratify=[label for _, label in unique]
            )
        except ValueError as exc:
            raise ExportError(f"{data} cannot be split by label: {exc}") from exc
    else:
        held = read_rows(dev, *columns)
    known, seen = {label: number for number, label in enumerate(labels)}, {text for text, _ in rows}
    for number, (text, label) in enumerate(held, start=1):
        if label not in known:
            raise ExportError(f"{dev}, row {number}: label {label!r} is not one of {data}: {', '.join(labels)}")
        if text in seen:
            raise ExportError(f"{dev}, row {number}: the text is in {data} too: {text[:60]!r}")
    if not held:
        raise ExportError(f"{dev} has no rows")
    return Dataset(labels, *([Example(text=t, label=known[name]) for t, name in part] for part in (rows, held)))
