"""Texts -> scores with all cores, in order, each text once as long as it is remembered.

Chunks of `CHUNK_ROWS` rows go to the threads, which do all that there is to do for them, so that no core waits for
another one. Which text is scored in which chunk and batch follows from the input alone: a run that was stopped and goes
on has the same scores as one that was not.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from itertools import islice
from threading import Event
from typing import NamedTuple

import numpy as np

from app.http.schemas import VISIBLE
from app.model.classifier import SCORE_DIGITS, Classifier
from app.score.journal import DTYPE, EMPTY, RECORD

CHUNK_ROWS = 1024
"""Of so many texts those of near length share a batch: 1 % of what an engine that pads computes is then padding."""
BATCH_TOKENS, PADDED_BATCH_TOKENS = 512, 128
"""Tokens of one inference, padding included. The service's 128 keep a single text's latency low; here 512 save 2 %
where nothing is padded, and cost time where something is."""
visible = re.compile(VISIBLE).search

Cell = list[bytes]
"""A text's record, once it is known."""


class Chunk(NamedTuple):
    """Rows under way."""

    rows: list[Cell]
    new: list[Cell]
    """Those that `records` will fill, in its order."""
    records: Future[list[bytes]]


class Stopped(Exception):
    """The run has ended; nobody waits for this chunk."""


class BulkScorer:
    """Scores with so many threads. `max_texts` is how many different texts are remembered, those of last use."""

    def __init__(self, classifier: Classifier, *, threads: int, max_texts: int) -> None:
        self.scored = 0
        """Texts that the model has computed."""
        self._classifier = classifier
        self._threads = threads
        self._max_texts = max_texts
        self._cells: OrderedDict[bytes, Cell] = OrderedDict()
        self._stopped = Event()

    def remember(self, text: str | None, record: bytes) -> None:
        """Take the next row's record from an earlier run, and know it as if it had been scored now."""
        if text is not None and visible(text):
            cell, new = self._recall(text)
            if new:
                cell.append(record)

    def score(self, texts: Iterable[str | None]) -> Generator[bytes]:
        """The records of each chunk, in order. Close it to stop the threads."""
        rows = iter(texts)
        under_way: deque[Chunk] = deque()
        pool = ThreadPoolExecutor(self._threads, "score")
        try:
            while chunk := list(islice(rows, CHUNK_ROWS)):
                under_way.append(self._begin(chunk, pool))
                if len(under_way) > 2 * self._threads:
                    yield self._finish(under_way.popleft())
            while under_way:
                yield self._finish(under_way.popleft())
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)

    def _begin(self, texts: list[str | None], pool: ThreadPoolExecutor) -> Chunk:
        rows: list[Cell] = []
        new: list[Cell] = []
        unknown: list[str] = []
        for text in texts:
            if text is None or not visible(text):
                rows.append([EMPTY])
                continue
            cell, is_new = self._recall(text)
            rows.append(cell)
            if is_new:
                new.append(cell)
                unknown.append(text)
        return Chunk(rows, new, pool.submit(self._compute, unknown))

    def _finish(self, chunk: Chunk) -> bytes:
        """Chunks end in the order of their beginning, so what a row shares with an earlier one is known by now."""
        for cell, record in zip(chunk.new, chunk.records.result(), strict=True):
            cell.append(record)
        self.scored += len(chunk.new)
        return b"".join(cell[0] for cell in chunk.rows)

    def _recall(self, text: str) -> tuple[Cell, bool]:
        """A text's cell, and whether it is a new one."""
        key = blake2b(text.encode(), digest_size=16).digest()
        cell = self._cells.get(key)
        if cell is not None:
            self._cells.move_to_end(key)
            return cell, False
        cell = self._cells[key] = []
        if len(self._cells) > self._max_texts:
            self._cells.popitem(last=False)
        return cell, True

    def _compute(self, texts: list[str]) -> list[bytes]:
        """Blocks; runs in the threads. Near lengths share a batch, since some engines pad."""
        tokens = [self._classifier.encoder.encode_by_words(text) for text in texts]
        records = np.zeros(len(texts), DTYPE)
        records["truncated"] = [each.truncated for each in tokens]
        for batch in _batches([len(each.ids) for each in tokens], batch_tokens(self._classifier)):
            if self._stopped.is_set():
                raise Stopped
            scores = self._classifier.scores([tokens[index].ids for index in batch])
            records["label"][batch] = scores.argmax(axis=1)
            records["score"][batch] = scores.max(axis=1).round(SCORE_DIGITS)
        packed = records.tobytes()
        return [packed[begin : begin + RECORD.size] for begin in range(0, len(packed), RECORD.size)]


def batch_tokens(classifier: Classifier) -> int:
    """What its engine computes at once with the least time a text."""
    return PADDED_BATCH_TOKENS if classifier.engine.pads else BATCH_TOKENS


def _batches(lengths: list[int], most: int) -> Iterator[list[int]]:
    """Indices of texts of so many tokens, the shortest first, in batches of up to `most` tokens; one text at least."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > most:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
