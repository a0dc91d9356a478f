"""uvicorn's protocol with bounds on what connections may take, and one write for each response.

What it does is written so that it could become part of uvicorn's `HttpToolsProtocol` (docs/upstream-uvicorn.md).
"""

from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.errors import AppError, HeadTooLarge, Malformed, SlowHead, TooManyConnections, UrlTooLong
from app.http.transport import GatheringTransport, PipelineFlow

MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES = 32_768, 100, 8_192
SLICE_BYTES = 16_384
"""Parsed at once: a head can't be larger than this beyond its bound before that is noticed."""
LOG_AGAIN_SECONDS = 10.0
FIRST_REQUEST_SECONDS = 1.0
"""How long a process that ends waits for the first request of a connection: it may be on its way, or here unread."""

log = structlog.get_logger()


@dataclass
class Limits:
    """What all connections of a worker together, and each of them, may take."""

    seconds: float = 30
    """For the head of a request to arrive, and for the rest of a body that was answered already."""
    max_connections: int = 2048
    state: ServerState | None = None
    """uvicorn's counts, from the first connection on."""
    quiet_until: float = 0
    """When the next closed connections are worth a line in the log, in the loop's time."""


class Protocol(HttpToolsProtocol):
    """One connection.

    A request that is refused before it is one (not HTTP, too large a head) is passed to the application in its turn,
    without headers, and with the `AppError` under "refusal" in its scope's state; nothing is read behind it.
    """

    def __init__(self, *args: Any, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits or Limits()
        self._limits.state = self.server_state
        self._head_bytes = 0  # received of a head that is not complete, with what stood before it in its first slice
        self._late: TimerHandle | None = None
        self._refusal: AppError | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin, and close it if nothing is ever sent: uvicorn's own timer starts with the first answer."""
        super().connection_made(GatheringTransport(transport, self.loop))  # type: ignore[arg-type]
        self.flow = PipelineFlow(transport, self.pipeline)
        if len(self.connections) > self._limits.max_connections and not self._close_idle_connections():
            limit = f"{self._limits.max_connections} connections (VALENCE_MAX_CONNECTIONS, or the limit of open files)"
            self._refuse(TooManyConnections(f"{limit} are busy", headers={"Retry-After": "1"}))
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, without the timers that uvicorn leaves behind where the client has reset the connection."""
        super().connection_lost(exc)
        for timer in (self.timeout_keep_alive_task, self._late):
            if timer is not None:
                timer.cancel()
        self.timeout_keep_alive_task = self._late = None

    def shutdown(self) -> None:
        """End when there is nothing to do. A new connection gets its first answer: to close it would reset it."""
        if self.cycle is None and not self.transport.is_closing():
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse, in slices that are small enough for the bounds on heads to hold."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if len(data) <= SLICE_BYTES:
            self._feed(data)
        else:
            for start in range(0, len(data), SLICE_BYTES):
                self._feed(data[start : start + SLICE_BYTES])

    def on_headers_complete(self) -> None:
        """A request begins. Raises an AppError for a head that is refused."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._head_bytes > SLICE_BYTES or len(self.headers) > MAX_HEADERS or len(self.url) > MAX_URL_BYTES:
            self._check_head()
        self._head_bytes = 0
        if not self.parser.should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise Malformed("this is no proxy: CONNECT is not served")

    def on_message_complete(self) -> None:
        """The whole body is here; where it was answered before that, the connection is idle from now on."""
        if self.parser.should_upgrade():
            return
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        elif not self.pipeline:
            self._idle()

    def _idle(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _feed(self, data: bytes) -> None:
        while self._refusal is None:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._begin_parsing()
            except httptools.HttpParserError as exc:
                refusal = (
                    exc.__context__ if isinstance(exc.__context__, AppError) else Malformed(f"not HTTP/1.1: {exc}")
                )
                self._refuse(refusal)
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope or cycle.response_complete:
            self._expect_more(len(data))

    def _head_without_upgrade(self) -> bytes:
        """The head that was just parsed, so that it can be parsed as if no other protocol had been proposed.

        RFC 9110, 7.8: a server may ignore the field and go on with this protocol. llhttp takes whatever stands behind
        such a head for the new protocol, uvicorn for the next request: a body would become a request of its own, and
        behind a proxy somebody else would get its answer.
        """
        version = self.parser.get_http_version().encode()
        first = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)
        fields = [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
        return b"\r\n".join([first, *fields, b"", b""])

    def _begin_parsing(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def _expect_more(self, received: int) -> None:
        """What was received ends within a head, or behind an answer: bound what may come, and how long it may take."""
        if self._refusal is not None or self.transport.is_closing() or self.timeout_keep_alive_task is not None:
            return
        if self._in_head():
            self._head_bytes += received
            if self._head_bytes > MAX_HEAD_BYTES + SLICE_BYTES or len(self.headers) > MAX_HEADERS:
                self._refuse(HeadTooLarge(self._head_limits()))
            elif len(self.url) > MAX_URL_BYTES:
                self._refuse(UrlTooLong(self._url_limit()))
        if self._late is None:
            self._late = self.loop.call_later(self._limits.seconds, self._end_late)

    def _in_head(self) -> bool:
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _check_head(self) -> None:
        if len(self.url) > MAX_URL_BYTES:
            raise UrlTooLong(self._url_limit())
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            raise HeadTooLarge(self._head_limits())

    @staticmethod
    def _head_limits() -> str:
        return f"the head exceeds {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} header lines"

    @staticmethod
    def _url_limit() -> str:
        return f"the URL exceeds {MAX_URL_BYTES} bytes"

    def _end_late(self) -> None:
        self._late = None
        if self.flow.read_paused:  # it is we who do not read
            self._late = self.loop.call_later(self._limits.seconds, self._end_late)
        elif self._in_head():
            self._refuse(SlowHead(f"the head did not come within {self._limits.seconds:g} s (VALENCE_TIMEOUT)"))
        else:
            self.transport.close()

    def _refuse(self, refusal: AppError) -> None:
        """Answer behind all requests before it, read what still comes for a while, and close."""
        if self._late is not None:
            self._late.cancel()
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self._abandon_request()
        self._begin_parsing()
        self.parser.feed_data(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        self._refusal = refusal
        self.scope["method"] = self.scope["path"] = ""
        self.scope["state"]["refusal"] = refusal
        self.transport.lingers = True  # type: ignore[attr-defined]

    def _abandon_request(self) -> None:
        """End a request whose body can't be read any further, as if its client had left."""
        broken = self.cycle
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        elif broken.response_started:
            self.transport.close()
        else:
            broken.disconnected = broken.response_complete = True
            broken.message_event.set()

    def _close_idle_connections(self) -> bool:
        """Close some that wait for their next request, the longest idle ones; False when there is none."""
        idle = [
            (one.timeout_keep_alive_task.when(), one)
            for one in self.connections
            if isinstance(one, Protocol) and one is not self and one.timeout_keep_alive_task is not None
        ]
        idle.sort(key=lambda pair: pair[0])
        closed = idle[: max(1, len(idle) // 32)]
        for _, one in closed:
            one.close_idle()
        if closed:
            self._report_closed(len(closed))
        return bool(closed)

    def close_idle(self) -> None:
        """Close this one, which is idle no longer."""
        self.transport.close()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _report_closed(self, closed: int) -> None:
        from app.telemetry.metrics import IDLE_CLOSED  # noqa: PLC0415 - gunicorn's parent, too, imports this module

        IDLE_CLOSED.inc(closed)
        if self.loop.time() >= self._limits.quiet_until:
            self._limits.quiet_until = self.loop.time() + LOG_AGAIN_SECONDS
            log.warning("idle_connections_closed", closed=closed, max_connections=self._limits.max_connections)
