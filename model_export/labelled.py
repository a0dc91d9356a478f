"""Labelled texts: tab-separated columns `label` and `sentence`, as GLUE ships SST-2 and as pandas writes tables."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_export.errors import ExportError

_LABEL, _TEXTS = "label", ("sentence", "text")
_SHOWN_CHARACTERS = 40
_MAX_DIGITS = 6
"""Of a label; no model has more of them."""

_FIELD = r'(?:"(?:[^"]|"")*+"|[^"\t]*+)'
_FIELDS = re.compile(rf"(?:^|\t)({_FIELD})")
_QUOTED_LINE = re.compile(rf"{_FIELD}(?:\t{_FIELD})*+")
"""A line in which no quotation mark stands outside of a quoted field, and those in one are doubled."""


@dataclass(frozen=True)
class Example:
    """One labelled text; `label` is the index of the right logit."""

    label: int
    text: str

    @property
    def labels(self) -> tuple[int, ...]:
        """The indices of all right logits, as a text of several labels has them: the one."""
        return (self.label,)


def read_labelled(path: Path) -> list[Example]:
    """Read a tab-separated file in UTF-8 whose header line names a column `label` and one `sentence` or `text`.

    Of two columns the other one is the text, whatever its name. Their order, further columns, a BOM and CRLF make no
    difference. Quotation marks are taken for quoting where every line of the file quotes properly, as pandas does, and
    for text otherwise, as GLUE has them. Raises ExportError that names the file, the line and what is wrong with it.
    """
    rows = _rows(_read(path))
    label, text = _columns(rows[0], path)
    examples = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise ExportError(
                f"{path}, line {number}: expected {len(rows[0])} columns as in the header, got {len(row)}: "
                f"{_shown('<TAB>'.join(row))}; a text may hold neither line breaks nor, unless it is quoted, tabs"
            )
        examples.append(_example(row[label], row[text].strip(), f"{path}, line {number}"))
    if not examples:
        raise ExportError(f"{path}: no labelled text after the header")
    return examples


def _read(path: Path) -> list[str]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ExportError(f"cannot read {path}: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise ExportError(f"{path} is not in UTF-8 (byte {exc.start}: {exc.reason}); save it so") from exc
    # Not splitlines(): a sentence may hold U+2028 and its like.
    return [line.removesuffix("\r") for line in content.rstrip("\r\n").split("\n")]


def _rows(lines: Sequence[str]) -> list[list[str]]:
    if all(map(_QUOTED_LINE.fullmatch, lines)):
        return [[_unquoted(field) for field in _FIELDS.findall(line)] for line in lines]
    return [line.split("\t") for line in lines]


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') else field


def _columns(header: Sequence[str], path: Path) -> tuple[int, int]:
    """Where the label stands, and where the text."""
    names = [name.strip().lower() for name in header]
    others = [name for name in names if name != _LABEL]
    texts = others if len(others) == 1 else [name for name in others if name in _TEXTS]
    if names.count(_LABEL) == len(texts) == 1:
        return names.index(_LABEL), names.index(texts[0])
    line = "<TAB>".join(header)
    advice = ""
    if len(header) == 1 and re.search("[,;]", line):
        advice = "; its columns are separated by something else (pandas: to_csv(path, sep='\\t', index=False))"
    raise ExportError(
        f"{path}, line 1: expected a header with one column 'label' and one 'sentence' (or 'text'), separated by a "
        f"tab, got {_shown(line)}{advice}"
    )


def _example(label: str, text: str, place: str) -> Example:
    if not label.isascii() or not label.isdigit() or len(label) > _MAX_DIGITS:
        raise ExportError(f"{place}: a label should be a whole number, the index of its logit, got {_shown(label)}")
    if not text:
        raise ExportError(f"{place}: there is no text beside the label")
    return Example(int(label), text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """The options that say where in the table of --data texts and labels are."""
    parser.add_argument("--text-column", help="column of the text, where --data is a .csv, .tsv, .jsonl or .parquet")
    parser.add_argument("--label-column", default="label", help="column of the label, with --text-column (label)")
