"""The second cache tier: Redis, shared by all pods, and never waited for longer than one short timeout.

redis-py does the talking. Here the look-ups of all requests gather into one `MGET` at a time, and the writes into one
pipeline; each call has a deadline that holds whatever redis-py does; and after failures in a row Redis is left alone
until it answers again. Redis is an accelerator, never a dependency: whatever fails is a miss.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from itertools import islice
from time import perf_counter
from typing import Any, Self

import structlog

from app.scoring.memory import Answer, jittered
from app.scoring.redis import CONNECT_SECONDS, Calls, RedisClient, reason
from app.scoring.stored import StoredAnswers
from app.telemetry.metrics import (
    REDIS_DROPPED,
    REDIS_ERRORS,
    REDIS_GET_SECONDS,
    REDIS_OPEN,
    REDIS_RECEIVED,
    REDIS_REJECTED,
    REDIS_SENT,
    REDIS_SET_SECONDS,
)

FAILURES_TO_OPEN = 3
RETRY_SECONDS = 1.0
LOG_AGAIN_SECONDS = 60.0
MAX_KEYS = 65_536
"""Keys that wait for their call; as many are under way. Beyond that Redis is too slow for us, and the model answers."""
MAX_PENDING_WRITES = 10_000
MAX_WRITES_PER_CALL = 128
"""What Redis does before a look-up that comes behind them takes half a millisecond."""
PROBE = [b"valence:probe:%d" % number for number in range(128)]
"""Needs the rights, the data and the nodes of a cluster that look-ups need; `PING` is answered without them."""

log = structlog.get_logger()


class Batch:
    """Look-ups that travel together: their keys, and what is found once `done` is set."""

    def __init__(self) -> None:
        self.keys: dict[bytes, None] = {}
        self.found: dict[bytes, Answer] = {}
        self.done = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None

    def answer(self, found: dict[bytes, Answer]) -> None:
        """Let all who wait go on. Does nothing the second time."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.done.is_set():
            self.found = found
            self.done.set()


