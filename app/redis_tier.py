"""The second cache tier: Redis, shared by all pods, and never waited for longer than one short timeout.

The look-ups of all requests in one turn of the event loop go out together in one `MGET`, and so do the writes; nobody
waits for the call before.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Self

from hiredis import ReplyError

from app.cache import jittered, pack, unpack
from app.metrics import REDIS_DROPPED, REDIS_GET_SECONDS, REDIS_SET_SECONDS
from app.model import Answer
from app.redis_link import Link
from app.redis_url import parse_redis_url
from app.resp import Connection, Replies, packed, values_of

MAX_KEYS_PER_CALL = 1_024
MAX_KEYS_ASKED = 65_536
"""Keys waiting and under way. Beyond that Redis is too slow for us, and the model answers."""
MAX_PENDING_WRITES = 10_000
MAX_WRITES_PER_CALL = 128
"""At most one such call is under way: what stands before a look-up takes half a millisecond."""

Question = tuple[Sequence[bytes], asyncio.Future[dict[bytes, Answer]]]
"""The keys that one request asks for, and what will be found."""


class RedisTier:
    """Look-ups and writes that cannot fail and cannot wait long. Use as an async context manager.

    Raises ValueError for a URL that says nothing usable.
    """

    def __init__(self, url: str, *, timeout_seconds: float, ttl_seconds: float) -> None:
        self._ttl_seconds = ttl_seconds
        self._link = Link(
            parse_redis_url(url), timeout_seconds=timeout_seconds, on_up=self._flush_soon, on_down=self._give_up
        )
        self._breaker = self._link.breaker
        self._loop: asyncio.AbstractEventLoop
        self._flush_due = False
        self._asked: list[Question] = []
        self._asked_since = 0.0  # when the first of them came, if they had to wait for a connection
        self._asked_keys = 0  # waiting and under way
        self._writes: dict[bytes, Answer] = {}
        self._writing = False

    @property
    def open(self) -> bool:
        """Whether the breaker is open: Redis is left alone until it answers again."""
        return self._breaker.open

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.close()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Those of `keys` that Redis knows; empty when it is down or open, or late by the timeout and a quarter."""
        if self._breaker.open:
            return {}
        if self._asked_keys + len(keys) > MAX_KEYS_ASKED:
            self._breaker.refused("get", f"more than {MAX_KEYS_ASKED} keys would be under way")
            return {}
        found: asyncio.Future[dict[bytes, Answer]] = self._loop.create_future()
        self._asked.append((keys, found))
        self._asked_keys += len(keys)
        if not self._flush_due:
            self._flush_soon()
        return await found

    def put(self, items: Iterable[tuple[bytes, Answer]]) -> None:
        """Store answers some time soon; returns at once. Beyond `MAX_PENDING_WRITES` they are dropped."""
        for key, answer in items:
            if self._breaker.open or len(self._writes) >= MAX_PENDING_WRITES:
                REDIS_DROPPED.inc()
            else:
                self._writes[key] = answer
        if self._writes:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what has gathered in this turn of the loop."""
        self._flush_due = False
        connection = self._link.connection
        if connection is None:
            if self._asked or self._writes:
                self._asked_since = self._asked_since or self._loop.time()
                self._link.demand()
            return
        if self._asked:
            self._look_up(connection)
        if self._writes and not self._writing and not connection.paused:
            self._write(connection)

    def _look_up(self, connection: Connection) -> None:
        asked, self._asked = self._asked, []
        if connection.paused:
            self._breaker.refused("get", "Redis takes in less than it is sent")
            self._answer(asked, {})
            return
        now = self._loop.time()
        since, self._asked_since = self._asked_since or now, 0.0
        keys = list({key: None for question in asked for key in question[0]})
        calls = [packed(b"MGET", *keys[at : at + MAX_KEYS_PER_CALL]) for at in range(0, len(keys), MAX_KEYS_PER_CALL)]
        then = partial(self._looked_up, connection, asked, keys, perf_counter())
        self._link.send(connection, "get", b"".join(calls), len(calls), then, since=since)

    def _looked_up(
        self,
        connection: Connection,
        asked: list[Question],
        keys: list[bytes],
        sent: float,
        replies: Replies | Exception,
    ) -> None:
        found: dict[bytes, Answer] = {}
        try:
            if not isinstance(replies, Exception):
                found = _read(keys, replies)
                REDIS_GET_SECONDS.observe(perf_counter() - sent)
                self._breaker.succeeded()
        except ReplyError as exc:
            self._breaker.failed("get", exc)
        except Exception as exc:  # whatever it is, nobody may wait for an answer that will not come
            connection.end(exc, "get")
        finally:
            self._answer(asked, found)

    def _answer(self, asked: list[Question], found: dict[bytes, Answer]) -> None:
        for keys, future in asked:
            self._asked_keys -= len(keys)
            if not future.done():
                future.set_result({key: found[key] for key in keys if key in found})

    def _write(self, connection: Connection) -> None:
        items = list(islice(self._writes.items(), MAX_WRITES_PER_CALL))
        for key, _ in items:
            del self._writes[key]
        now = self._loop.time()
        sets = [packed(b"SET", key, pack(answer), b"PX", self._life()) for key, answer in items]
        self._writing = True
        then = partial(self._written, len(items), perf_counter())  # the loop's own clock counts milliseconds
        self._link.send(connection, "set", b"".join(sets), len(items), then, since=now)

    def _life(self) -> bytes:
        """Milliseconds for one entry."""
        return b"%d" % max(1, round(jittered(self._ttl_seconds) * 1000))

    def _written(self, count: int, sent: float, replies: Replies | Exception) -> None:
        self._writing = False
        if isinstance(replies, Exception):
            REDIS_DROPPED.inc(count)
            return
        REDIS_SET_SECONDS.observe(perf_counter() - sent)
        errors = [reply for reply in replies if isinstance(reply, ReplyError)]
        if errors:  # memory full, a read-only replica: that says nothing against reading
            REDIS_DROPPED.inc(len(errors))
            self._breaker.refused("set", str(errors[0]))
        if self._writes:
            self._flush_soon()

    def _give_up(self) -> None:
        """Nobody answers now: who asks goes without, and what is to be written waits for better times, if they come."""
        asked, self._asked = self._asked, []
        self._asked_since = 0.0
        self._answer(asked, {})
        if self._breaker.open:
            REDIS_DROPPED.inc(len(self._writes))
            self._writes.clear()
        elif self._writes:
            self._flush_soon()


def _read(keys: list[bytes], replies: Replies) -> dict[bytes, Answer]:
    """Keys and what came for them -> answers; raises as `values_of` does."""
    found = {}
    for key, value in zip(keys, values_of(replies, len(keys)), strict=True):
        answer = unpack(value) if isinstance(value, bytes) else None
        if answer is not None:
            found[key] = answer
    return found
