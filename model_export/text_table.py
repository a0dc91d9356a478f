"""Tables of labelled texts: CSV, TSV, JSON lines or Parquet with named columns, one label a text or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from model_export.errors import ExportError

SEPARATOR = ";"
"""Between the labels of one text."""
READERS = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".tsv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False, sep="\t"),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".parquet": pd.read_parquet,
}
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read, and whether that of the labels holds several, separated by `;`."""

    text: str
    label: str
    multi_label: bool = False


@dataclass(frozen=True)
class Row:
    """A text and the names of its labels."""

    text: str
    names: tuple[str, ...]


def read_rows(path: Path, columns: Columns) -> list[Row]:
    """The texts with the names of their labels. Raises ExportError that names the file and what is wrong with it."""
    table = _read_table(path)
    for column in (columns.text, columns.label):
        if column not in table.columns:
            raise ExportError(f"{path} has no column {column!r}; it has {', '.join(map(str, table.columns))}")
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what the header does not name for an index
        raise ExportError(f"{path}: its rows have more fields than the header has names")
    cells = zip(table[columns.text], table[columns.label], strict=True)
    rows = [_row(text, label, columns, f"{path}, row {number}") for number, (text, label) in enumerate(cells, start=1)]
    if path.suffix.lower() == ".tsv":
        _check_quotes(rows, path)
    return rows


def _read_table(path: Path) -> Any:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ExportError(f"{path}: unknown format; name a file that ends in {', '.join(READERS)}")
    try:
        return reader(path)
    except (OSError, ValueError) as exc:  # broken encodings and pandas' and Arrow's parser errors are ValueErrors
        raise ExportError(f"{path} cannot be read: {str(exc).partition(chr(10))[0]}") from exc


def _check_quotes(rows: Sequence[Row], path: Path) -> None:
    """A field that begins with a quotation mark ends at the next one, rows later: that is no text of anyone's."""
    for number, row in enumerate(rows, start=1):
        if "\t" in row.text and "\n" in row.text:
            raise ExportError(
                f"{path}, row {number}: a quotation mark at the beginning of a text has several rows taken for one: "
                f"{shown(row.text)}; quote all texts, as pandas does"
            )


def _row(text: object, label: object, columns: Columns, place: str) -> Row:
    names = _names(label)
    if _is_empty(text) or not str(text).strip():
        raise ExportError(f"{place}: column {columns.text!r} is empty")
    if not columns.multi_label:
        if not names:
            raise ExportError(f"{place}: column {columns.label!r} is empty")
        if len(names) > 1 or SEPARATOR in str(label):
            raise ExportError(f"{place}: several labels, {shown(str(label))}; --multi-label learns them all")
    return Row(str(text).strip(), names)


def _names(label: object) -> tuple[str, ...]:
    """The names in a cell, which JSON lines and Parquet may have as a list; in the order of their first appearance."""
    if _is_empty(label):
        return ()
    parts = str(label).split(SEPARATOR) if pd.api.types.is_scalar(label) else map(str, list(label))  # type: ignore[call-overload]
    return tuple(dict.fromkeys(stripped for part in parts if (stripped := part.strip())))


def _is_empty(value: object) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def shown(text: str) -> str:
    """A text or label for a message: its beginning, if it is long."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")
