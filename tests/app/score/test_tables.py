"""Files of all four formats: what is read is what was written, and what is wrong is said in one line."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.score import tables
from app.score.tables import BadTable

TABLE = pa.table(
    {
        "id": ["007", "1e3", "", "2020-01-01"],
        "text": ["plain", 'with "quotes", commas\nand lines', "", "\tœ€😀"],
        "note": ["NA", "null", "true", " spaces "],
    }
)
FORMATS = [".csv", ".tsv", ".jsonl", ".parquet"]


def read_all(path: Path) -> pa.Table:
    """All of a file, as the command reads it."""
    schema, rows = tables.survey(path)
    table = pa.Table.from_batches(tables.read(path, schema), schema)
    assert table.num_rows == rows
    return table


@pytest.mark.parametrize("suffix", FORMATS)
def test_texts_come_back_as_they_are(tmp_path: Path, suffix: str) -> None:
    """No value becomes a number, a date, a null or another text."""
    path = tmp_path / f"table{suffix}"
    with path.open("wb") as file, tables.writing(file, path, TABLE.schema) as write:
        for batch in TABLE.to_batches(2):
            write(batch)
    assert read_all(path).to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_without_rows(tmp_path: Path, suffix: str) -> None:
    """It has columns all the same, but for JSON lines, which name none."""
    path = tmp_path / f"table{suffix}"
    with path.open("wb") as file, tables.writing(file, path, TABLE.schema):
        pass
    schema, rows = tables.survey(path)
    assert rows == 0
    assert schema.names == ([] if suffix == ".jsonl" else TABLE.schema.names)


def test_a_large_file_is_read_in_parts_and_loses_no_row(tmp_path: Path) -> None:
    """More than one batch of each reader, with a value that a block's end would cut."""
    rows = [f"{number} " + "x" * (number % 3_000) for number in range(3_000)]
    for suffix in FORMATS:
        path = tmp_path / f"large{suffix}"
        schema = pa.schema([("text", pa.string())])
        with path.open("wb") as file, tables.writing(file, path, schema) as write:
            write(pa.RecordBatch.from_pydict({"text": rows}))
        batches = [batch.num_rows for batch in tables.read(path, schema) if batch.num_rows]
        assert len(batches) > 1
        assert read_all(path)["text"].to_pylist() == rows


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_table(tmp_path: Path) -> None:
    """As spreadsheets write it."""
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbftext,id\r\ngood,1\r\n\r\nbad,2\r\n")
    assert read_all(path).to_pydict() == {"text": ["good", "bad"], "id": ["1", "2"]}


def test_a_blank_line_of_one_column_is_a_row(tmp_path: Path) -> None:
    """Otherwise the output would have fewer lines than the input, and no line would fit."""
    path = tmp_path / "one.csv"
    path.write_text("text\ngood\n\nbad\n")
    assert read_all(path).to_pydict() == {"text": ["good", "", "bad"]}


def test_json_lines_need_not_have_the_same_fields(tmp_path: Path) -> None:
    """Fields that come late, whole numbers among others, and objects, across batches."""
    path = tmp_path / "late.jsonl"
    path.write_text('{"text": "a", "n": 1}\n' * 2_000 + '\n{"text": "b", "n": 0.5, "more": {"x": [1]}}\n')
    last = read_all(path).to_pylist()[-2:]
    assert last == [{"text": "a", "n": 1.0, "more": None}, {"text": "b", "n": 0.5, "more": {"x": [1]}}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("table.xlsx", b"", "should end in .csv, .tsv, .jsonl, .parquet"),
        ("empty.csv", b"", "the first line should name the columns"),
        ("latin.csv", b"text\ncaf\xe9\n", "can't decode byte 0xe9"),
        ("late.csv", b"text\n" + b"good\n" * 9_999 + b"caf\xe9\n", "invalid UTF8"),
        ("ragged.csv", b"text,id\ngood,1\nbad\n", "Expected 2 columns, got 1"),
        ("twice.csv", b"text,text\na,b\n", "two columns have the same name"),
        ("long.csv", b"text,id\n" + b"x" * 3_000_000 + b",1\n", "block"),
        ("latin.jsonl", b'{"text": "caf\xe9"}\n', "line 1 is no JSON"),
        ("cut.jsonl", b'{"text": "a"}\n{"text": ', "line 2 is no JSON"),
        ("list.jsonl", b'["a"]\n', "line 1 is no JSON object"),
        ("long.jsonl", b"x" * 3_000_000, "line 1 has more than 1048576 bytes"),
        ("mixed.jsonl", b'{"text": "a"}\n{"text": 1}\n', "in the 2 lines up to 2"),
        ("wrong.parquet", b"PAR2", "arquet"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """With the name of the file."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadTable, match=r"\A[^\n]*\Z") as refused:
        tables.survey(path)
    assert str(refused.value).startswith(str(path))
    assert said in str(refused.value)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_format_refuses_what_it_cannot_hold(tmp_path: Path, suffix: str) -> None:
    """Lists in CSV, decimals in JSON."""
    path = tmp_path / f"table{suffix}"
    batch = pa.RecordBatch.from_pylist([{"text": "a", "tags": ["b"], "price": Decimal("1.5")}])
    with pytest.raises(BadTable), path.open("wb") as file, tables.writing(file, path, batch.schema) as write:
        write(batch)


def test_parquet_keeps_its_metadata(tmp_path: Path) -> None:
    """Such as the index that pandas writes."""
    path = tmp_path / "table.parquet"
    pq.write_table(TABLE.replace_schema_metadata({"pandas": "{}"}), path)
    assert tables.survey(path)[0].metadata == {b"pandas": b"{}"}
