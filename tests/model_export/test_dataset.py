"""Labelled data of one's own: every format gives the same examples, and bad data one line."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import pandas as pd

from model_export.dataset import load
from model_export.errors import ExportError

COLUMNS = ("review", "mood")


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
    assert [sum(example.label == n for example in first.dev) for n in range(3)] == [4, 4, 4]
    assert not {example.text for example in first.dev} & {example.text for example in first.training}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text,mood\na,b\n", "has no column 'review'; it has text, mood"),
        (b"review,mood\na,b\n", "has 1 rows; fine-tuning needs at least 20"),
        (b"review,mood\n" + b"a,b\n" * 20, "has one label only, 'b'"),
        (b"review,mood\na,b\n ,b\n", "row 2: column 'review' is empty"),
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
