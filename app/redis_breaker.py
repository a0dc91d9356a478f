"""Leaves Redis alone after failures in a row, and looks from time to time whether it answers again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.metrics import REDIS_ERRORS, REDIS_OPEN

FAILURES_TO_OPEN = 3
RETRY_SECONDS = 1.0
QUIET_SECONDS = 60.0
"""Between two log lines about refusals."""

log = structlog.get_logger()


class Breaker:
    """Counts what goes wrong, and says it once. Lives on the event loop.

    `on_open` is called when the breaker opens, `retry` once a second while it is open: it raises, or all is well again.
    """

    def __init__(self, *, on_open: Callable[[], None], retry: Callable[[], Awaitable[None]]) -> None:
        self.open = False
        """Whether Redis is left alone."""
        self._on_open = on_open
        self._retry = retry
        self._failures = 0
        self._quiet_until = 0.0
        self._recovering: asyncio.Task[None] | None = None

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0

    def failed(self, operation: str, exc: Exception) -> None:
        """Count a failure; open after `FAILURES_TO_OPEN` in a row."""
        REDIS_ERRORS.labels(operation).inc()
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN and not self.open:
            self.open = True
            REDIS_OPEN.set(1)
            log.warning("redis_breaker_opened", operation=operation, error=_reason(exc))
            self._recovering = asyncio.create_task(self._recover(_reason(exc)))
            self._on_open()

    def refused(self, operation: str, error: str) -> None:
        """Count a refusal, which opens nothing: a full Redis can still be read."""
        REDIS_ERRORS.labels(operation).inc()
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:  # a full Redis refuses every write
            self._quiet_until = now + QUIET_SECONDS
            log.warning("redis_refused", operation=operation, error=error)

    async def close(self) -> None:
        """Stay open for ever; look no more."""
        self.open = True
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.wait([self._recovering])

    async def _recover(self, reason: str) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._retry()
            except Exception as exc:  # whatever it is, looking goes on
                if _reason(exc) != reason:
                    reason = _reason(exc)
                    log.warning("redis_still_fails", error=reason)
            else:
                break
        self._failures = 0
        self.open = False
        REDIS_OPEN.set(0)
        log.info("redis_breaker_closed")


def _reason(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
