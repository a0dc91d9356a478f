"""Answers already known, in process. Redis may stand behind it (app/scoring/redis.py)."""

import random
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from app.telemetry.metrics import CACHE_BYTES, CACHE_ENTRIES, CACHE_EVICTED, CACHE_EXPIRED

ENTRY_BYTES = 496
"""Python's own share of an entry: dict slot, key, three tuples, two floats, packed logits (by tracemalloc)."""
LABEL_BYTES = 44
"""What each label adds: a float, two places in tuples, and a logit."""
TTL_JITTER = 0.1
"""Share of the TTL that is taken off at random: texts cached together must not all expire together."""
SWEEP_SECONDS = 1.0
SWEEP_ENTRIES = 1_000
"""How often the oldest entries are looked over for expired ones, and how many at once, some 0.3 ms."""


class Answer(NamedTuple):
    """What is said of one text: a Prediction's fields, and what its tokens tell."""

    labels: tuple[int, ...]
    """Indices of all labels, the one with the highest score first."""
    scores: tuple[float, ...]
    """Their scores, in the same order."""
    logits: bytes
    """What the network said of them, in the same order, as packed float32."""
    tokens: int
    """After truncation, special tokens and what windows have in common included."""
    unknown_tokens: int
    truncated: bool


def jittered(ttl_seconds: float) -> float:
    """The TTL minus up to a tenth of it."""
    return ttl_seconds * (1 - TTL_JITTER * random.random())  # noqa: S311 - spreads expiry, guards nothing


class MemoryCache:
    """The first tier: least recently used entries leave when there are too many, too large or too old ones.

    Lives on the event loop alone, so it needs no lock. Entries are plain tuples of plain values, and no `Answer`: the
    garbage collector soon leaves such tuples out, and 100,000 others would take it 56 ms at each of its full rounds.
    """

    def __init__(
        self,
        *,
        max_entries: int,
        max_bytes: int,
        ttl_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._entries: dict[bytes, tuple[tuple[Any, ...], float]] = {}  # an answer and its end; oldest use first
        self._bytes = 0
        self._next_sweep = clock() + SWEEP_SECONDS

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Estimated memory of all entries."""
        return self._bytes

    def get(self, key: bytes) -> Answer | None:
        """The answer kept under `key`, which thereby becomes the most recently used one."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        if entry[1] < self._clock():
            self._bytes -= _size(key, entry[0])
            CACHE_EXPIRED.inc()
            return None
        self._entries[key] = entry
        return _answer(entry[0])

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer, and drop those least recently used until the bounds hold again; now and then expired ones."""
        if not self._max_entries:
            return
        now = self._clock()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_SECONDS
            self._sweep(now)
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= _size(key, old[0])
        self._entries[key] = (tuple(answer), now + jittered(self._ttl_seconds))
        self._bytes += _size(key, answer)
        while self._entries and (len(self._entries) > self._max_entries or self._bytes > self._max_bytes):
            self._remove(next(iter(self._entries)))
            CACHE_EVICTED.inc()
        CACHE_ENTRIES.set(len(self._entries))
        CACHE_BYTES.set(self._bytes)

    def publish(self) -> None:
        """Set the gauges, after another cache has."""
        CACHE_ENTRIES.set(len(self._entries))
        CACHE_BYTES.set(self._bytes)

    def _sweep(self, now: float) -> None:
        """Drop what has expired among the least recently used: nobody asks for it, and it would stay until it is full.

        Looks through one iterator, since each new one would first skip all that was removed before.
        """
        expired = [key for key, entry in islice(self._entries.items(), SWEEP_ENTRIES) if entry[1] < now]
        for key in expired:
            self._remove(key)
        CACHE_EXPIRED.inc(len(expired))

    def _remove(self, key: bytes) -> None:
        self._bytes -= _size(key, self._entries.pop(key)[0])


_answer: Callable[[tuple[Any, ...]], Answer] = partial(tuple.__new__, Answer)
"""As `Answer._make`, in a third of the time."""


def _size(key: bytes, fields: tuple[Any, ...]) -> int:
    return len(key) + ENTRY_BYTES + LABEL_BYTES * len(fields[0])
