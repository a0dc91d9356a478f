"""The bodies of requests: bounded in bytes, in time, and all together."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.errors import AppError, TooLarge, TooManyBodies, TooSlow
from app.lifecycle import Lifecycle

CLOCK_SECONDS = 0.002
"""uvloop's clock counts milliseconds, so that a timer may come a little before its time."""
LINGER_BYTES, LINGER_SECONDS = 16_777_216, 2.0
"""How much of a body that was refused is read on, and how long."""


class Bodies:
    """Reads bodies, and knows how much of them is in memory."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        settings = lifecycle.settings
        self._lifecycle = lifecycle
        self._max_body_bytes = settings.max_body_bytes
        self._timeout_seconds = settings.timeout
        self._max_bodies_bytes = settings.max_bodies_bytes
        self._bodies_bytes = 0
        """Of all bodies that are being received, or wait for the model to be loaded."""
        self._reading: dict[asyncio.Task[Any], float] = {}
        """Who reads a body, and until when (the loop's time)."""
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Raises TooLarge as soon as it is known to exceed the limit, TooSlow after the timeout."""
        announced = int(headers.get(b"content-length", 0))
        if announced > self._max_body_bytes:
            if b"expect" not in headers:  # who waits for "100 Continue" has sent nothing yet
                await discard(receive)
            raise self._too_large(f"{announced} bytes exceed")
        task = asyncio.current_task(self._lifecycle.loop)
        assert task is not None
        self._reading[task] = self._lifecycle.loop.time() + self._timeout_seconds
        # One timer for all bodies that are being read: a timer each would cost every hit a microsecond.
        if self._timer is None:
            self._timer = self._lifecycle.loop.call_later(self._timeout_seconds, self._end_late_readings)
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message["type"] == "http.request" and len(body) <= self._max_body_bytes and not message.get("more_body"):
                return body  # nearly every one comes at once
            rest = self._read_rest(message, receive)
            del message, body  # while more is awaited, nothing is held that is not counted
            return await rest
        except asyncio.CancelledError as exc:
            if task in self._reading or task.uncancel():  # somebody else has cancelled this request
                raise
            msg = f"the body did not come within {self._timeout_seconds:g} s (VALENCE_TIMEOUT)"
            raise TooSlow(msg, loc=["body"], headers={"Connection": "close"}) from exc
        finally:
            self._reading.pop(task, None)

    def _end_late_readings(self) -> None:
        """Cancel whoever has read for too long; the oldest come first."""
        now = self._lifecycle.loop.time() + CLOCK_SECONDS
        while (oldest := next(iter(self._reading), None)) and self._reading[oldest] <= now:
            del self._reading[oldest]
            oldest.cancel()
        self._timer = None
        if oldest is not None:
            self._timer = self._lifecycle.loop.call_at(self._reading[oldest], self._end_late_readings)

    async def _read_rest(self, message: Message, receive: Receive) -> bytes:
        """The body that begins with `message`, in however many messages it comes."""
        body, more = bytearray(), True
        try:
            while more:
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                piece = message.get("body", b"")
                more = message.get("more_body", False)
                self._bodies_bytes += len(piece)
                body += piece
                del message, piece
                if refusal := self._refusal(len(body)):
                    self._bodies_bytes -= len(body)
                    body.clear()
                    if more:
                        await discard(receive)
                    raise refusal
                if more:
                    message = await receive()
            return bytes(body)
        finally:
            self._bodies_bytes -= len(body)

    def _refusal(self, size: int) -> AppError | None:
        """Why a body of which so much has been received is read no further, if so."""
        if size > self._max_body_bytes:
            return self._too_large("the body exceeds")
        if self._bodies_bytes > self._max_bodies_bytes:
            msg = f"bodies exceed {self._max_bodies_bytes} bytes in all (VALENCE_MAX_BODIES_BYTES)"
            return TooManyBodies(msg, loc=["body"], headers={"Connection": "close", "Retry-After": "1"})
        return None

    def _too_large(self, what: str) -> TooLarge:
        """There may be more to come, so the connection cannot be used again."""
        msg = f"{what} the limit of {self._max_body_bytes} bytes (VALENCE_MAX_BODY_BYTES)"
        return TooLarge(msg, loc=["body"], headers={"Connection": "close"})

    @contextmanager
    def held(self, body: bytes) -> Iterator[None]:
        """Count a whole body that must wait. Raises TooManyBodies when there are more than there may be."""
        self._bodies_bytes += len(body)
        try:
            if refusal := self._refusal(0):
                raise refusal
            yield
        finally:
            self._bodies_bytes -= len(body)


async def discard(receive: Receive) -> None:
    """Read on for a while: to close a connection with unread data resets it, and the client would lose our answer.

    The same as nginx's lingering_close.
    """
    size, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while more and size <= LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
                del message
