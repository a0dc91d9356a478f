"""Labelled texts of one's own for fine-tuning: numbered labels, one a text or several, and a dev split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sklearn.model_selection import train_test_split

from model_export.errors import ExportError
from model_export.labelled import Example, read_labelled
from model_export.progress import note
from model_export.text_table import Columns, Row, read_rows, shown
from model_export.treebank import hold_out

MIN_ROWS = 20
MAX_LABELS = 1_000
TREEBANK_LABELS = ("NEGATIVE", "POSITIVE")
_SHOWN_LABELS = 10


@dataclass(frozen=True)
class LabelledText:
    """A text and the indices of the logits that are right for it: one, or with several labels a text any number."""

    text: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Dataset:
    """Names of the labels in the order of their numbers, and the examples by use; `dev` shares no text with others."""

    labels: tuple[str, ...]
    training: list[LabelledText]
    dev: list[LabelledText]
    held_out: list[LabelledText] = field(default_factory=list)
    multi_label: bool = False


def load(data: Path, dev: Path | None, columns: Columns, dev_share: float, seed: int) -> Dataset:
    """Read `data`, and `dev` or a stratified `dev_share` of `data`.

    Raises ExportError for fewer than `MIN_ROWS` rows, one label only, a label or text of `dev` that may not be there.
    """
    rows = read_rows(data, columns)
    labels = labels_of(rows, data)
    if dev is None:
        rows, held = split(rows, dev_share, seed, data)
    else:
        held = read_rows(dev, columns)
        check_dev(held, labels, {row.text for row in rows}, dev, data)
    return Dataset(labels, numbered(rows, labels), numbered(held, labels), multi_label=columns.multi_label)


def load_treebank(data: Path, dev: Path, held_out_share: float, seed: int) -> Dataset:
    """SST-2 as GLUE has it, a part of its training sentences held out with all their phrases.

    Raises ExportError as `load` does.
    """
    examples, checks = read_labelled(data), read_labelled(dev)
    rows = _treebank_rows(examples, data)
    labels_of(rows, data)
    check_dev(_treebank_rows(checks, dev), TREEBANK_LABELS, {row.text for row in rows}, dev, data)
    parts = [*hold_out(examples, held_out_share, seed), checks]
    training, held_out, held = ([LabelledText(one.text, (one.label,)) for one in part] for part in parts)
    return Dataset(TREEBANK_LABELS, training, held, held_out)


def read_named(path: Path, columns: Columns, labels: Sequence[str]) -> list[LabelledText]:
    """The texts of a table, each with the indices of its labels in `labels`, those of a model.

    Raises ExportError as `read_rows` does, and for a label that the model does not have.
    """
    rows = read_rows(path, columns)
    if not rows:
        raise ExportError(f"{path} has no rows")
    for place, row in enumerate(rows, start=1):
        if unknown := [name for name in row.names if name not in labels]:
            raise ExportError(f"{path}, row {place}: the model has no label {shown(unknown[0])}, but {_listed(labels)}")
    return numbered(rows, labels)


def labels_of(rows: Sequence[Row], path: Path) -> tuple[str, ...]:
    """The names of all labels in order. Raises ExportError for rows from which no classifier can learn."""
    if len(rows) < MIN_ROWS:
        raise ExportError(f"{path} has {len(rows)} rows; fine-tuning needs at least {MIN_ROWS}")
    labels = in_order({name for row in rows for name in row.names})
    if len(labels) < 2:  # noqa: PLR2004 - what a classifier chooses between
        found = f"one label only, {labels[0]!r}" if labels else "no labels"
        raise ExportError(f"{path} has {found}; a classifier needs two")
    most = min(MAX_LABELS, len(rows) // 2)
    if len(labels) > most:
        raise ExportError(
            f"{path} has {len(labels)} different labels in {len(rows)} rows, such as {shown(labels[0])}, and at most "
            f"{most} can be learned from them; is it the right column?"
        )
    return labels


def in_order(names: set[str]) -> tuple[str, ...]:
    """Numbered labels by number, named ones by name."""
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))


def split(rows: Sequence[Row], share: float, seed: int, path: Path) -> tuple[list[Row], list[Row]]:
    """Training and dev rows without a text in both, with the same share of each label.

    Of several labels a text the rarest one counts; a text that alone has its label is for training. Raises ExportError
    where the rows are too few for that.
    """
    unique = _unique(rows, path)
    frequency = Counter(name for row in unique for name in row.names)
    strata = [min(row.names, key=lambda name: (frequency[name], name), default="") for row in unique]
    sizes = Counter(strata)
    alone = [index for index, stratum in enumerate(strata) if sizes[stratum] == 1]
    if alone:
        note(f"{path}: labels with one text only, which is for training: {len(alone)}, such as {strata[alone[0]]!r}")
    rest = sorted(set(range(len(unique))) - set(alone))
    try:
        training, dev = train_test_split(
            rest, test_size=share, random_state=seed, stratify=[strata[index] for index in rest]
        )
    except ValueError as exc:
        raise ExportError(f"{path} cannot be split by label: {exc}; name a validation set with --dev") from exc
    return [unique[index] for index in (*training, *alone)], [unique[index] for index in dev]


def check_dev(dev: Sequence[Row], labels: Sequence[str], training: set[str], path: Path, data: Path) -> None:
    """Raise ExportError for a validation set with an unknown label or a text of the training set, or without rows."""
    if not dev:
        raise ExportError(f"{path} has no rows")
    for number, row in enumerate(dev, start=1):
        unknown = [name for name in row.names if name not in labels]
        if unknown:
            raise ExportError(
                f"{path}, row {number}: label {shown(unknown[0])} is not one of {data}: {_listed(labels)}"
            )
        if row.text in training:
            raise ExportError(f"{path}, row {number}: the text is in {data} too: {shown(row.text)}")
    if len({row.names for row in dev}) == 1:
        raise ExportError(f"{path} has one label only; it cannot show whether anything was learned")


def numbered(rows: Sequence[Row], labels: Sequence[str]) -> list[LabelledText]:
    """The same rows with the labels' indices."""
    number = {label: index for index, label in enumerate(labels)}
    return [LabelledText(row.text, tuple(sorted(number[name] for name in row.names))) for row in rows]


def _unique(rows: Sequence[Row], path: Path) -> list[Row]:
    """Each text once, with the labels of its last row."""
    unique = {row.text: row for row in rows}
    if len(unique) < len(rows):
        differing = sum(set(row.names) != set(unique[row.text].names) for row in rows)
        note(
            f"{path}: {len(rows) - len(unique)} rows repeat a text and are left out, so that none is in both splits; "
            f"{differing} have other labels than the text's last row, which counts"
        )
    return list(unique.values())


def _treebank_rows(examples: Sequence[Example], path: Path) -> list[Row]:
    for number, example in enumerate(examples, start=1):
        if example.label >= len(TREEBANK_LABELS):
            raise ExportError(
                f"{path}, row {number}: label {example.label} is not 0 or 1, as SST-2 has it; for a table of your own "
                "name its columns with --text-column and --label-column"
            )
    return [Row(example.text, (TREEBANK_LABELS[example.label],)) for example in examples]


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SHOWN_LABELS]) + (", ..." if len(labels) > _SHOWN_LABELS else "")
