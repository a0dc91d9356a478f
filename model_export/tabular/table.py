"""A table of numbers: a CSV file with a header line, one column of which is the target."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from model_export.errors import ExportError, one_line
from model_export.package import digest

DELIMITERS = ",;\t|"
MAX_BYTES = 1 << 30
"""Of a file, which is held in memory whole."""
MAX_NAME_CHARACTERS = 256
MAX_CLASSES = 100


@dataclass(frozen=True)
class Table:
    """Rows to learn from, and what is known of them."""

    features: pd.DataFrame
    """(rows, columns), numbers."""
    target: "pd.Series[Any]"
    """(rows,), named as its column."""
    file: str
    """Name of the file that they come from."""
    sha256: str
    """Of that file."""
    units: Mapping[str, str] = field(default_factory=dict)
    """By column; not every column has one."""


def read_table(path: Path, target: str, units: Mapping[str, str] | None = None) -> Table:
    """Read a file whose fields are parted by whichever of comma, semicolon, tab and bar its header has most of.

    Raises ExportError that names the file, the column or row, and what is wrong with it.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ExportError(f"{path} has {size} bytes, more than the {MAX_BYTES} that are read")
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
        delimiter = max(DELIMITERS, key=header.count)
        _check_header(next(csv.reader([header], delimiter=delimiter), []), path, target, units or {})
        frame = pd.read_csv(path, sep=delimiter, encoding="utf-8-sig", index_col=False)
    except OSError as exc:
        raise ExportError(f"cannot read {path}: {exc.strerror}") from exc
    except (UnicodeDecodeError, ValueError) as exc:  # pandas' errors are ValueErrors
        raise ExportError(f"{path} is no table: {one_line(exc)}") from exc
    missing = frame[target].isna()
    if missing.any():
        raise ExportError(f"{path}, row {int(missing.argmax())}: there is no {target}")
    return Table(frame.drop(columns=target), frame[target], path.name, digest(path), dict(units or {}))


def check_classes(table: Table) -> None:
    """Raises ExportError for a target that is rather a measure than a class."""
    distinct = table.target.nunique()
    if distinct > MAX_CLASSES:
        raise ExportError(
            f"{table.target.name} has {distinct} different values, more than {MAX_CLASSES} classes: "
            "is it a number to predict (--task regression)?"
        )


def _check_header(names: list[str], path: Path, target: str, units: Mapping[str, str]) -> None:
    for name in names:
        if not name.strip() or len(name) > MAX_NAME_CHARACTERS:
            raise ExportError(
                f"{path}: the name of a column should have 1 to {MAX_NAME_CHARACTERS} characters, got {name!r}"
            )
        if names.count(name) > 1:
            raise ExportError(f"{path} has {names.count(name)} columns {name!r}")
    for name in (target, *units):
        if name not in names:
            raise ExportError(f"{path} has no column {name!r}: there are {', '.join(names)}")
    if len(names) == 1:
        raise ExportError(f"{path} has no column beside {target!r}")
