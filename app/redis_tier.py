"""The second cache tier: Redis, shared by all pods, and never waited for longer than one short timeout.

All look-ups that arrive while one is on its way go out together in the next `MGET`; writes are collected and sent by a
task of their own. So one request never costs one round trip, the connections number two, and a slow Redis delays nobody
by more than the timeout. After `FAILURES_TO_OPEN` failures in a row the breaker opens: requests pass by without asking,
while a task pings until Redis answers again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from app.cache import jittered, pack, unpack
from app.metrics import REDIS_DROPPED, REDIS_ERRORS, REDIS_OPEN
from app.model import Answer

FAILURES_TO_OPEN = 3
PING_SECONDS = 1.0
QUIET_SECONDS = 60.0
"""Between two log lines about refusals."""
MAX_PENDING_WRITES = 10_000
MAX_KEYS_PER_CALL = 1_024

log = structlog.get_logger()


class Question(NamedTuple):
    """The keys that one request asks for, what came of it, and when it asked (in the loop's time)."""

    keys: Sequence[bytes]
    found: asyncio.Future[dict[bytes, Answer]]
    since: float


class RedisTier:
    """Look-ups and writes that cannot fail and cannot wait long. Use as an async context manager."""

    def __init__(self, url: str, *, timeout_seconds: float, ttl_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._ttl_seconds = ttl_seconds
        # redis-py would retry three times with a growing pause: a late answer is worth nothing here.
        self._client = Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            client_name="valence",
            # Cloud notices of maintenance: a round trip for each connection, and nothing here would act on one.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self._asked: list[Question] = []
        self._writes: dict[bytes, Answer] = {}
        self._look_up_due = asyncio.Event()
        self._write_due = asyncio.Event()
        self._failed_due = asyncio.Event()
        self._failures = 0
        self._quiet_until = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def open(self) -> bool:
        """Whether the breaker is open: Redis is left alone until it answers a ping."""
        return self._failures >= FAILURES_TO_OPEN

    async def __aenter__(self) -> Self:
        loops = (self._look_up_loop(), self._write_loop(), self._recover_loop())
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        return self

    async def __aexit__(self, *_: object) -> None:
        # redis-py can turn a cancellation into an error of its own, after which the loop would go on: cancel until it
        # ends.
        while running := [task for task in self._tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=self._timeout_seconds)
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                await self._client.aclose()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Those of `keys` that Redis knows; empty when it is down or open, or late by the timeout and a quarter."""
        if self.open:
            return {}
        loop = asyncio.get_running_loop()
        question = Question(keys, loop.create_future(), loop.time())
        self._asked.append(question)
        self._look_up_due.set()
        return await question.found

    def put(self, items: Iterable[tuple[bytes, Answer]]) -> None:
        """Store answers some time soon; returns at once. Beyond `MAX_PENDING_WRITES` they are dropped."""
        for key, answer in items:
            if self.open or len(self._writes) >= MAX_PENDING_WRITES:
                REDIS_DROPPED.inc()
            else:
                self._writes[key] = answer
        if self._writes:
            self._write_due.set()

    async def _look_up_loop(self) -> None:
        while True:
            await self._look_up_due.wait()
            self._look_up_due.clear()
            asked, self._asked = self._asked, []
            if not asked:  # answered already, when the look-up before this one failed
                continue
            keys = list(dict.fromkeys(key for question in asked for key in question.keys))
            found: dict[bytes, Answer] = {}
            try:
                for start in range(0, len(keys), MAX_KEYS_PER_CALL):
                    found |= await self._look_up(keys[start : start + MAX_KEYS_PER_CALL], since=asked[0].since)
                self._succeeded()
            except Exception as exc:  # whatever it is, nobody may wait for an answer that will not come
                self._failed("get", exc)
                asked += self._asked  # who asked meanwhile has waited long enough
                self._asked = []
            for question in asked:
                if not question.found.done():
                    question.found.set_result({key: found[key] for key in question.keys if key in found})

    async def _look_up(self, keys: list[bytes], *, since: float) -> dict[bytes, Answer]:
        """One `MGET`, as late as the first of those who ask allows, but with a quarter of the timeout at least."""
        now = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(max(since + self._timeout_seconds, now + self._timeout_seconds / 4)):
            values: list[bytes | None] = await self._client.mget(keys)  # type: ignore[assignment]
        answers = ((key, unpack(value)) for key, value in zip(keys, values, strict=True) if value is not None)
        return {key: answer for key, answer in answers if answer is not None}

    async def _write_loop(self) -> None:
        while True:
            await self._write_due.wait()
            self._write_due.clear()
            writes, self._writes = self._writes, {}
            try:
                pipeline = self._client.pipeline(transaction=False)
                for key, answer in writes.items():
                    pipeline.set(key, pack(answer), px=max(1, round(jittered(self._ttl_seconds) * 1000)))
                # Many writes take longer than one look-up, and nobody waits for them.
                async with asyncio.timeout(self._timeout_seconds * 10):
                    await pipeline.execute()
            except (RedisError, OSError, TimeoutError) as exc:
                REDIS_DROPPED.inc(len(writes))
                self._failed("set", exc)

    async def _recover_loop(self) -> None:
        while True:
            await self._failed_due.wait()
            self._failed_due.clear()
            while self.open:
                await asyncio.sleep(PING_SECONDS)
                try:
                    async with asyncio.timeout(self._timeout_seconds):
                        await self._client.ping()
                except (RedisError, OSError, TimeoutError):
                    continue
                self._succeeded()

    def _succeeded(self) -> None:
        """Forget the failures, and close the breaker if it was open."""
        if self.open:
            REDIS_OPEN.set(0)
            log.info("redis_breaker_closed")
        self._failures = 0

    def _failed(self, operation: str, exc: BaseException) -> None:
        """Count a failure. A refused write (memory full, read-only replica) says nothing against reading."""
        REDIS_ERRORS.labels(operation).inc()
        if isinstance(exc, ResponseError) and not isinstance(exc, RedisConnectionError):
            now = asyncio.get_running_loop().time()
            if now >= self._quiet_until:  # a full Redis refuses every write
                self._quiet_until = now + QUIET_SECONDS
                log.warning("redis_refused", operation=operation, error=str(exc))
            return
        self._failures += 1
        if self._failures == FAILURES_TO_OPEN:
            REDIS_OPEN.set(1)
            log.warning("redis_breaker_opened", operation=operation, error=f"{type(exc).__name__}: {exc}")
            self._failed_due.set()
