"""Tables in files: CSV, TSV, JSON lines and Parquet, read and written batch by batch in bounded memory.

Values of CSV and TSV stay the text that they are, so that 007 is 007 in the output, too. JSON lines may lack fields;
what they lack is null in the output.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

BLOCK_BYTES = 1_048_576
"""What is read at once, and the most that one row of text may have."""
BATCH_ROWS = 1_024
ROW_GROUP_BYTES = 16_777_216
"""What of a Parquet file is gathered before it is written; many small groups make a large and slow file."""
MESSAGE_CHARACTERS = 300

Write = Callable[[pa.RecordBatch], None]


class BadTable(Exception):
    """A file that is no such table; one line that names the file and what is wrong with it."""


def suffix(path: Path) -> str:
    """Which format a file has, by its name. Raises BadTable for one that is unknown."""
    found = path.suffix.lower()
    if found not in READERS:
        raise BadTable(f"{path}: the name should end in {', '.join(READERS)}")
    return found


def survey(path: Path) -> tuple[pa.Schema, int]:
    """The columns and the rows of a table, found by reading it once. Raises BadTable for what can't be read."""
    schema: pa.Schema | None = None
    rows = 0
    with _told(path):
        for batch in _batches(path, None):
            if len(set(batch.schema.names)) != len(batch.schema.names):
                raise BadTable(f"{path}: two columns have the same name")
            schema = schema or batch.schema
            if not batch.schema.equals(schema):
                schema = pa.unify_schemas([schema, batch.schema], promote_options="permissive")
            rows += batch.num_rows
    return schema or pa.schema([]), rows


def read(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """These columns of all rows in order. Raises BadTable for what can't be read."""
    with _told(path):
        yield from _batches(path, schema)


def _batches(path: Path, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    for batch in READERS[suffix(path)](path, schema):
        yield batch
        pa.default_memory_pool().release_unused()  # Arrow would keep a hundred megabytes of freed blocks


@contextmanager
def writing(file: BinaryIO, path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Give a function that appends a batch to the file, in the format that `path` names.

    Raises BadTable, with `path`, for types that the format can't hold.
    """
    with _told(path), WRITERS[suffix(path)](file, schema) as write:
        yield write


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Have whatever a library says of this file in one line."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError, csv.Error) as exc:
        line = " ".join(str(exc).split())
        raise BadTable(f"{path}: {line[:MESSAGE_CHARACTERS]}") from exc


def _read_delimited(path: Path, schema: pa.Schema | None, *, delimiter: str) -> Iterator[pa.RecordBatch]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), None)
    if not names:
        raise BadTable(f"{path}: the first line should name the columns")
    reader = pyarrow.csv.open_csv(
        path,
        pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        # In a table of one column a blank line is a row with an empty value.
        pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=len(names) > 1),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=schema and schema.names
        ),
    )
    yield pa.RecordBatch.from_pylist([], schema=reader.schema)  # a table without rows has columns, too
    yield from reader


def _read_json_lines(path: Path, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        rows: list[dict[str, Any]] = []
        size = 0
        for number, line in enumerate(iter(partial(file.readline, BLOCK_BYTES + 1), b""), 1):
            if not line.isspace():
                rows.append(_object(path, number, line))
                size += len(line)
            if size >= BLOCK_BYTES or len(rows) >= BATCH_ROWS:
                yield _as_batch(path, number, rows, schema)
                rows, size = [], 0
        if rows:
            yield _as_batch(path, number, rows, schema)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    if len(line) > BLOCK_BYTES:
        raise BadTable(f"{path}: line {number} has more than {BLOCK_BYTES} bytes")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise BadTable(f"{path}: line {number} is no JSON: {exc}") from exc
    if not isinstance(row, dict):
        raise BadTable(f"{path}: line {number} is no JSON object")
    return row


def _as_batch(path: Path, number: int, rows: list[dict[str, Any]], schema: pa.Schema | None) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_struct_array(pa.array(rows, schema and pa.struct(schema)))
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as exc:
        line = f"{path}: in the {len(rows)} lines up to {number} a field has values of two types or too large ones"
        raise BadTable(f"{line}: {exc}"[:MESSAGE_CHARACTERS]) from exc


def _read_parquet(path: Path, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    with (
        path.open("rb") as source,
        pyarrow.parquet.ParquetFile(source, buffer_size=BLOCK_BYTES // 4, pre_buffer=False) as file,
    ):
        columns = schema and schema.names
        yield pa.RecordBatch.from_pylist([], schema or file.schema_arrow)
        yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


@contextmanager
def _write_delimited(file: BinaryIO, schema: pa.Schema, *, delimiter: str) -> Iterator[Write]:
    with pyarrow.csv.CSVWriter(file, schema, write_options=pyarrow.csv.WriteOptions(delimiter=delimiter)) as writer:
        yield writer.write_batch


@contextmanager
def _write_json_lines(file: BinaryIO, schema: pa.Schema) -> Iterator[Write]:  # noqa: ARG001 - as the others
    def write(batch: pa.RecordBatch) -> None:
        file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist())

    yield write


@contextmanager
def _write_parquet(file: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    batches: list[pa.RecordBatch] = []

    def flush() -> None:
        writer.write_table(pa.Table.from_batches(batches, schema))
        batches.clear()

    def write(batch: pa.RecordBatch) -> None:
        batches.append(batch)
        if sum(each.nbytes for each in batches) >= ROW_GROUP_BYTES:
            flush()

    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        yield write
        flush()


READERS: dict[str, Callable[[Path, pa.Schema | None], Iterator[pa.RecordBatch]]] = {
    ".csv": partial(_read_delimited, delimiter=","),
    ".tsv": partial(_read_delimited, delimiter="\t"),
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
WRITERS: dict[str, Callable[[BinaryIO, pa.Schema], AbstractContextManager[Write]]] = {
    ".csv": partial(_write_delimited, delimiter=","),
    ".tsv": partial(_write_delimited, delimiter="\t"),
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}
