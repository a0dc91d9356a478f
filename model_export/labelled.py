"""Labelled texts in the form in which GLUE ships SST-2: tab-separated label and sentence, one header line."""

from dataclasses import dataclass
from pathlib import Path

from model_export.errors import ExportError


@dataclass(frozen=True)
class Example:
    """One labelled text; `label` is the index of the right logit."""

    label: int
    text: str


def read_labelled(path: Path) -> list[Example]:
    """Read a tab-separated file of `label` and text with one header line.

    Raises ExportError that names the file, the line and what is wrong with it.
    """
    try:
        # Not splitlines(): a sentence may hold U+2028 and its like.
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ExportError(f"cannot read {path}: {exc}") from exc
    if not lines[0].startswith("label\t"):
        raise ExportError(f"{path}, line 1: expected a header 'label<TAB>sentence'")
    examples = []
    for number, line in enumerate(lines[1:], start=2):
        label, tab, text = line.partition("\t")
        if not tab or not label.isascii() or not label.isdigit() or not text.strip():
            raise ExportError(
                f"{path}, line {number}: expected 'label<TAB>text' with a whole number, got {line[:40]!r}"
            )
        examples.append(Example(int(label), text.strip()))
    if not examples:
        raise ExportError(f"{path}: no labelled text after the header")
    return examples
