"""What is scored: the texts of a file, and the output that has its columns and the scores."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.model.classifier import Classifier
from app.score import tables
from app.score.bulk import CHUNK_ROWS, batch_tokens
from app.score.journal import DTYPE, Journal
from app.score.tables import BadTable

COLUMNS = pa.schema(
    [("predicted_label", pa.string()), ("predicted_score", pa.float64()), ("text_truncated", pa.bool_())]
)
"""What the output has behind the input's columns; null for a text without a visible character."""


class Counts(NamedTuple):
    """Rows of the output without a visible character, and those whose text was cut."""

    empty: int
    truncated: int


class Job(NamedTuple):
    """What is read, and what is written where."""

    source: Path
    column: str
    output: Path
    schema: pa.Schema
    """Of the input."""
    rows: int

    @classmethod
    def of(cls, source: Path, column: str, output: Path) -> Self:
        """Look through the whole input, and try the output's format. Raises BadTable or OSError for what is wrong."""
        tables.suffix(output)
        if output.exists():
            raise BadTable(f"{output} exists already: remove it, or name another file with --output")
        schema, rows = tables.survey(source)
        if column not in schema.names:
            raise BadTable(f"{source} has no column {column!r} (--text-column); it has {', '.join(schema.names)}")
        if not _holds_text(schema.field(column).type):
            raise BadTable(f"{source}: the column {column!r} holds {schema.field(column).type}, not texts")
        if taken := set(schema.names) & set(COLUMNS.names):
            raise BadTable(f"{source} has a column {min(taken)!r} already, which the output needs: rename it")
        job = cls(source, column, output, schema, rows)
        job.try_write()
        return job

    @property
    def journal_path(self) -> Path:
        """Where the scores are until the output is written."""
        return self.output.with_name(f"{self.output.name}.scores")

    @property
    def output_schema(self) -> pa.Schema:
        """The input's columns and ours."""
        return pa.schema([*self.schema, *COLUMNS], metadata=self.schema.metadata)

    def identity(self, classifier: Classifier) -> dict[str, object]:
        """What the scores of each row follow from."""
        found = self.source.stat()
        return {
            "input": [found.st_size, found.st_mtime_ns, self.column],
            "model": [classifier.package.digest, classifier.engine.name],
            "batches": [CHUNK_ROWS, batch_tokens(classifier)],
        }

    def texts(self) -> Iterator[str | None]:
        """The text of each row."""
        for batch in tables.read(self.source, pa.schema([self.schema.field(self.column)])):
            yield from batch.column(0).cast(pa.string()).to_pylist()

    def write(self, journal: Journal, labels: Sequence[str]) -> Counts:
        """Write the output, whole or not at all."""
        part = self.output.with_name(f"{self.output.name}.part")
        row = empty = truncated = 0
        with part.open("wb") as file, tables.writing(file, self.output, self.output_schema) as write:
            for batch in tables.read(self.source, self.schema):
                scores = journal.read(row, batch.num_rows)
                if len(scores) < batch.num_rows:
                    raise BadTable(f"{self.source} has changed while it was read")
                write(self._scored(batch, scores, labels))
                row += batch.num_rows
                empty += int((scores["label"] < 0).sum())
                truncated += int(scores["truncated"].sum())
        part.replace(self.output)
        return Counts(empty, truncated)

    def try_write(self) -> None:
        """Raise BadTable if the output's format can't hold the input's first rows."""
        with (
            Path(os.devnull).open("wb") as nowhere,
            tables.writing(nowhere, self.output, self.output_schema) as write,
        ):
            for batch in tables.read(self.source, self.schema):
                write(self._scored(batch, np.zeros(batch.num_rows, DTYPE), [""]))
                if batch.num_rows:
                    break

    def _scored(self, batch: pa.RecordBatch, scores: npt.NDArray[np.void], labels: Sequence[str]) -> pa.RecordBatch:
        """The batch with the columns of `COLUMNS`."""
        empty = scores["label"] < 0
        columns = [
            pa.array(labels, pa.string()).take(pa.array(scores["label"], mask=empty)),
            pa.array(scores["score"], mask=empty),
            pa.array(scores["truncated"], mask=empty),
        ]
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=self.output_schema)


def _holds_text(kind: pa.DataType) -> bool:
    """Whether values of this type are texts; a column of nulls is one of empty texts."""
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    )
