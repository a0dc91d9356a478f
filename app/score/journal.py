"""The scores of a run so far, in a file beside its output: what was stopped goes on where it was.

One line of JSON that says which run it is, then `RECORD` after `RECORD`, one for each row of the input in its order.
"""

import fcntl
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

RECORD = struct.Struct("<hd?")
"""Index of the label, its score, and whether the text was cut."""
DTYPE = np.dtype([("label", "<i2"), ("score", "<f8"), ("truncated", "?")])
"""The same for NumPy."""
EMPTY = RECORD.pack(-1, 0.0, False)
"""Of a row without a visible character."""


class BadJournal(Exception):
    """The file is another run's, or another process is at work on it."""


class Journal:
    """`rows` records behind a head of so many bytes in a file that is open for appending and reading."""

    def __init__(self, file: BinaryIO, head_bytes: int, rows: int) -> None:
        self.rows = rows
        self._file = file
        self._head_bytes = head_bytes

    def append(self, records: bytes) -> int:
        """Add the next rows; return how many they were."""
        self._file.write(records)
        self._file.flush()
        rows = len(records) // RECORD.size
        self.rows += rows
        return rows

    def read(self, start: int, rows: int) -> npt.NDArray[np.void]:
        """So many rows from this one on, as `DTYPE`; fewer where there are no more."""
        self._file.seek(self._head_bytes + start * RECORD.size)
        return np.frombuffer(self._file.read(rows * RECORD.size), DTYPE)


@contextmanager
def open_journal(path: Path, run: Mapping[str, object], *, chunk: int, total: int) -> Iterator[Journal]:
    """Open or make the journal of this run, for this process alone. Raises BadJournal if it is another one's.

    It has a multiple of `chunk` rows, or all of the input's `total`.
    """
    head = json.dumps(run).encode() + b"\n"
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BadJournal(f"{path}: another process is at work on it") from exc
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size == 0:
            file.write(head)
        elif file.read(len(head)) != head:
            raise BadJournal(f"{path} is of another input, column or model: remove it to start over")
        rows = min(max(0, size - len(head)) // RECORD.size, total)
        if rows < total:
            rows -= rows % chunk
        file.truncate(len(head) + rows * RECORD.size)  # a process that is killed may leave half a record
        yield Journal(file, len(head), rows)
