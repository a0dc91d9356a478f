"""Labelled data of one's own: every format gives the same examples, and bad data one line."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import pandas as pd

from model_export.dataset import load, load_treebank, read_named
from model_export.errors import ExportError
from model_export.text_table import Columns

COLUMNS = Columns("review", "mood")
SEVERAL = Columns("review", "mood", multi_label=True)


def table(rows: int = 60) -> pd.DataFrame:
    """Three named labels in turn."""
    return pd.DataFrame(
        {"id": range(rows), "review": [f"text {n}" for n in range(rows)], "mood": ["sad", "glad", "calm"] * (rows // 3)}
    )


def test_every_format_gives_the_same_stratified_split(tmp_path: Path) -> None:
    """Labels are in order of name; the split has the same share of each, and no text twice."""
    table().to_csv(tmp_path / "a.csv", index=False)
    table().to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table().to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    table().to_parquet(tmp_path / "a.parquet")
    first, *others = (load(path, None, COLUMNS, 0.2, 0) for path in sorted(tmp_path.iterdir()))
    assert len(others) == 3
    assert all(other == first for other in others)
    assert first.labels == ("calm", "glad", "sad")
    assert [sum(example.labels == (n,) for example in first.dev) for n in range(3)] == [4, 4, 4]
    assert not {example.text for example in first.dev} & {example.text for example in first.training}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text,mood\na,b\n", "has no column 'review'; it has text, mood"),
        (b"review,mood\na,b\n", "has 1 rows; fine-tuning needs at least 20"),
        (b"review,mood\n" + b"a,b\n" * 20, "has one label only, 'b'"),
        (b"review,mood\na,b\n ,b\n", "row 2: column 'review' is empty"),
        (b"review,mood\na,b\na\n", "row 2: column 'mood' is empty"),
        (b"review,mood\na,b;c\n", "row 1: several labels, 'b;c'; --multi-label learns them all"),
        (b"review,mood\na,b,c\na,b,c\n", "its rows have more fields than the header has names"),
        (b"review,mood\na,b\na,b,c\n", "cannot be read: Error tokenizing data"),
        (b"review,mood\n\xff\xfe,b\n", "cannot be read: 'utf-8' codec"),
        (b"", "cannot be read: No columns"),
    ],
)
def test_bad_data_gets_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    """The line names the file and the place."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=reason) as caught:
        load(path, None, COLUMNS, 0.2, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reason"), [("new,angry", "label 'angry' is not one of"), ("text 3,sad", "the text is in")]
)
def test_dev_set_must_fit_the_training_set(tmp_path: Path, row: str, reason: str) -> None:
    """An unknown label and a text of the training set are both refused, with their row."""
    table().to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "dev.csv").write_text(f"review,mood\nother,sad\n{row}\n")
    with pytest.raises(ExportError, match=f"dev.csv, row 2: {reason}"):
        load(tmp_path / "a.csv", tmp_path / "dev.csv", COLUMNS, 0.2, 0)


def test_names_of_labels_become_the_models_numbers(tmp_path: Path) -> None:
    """In the model's order, not in the table's; a label that it does not have is named with its row."""
    table().to_csv(tmp_path / "a.csv", index=False)
    examples = read_named(tmp_path / "a.csv", COLUMNS, ["calm", "glad", "sad"])
    assert [(one.text, one.labels) for one in examples[:3]] == [("text 0", (2,)), ("text 1", (1,)), ("text 2", (0,))]
    with pytest.raises(ExportError, match=r"a.csv, row 3: the model has no label 'calm', but sad, glad$"):
        read_named(tmp_path / "a.csv", COLUMNS, ["sad", "glad"])


def test_stray_quotation_mark_is_said(tmp_path: Path) -> None:
    """It would make one text of all rows up to the next such mark."""
    rows = ['"good film\tglad', "bad film\tsad", 'the "worst" film"\tsad']
    (tmp_path / "a.tsv").write_text("review\tmood\n" + "\n".join(rows) + "\n")
    with pytest.raises(ExportError, match=r"a\.tsv, row 1: a quotation mark at the beginning of a text"):
        load(tmp_path / "a.tsv", None, COLUMNS, 0.2, 0)


