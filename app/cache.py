"""Scores already known: in process first, Redis behind it.

Values are ready-made parts of a response, keyed by the model's digest and a 128-bit hash of the text, so a new model
never meets an old score and no text is stored. Redis is an accelerator, never a dependency: it fails open.
"""

import random
import struct
import time
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any

from app.metrics import CACHE_EVICTED, CACHE_EXPIRED
from app.model import Answer

ENTRY_OVERHEAD_BYTES = 384
"""Python's own share of one entry (dict slot, two bytes objects, two tuples, two floats), by tracemalloc."""
MAGIC = b"V1"
HEADER = struct.Struct("<2s?HIId")
"""How an answer begins in Redis: magic, truncated, label, tokens, unknown tokens, score."""
TTL_JITTER = 0.1
"""Share of the TTL that is taken off at random: texts cached together must not all expire together."""

SWEEP_SECONDS = 1.0
SWEEP_ENTRIES = 1_000
"""How often the oldest entries are looked over for expired ones, and how many at once, some 0.3 ms."""


class Keys:
    """Text -> cache key: a prefix, the model's digest, what computes it, and a 128-bit BLAKE2b of the text.

    Engines round differently: pods that share a Redis and not an engine share no scores.
    """

    def __init__(self, digest: str, engine: str = "") -> None:
        self._prefix = f"valence:{digest[:16]}:{engine}:".encode()

    def __call__(self, text: str) -> bytes:
        """Key of one text; raises UnicodeEncodeError on lone surrogates, which requests cannot hold."""
        return self._prefix + blake2b(text.encode(), digest_size=16).digest()


def jittered(ttl_seconds: float) -> float:
    """The TTL minus up to a tenth of it."""
    return ttl_seconds * (1 - TTL_JITTER * random.random())  # noqa: S311 - spreads expiry, guards nothing


def pack(answer: Answer) -> bytes:
    """Answer -> stored bytes: a header of fixed length, then the fragment."""
    header = HEADER.pack(MAGIC, answer.truncated, answer.label, answer.tokens, answer.unknown_tokens, answer.score)
    return header + answer.fragment


def unpack(stored: bytes) -> Answer | None:
    """Stored bytes -> answer; None when they are not ours, so that a foreign value is a miss and not a broken body."""
    if not stored.startswith(MAGIC) or not stored.startswith(b"[{", HEADER.size) or not stored.endswith(b"}]"):
        return None
    _, truncated, label, tokens, unknown_tokens, score = HEADER.unpack_from(stored)
    return Answer(stored[HEADER.size :], label, score, tokens, unknown_tokens, truncated)


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
            CACHE_EXPIRED.count += 1
            return None
        self._entries[key] = entry
        return _answer(entry[0])

    def put(self, items: Iterable[tuple[bytes, Answer]]) -> None:
        """Keep answers, and drop those least recently used until the bounds hold again; now and then expired ones."""
        if not self._max_entries:
            return
        now = self._clock()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_SECONDS
            self._sweep(now)
        for key, answer in items:
            old = self._entries.pop(key, None)
            if old is not None:
                self._bytes -= _size(key, old[0])
            self._entries[key] = (tuple(answer), now + jittered(self._ttl_seconds))
            self._bytes += _size(key, answer)
        while self._entries and (len(self._entries) > self._max_entries or self._bytes > self._max_bytes):
            oldest = next(iter(self._entries))
            self._bytes -= _size(oldest, self._entries.pop(oldest)[0])
            CACHE_EVICTED.count += 1

    def _sweep(self, now: float) -> None:
        """Drop what has expired among the least recently used: nobody asks for it, and it would stay until it is full.

        Looks through one iterator, since each new one would first skip all that was removed before.
        """
        expired = [key for key, entry in islice(self._entries.items(), SWEEP_ENTRIES) if entry[1] < now]
        for key in expired:
            self._bytes -= _size(key, self._entries.pop(key)[0])
        CACHE_EXPIRED.count += len(expired)


_answer: Callable[[tuple[Any, ...]], Answer] = partial(tuple.__new__, Answer)
"""As `Answer._make`, in a third of the time."""


def _size(key: bytes, fields: tuple[Any, ...]) -> int:
    return len(key) + len(fields[0]) + ENTRY_OVERHEAD_BYTES