class RedisTier:
    """Look-ups and writes that cannot fail and cannot wait long. Use as an async context manager, on one event loop.

    `timeout_seconds` bounds one look-up, `ttl_seconds` is how long Redis keeps an answer. What Redis holds is believed
    only with a checksum by `secret` (at most 64 bytes) and scores for as many `labels` as the model has. Raises
    ValueError, one line without credentials, for a URL that redis-py cannot use.
    """

    def __init__(self, url: str, *, timeout_seconds: float, ttl_seconds: float, secret: bytes, labels: int) -> None:
        self.open = False
        """Whether the breaker is open: Redis is left alone until it answers again."""
        self._client = RedisClient(url)
        self._stored = StoredAnswers(secret, labels)
        self._timeout_seconds = timeout_seconds
        self._ttl_seconds = ttl_seconds
        self._connected = False
        self._connecting = asyncio.Lock()
        self._failures = 0
        self._quiet_until = 0.0
        self._calls = Calls()
        self._next = Batch()
        self._asked = asyncio.Event()
        self._writes: dict[bytes, Answer] = {}
        self._written = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._asked.set()  # connect before anybody asks
        self._calls.start(self._look_up_for_ever())
        self._calls.start(self._write_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open = True
        self._take().answer({})
        self._calls.cancel()
        self._calls.start(self._client.close())
        await self._calls.wait(CONNECT_SECONDS)

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Those of `keys` that Redis knows; empty when it is down, or late by the timeout and a quarter."""
        batch = self._next
        if self.open or batch.done.is_set():  # given up, and still not sent: connecting takes long
            return {}
        if len(batch.keys) + len(keys) > MAX_KEYS:
            self._refused("get", f"more than {MAX_KEYS} keys would wait")
            return {}
        if batch.timer is None:
            batch.timer = asyncio.get_running_loop().call_later(self._timeout_seconds, self._give_up, batch)
            self._asked.set()
        batch.keys.update(dict.fromkeys(keys))
        await batch.done.wait()
        return {key: batch.found[key] for key in keys if key in batch.found}

    def put(self, items: Iterable[tuple[bytes, Answer]]) -> None:
        """Store answers some time soon; returns at once. Beyond `MAX_PENDING_WRITES` they are dropped."""
        for key, answer in items:
            if self.open or len(self._writes) >= MAX_PENDING_WRITES:
                REDIS_DROPPED.inc()
            else:
                self._writes[key] = answer
        if self._writes:
            self._written.set()

    def publish(self) -> None:
        """Set the gauge."""
        REDIS_OPEN.set(self.open)

    def _give_up(self, batch: Batch) -> None:
        # A quarter later: a loop that was itself held up (CPU quota) first reads what has arrived meanwhile.
        batch.timer = asyncio.get_running_loop().call_later(self._timeout_seconds / 4, batch.answer, {})

    def _take(self) -> Batch:
        batch, self._next = self._next, Batch()
        return batch

    async def _look_up_for_ever(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            connected = await self._succeeds("get", self._connect())
            batch = self._take()
            if connected and batch.keys and not batch.done.is_set():
                await self._succeeds("get", self._look_up(batch))
            batch.answer({})

    async def _look_up(self, batch: Batch) -> None:
        began = perf_counter()
        found: dict[bytes, bytes] = await self._calls.within(self._timeout_seconds, self._client.mget(list(batch.keys)))
        REDIS_GET_SECONDS.observe(perf_counter() - began)
        self._failures = 0
        REDIS_SENT.inc(sum(map(len, batch.keys)))
        REDIS_RECEIVED.inc(sum(map(len, found.values())))
        answers = {key: answer for key, value in found.items() if (answer := self._stored.unpack(key, value))}
        REDIS_REJECTED.inc(len(found) - len(answers))
        batch.answer(answers)

    async def _write_for_ever(self) -> None:
        while True:
            await self._written.wait()
            items = list(islice(self._writes.items(), MAX_WRITES_PER_CALL))
            for key, _ in items:
                del self._writes[key]
            if not self._writes:
                self._written.clear()
            if not (await self._succeeds("set", self._connect()) and await self._succeeds("set", self._write(items))):
                REDIS_DROPPED.inc(len(items))

    async def _write(self, items: list[tuple[bytes, Answer]]) -> None:
        began = perf_counter()
        sets = [
            (key, self._stored.pack(key, answer), max(1, round(jittered(self._ttl_seconds) * 1000)))
            for key, answer in items
        ]
        refusals = await self._calls.within(self._timeout_seconds, self._client.set(sets))
        REDIS_SET_SECONDS.observe(perf_counter() - began)
        REDIS_SENT.inc(sum(len(key) + len(value) for key, value, _ in sets))
        if refusals:  # memory full, a read-only replica: that says nothing against reading
            REDIS_DROPPED.inc(len(refusals))
            self._refused("set", reason(refusals[0]))

    async def _connect(self) -> None:
        """Have the connections that look-ups and writes need, in a time of their own."""
        async with self._connecting:
            if not self._connected:
                await self._calls.within(CONNECT_SECONDS, self._client.connect())
                self._connected = True

    async def _succeeds(self, operation: str, call: Coroutine[Any, Any, None]) -> bool:
        """Whether `call` does what it should. A failure is counted, and opens the breaker with those before it."""
        try:
            await call
        except Exception as exc:
            self._connected = False
            self._failures += 1
            REDIS_ERRORS.labels(operation).inc()
            if self._failures >= FAILURES_TO_OPEN and not self.open:
                self._open(operation, reason(exc))
            return False
        return True

    def _refused(self, operation: str, error: str) -> None:
        """Count what opens no breaker: a full Redis can still be read."""
        REDIS_ERRORS.labels(operation).inc()
        if perf_counter() >= self._quiet_until:  # a full Redis refuses every write
            self._quiet_until = perf_counter() + LOG_AGAIN_SECONDS
            self._connected = False  # after a failover the address may be another server's
            log.warning("redis_refused", operation=operation, error=error)

    def _open(self, operation: str, error: str) -> None:
        self.open = True
        REDIS_OPEN.set(1)
        REDIS_DROPPED.inc(len(self._writes))
        self._writes.clear()
        self._written.clear()
        self._take().answer({})
        log.warning("redis_breaker_opened", operation=operation, error=error)
        self._calls.start(self._close_when_answered(error))

    async def _close_when_answered(self, error: str) -> None:
        while self.open:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._connect()
                await self._calls.within(self._timeout_seconds, self._client.mget(PROBE))
                self.open = False
            except Exception as exc:
                self._connected = False
                if error != (error := reason(exc)):
                    log.warning("redis_still_fails", error=error)
        self._failures = 0
        REDIS_OPEN.set(0)
        log.info("redis_breaker_closed")