def test_a_column_of_texts_is_not_taken_for_labels(tmp_path: Path) -> None:
    """As where the names of the columns were exchanged."""
    table().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ExportError, match=r"60 different labels in 60 rows, .*; is it the right column"):
        load(tmp_path / "a.csv", None, Columns("mood", "review"), 0.2, 0)


def test_dev_set_of_one_label_is_refused(tmp_path: Path) -> None:
    """It would end in "nothing was learned" after the training."""
    table().to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "dev.csv").write_text("review,mood\nother,sad\nanother,sad\n")
    with pytest.raises(ExportError, match=r"dev\.csv has one label only; it cannot show"):
        load(tmp_path / "a.csv", tmp_path / "dev.csv", COLUMNS, 0.2, 0)


def test_repeated_texts_are_in_one_split_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the label of the last row, and it is said how many there were."""
    pd.concat([table(), table()[:3].assign(mood="sad")]).to_csv(tmp_path / "b.csv", index=False)
    made = load(tmp_path / "b.csv", None, COLUMNS, 0.2, 0)
    assert "3 rows repeat a text and are left out" in capsys.readouterr().err
    assert [one.labels for one in (*made.training, *made.dev) if one.text == "text 1"] == [(2,)]


def test_several_labels_a_text_in_every_format(tmp_path: Path) -> None:
    """Separated by semicolons, or as a list; a text may have none, and the split has the same share of each."""
    names = [["sad"], ["sad", "glad"], [], ["glad"]] * 20
    made = pd.DataFrame({"review": [f"text {n}" for n in range(80)], "mood": names})
    made.assign(mood=["; ".join(each) for each in names]).to_csv(tmp_path / "a.csv", index=False)
    made.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    made.to_parquet(tmp_path / "a.parquet")
    first, *others = (load(path, None, SEVERAL, 0.2, 0) for path in sorted(tmp_path.iterdir()))
    assert len(others) == 2
    assert all(other == first for other in others)
    assert (first.labels, first.multi_label) == (("glad", "sad"), True)
    counts = [sum(one.labels == labels for one in first.dev) for labels in ((), (0,), (1,), (0, 1))]
    assert counts[0] == 4
    assert sum(counts) == 16
    assert len(first.training) == 64


def test_label_of_one_text_is_for_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can't be in both splits, and is no reason to refuse the others."""
    rows = table()
    rows.loc[0, "mood"] = "odd"
    rows.to_csv(tmp_path / "a.csv", index=False)
    made = load(tmp_path / "a.csv", None, COLUMNS, 0.2, 0)
    assert "one text only, which is for training: 1, such as 'odd'" in capsys.readouterr().err
    assert [one.text for one in made.training if one.labels == (made.labels.index("odd"),)] == ["text 0"]


@pytest.mark.parametrize(
    ("dev", "reason"),
    [
        ("2\tother", r"dev.tsv, row 1: label 2 is not 0 or 1"),
        ("1\ttext 3", r"dev.tsv, row 1: the text is in .*train.tsv too"),
        ("1\tother", r"dev.tsv has one label only"),
    ],
)
def test_treebank_is_held_to_the_same_rules(tmp_path: Path, dev: str, reason: str) -> None:
    """Its columns have fixed names, and its labels are two."""
    train = "".join(f"{n % 2}\ttext {n}\n" for n in range(20))
    (tmp_path / "train.tsv").write_text(f"label\tsentence\n{train}")
    (tmp_path / "dev.tsv").write_text(f"label\tsentence\n{dev}\n")
    with pytest.raises(ExportError, match=reason):
        load_treebank(tmp_path / "train.tsv", tmp_path / "dev.tsv", 0.1, 0)
