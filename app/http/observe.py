"""What every response has in common: request id, time, latency, one metric, one line in the log, one span."""

import os
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from time import perf_counter
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.refusals import bug, refusal_before
from app.keys.account import Account
from app.lifecycle import Lifecycle
from app.telemetry.logs import stdout, to_json
from app.telemetry.metrics import IN_FLIGHT, request_series
from app.telemetry.tracing import NO_SPAN, Span, end_request, start_request, trace_id

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""What may be copied into headers and logs as it came."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PATH = "/predict"
EXPECTED = (200, 500, 503, 504)
"""Statuses of predictions that the promise counts."""
NOSNIFF = b"x-content-type-options", b"nosniff"
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left before the answer; it stands in logs and metrics only."""

log = structlog.get_logger()


class Exchange:
    """One request and its response."""

    __slots__ = (
        *("_lifecycle", "_send", "account", "began", "fields", "headers"),
        *("request_id", "span", "status", "timestamp"),
    )

    def __init__(self, request_id: str, headers: dict[bytes, bytes], send: Send, lifecycle: Lifecycle) -> None:
        self.began = perf_counter()
        now = time.time()
        self.timestamp = f"{utc_second(int(now))}.{int(now % 1 * 1000):03d}Z"
        self.request_id = request_id
        self.headers = headers
        self.status = CLIENT_CLOSED_REQUEST
        self.span: Span = NO_SPAN
        self.fields: dict[str, Any] = {}
        """What the endpoint adds to the log line; `texts` is what an account pays for."""
        self.account: Account | None = None
        """Whose request this is, where callers have keys."""
        self._send = send
        self._lifecycle = lifecycle

    async def send(self, message: Message) -> None:
        """Send on what the application says, with the headers that every response has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [
                *message["headers"],
                (b"x-request-id", self.request_id.encode()),
                (b"x-timestamp", self.timestamp.encode()),
                (b"x-latency-ms", b"%.3f" % ((perf_counter() - self.began) * 1000)),
                NOSNIFF,
            ]
            if self.account is not None:
                headers += self.account.pay(self.fields.get("texts", 1))
            if self._lifecycle.draining:  # so that clients come back through another pod
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        await self._send(message)


class Observe:
    """Middleware: identifies, times, counts, logs and traces each request, and answers 500 for our own bugs.

    What is inside finds its `Exchange` in `scope["state"]["exchange"]`. `predictions` are the routes of the promise.
    """

    def __init__(
        self, app: ASGIApp, *, lifecycle: Lifecycle, predictions: Sequence[str], traces: bool, logs: bool
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._traces = traces
        self._logs = logs
        # Unique without a system call a request: random for the process, counted within it.
        self._id_prefix, self._id_number = os.urandom(8).hex().encode(), count()
        for route in predictions:
            for status in EXPECTED:  # a series that appears with its first event has no rate at that event
                request_series("POST", route, status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        told = headers.get(b"x-request-id")
        if told is None or not SANE_REQUEST_ID.fullmatch(told):
            told = b"%b%08x" % (self._id_prefix, next(self._id_number))
        exchange = Exchange(told.decode(), headers, send, self._lifecycle)
        # Only predictions, which are all that is posted, start a trace of their own: probes would fill a collector.
        if self._traces and (b"traceparent" in headers or scope["method"] == "POST"):
            exchange.span = start_request(headers, exchange.began)
        scope.setdefault("state", {})["exchange"] = exchange
        app = self._app
        if b"host" not in headers or len(headers) < len(scope["headers"]):  # nothing, or some header twice
            app = refusal_before(scope) or app
        IN_FLIGHT.inc()
        try:
            await app(scope, receive, exchange.send)
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("unexpected_error", request_id=exchange.request_id)
            if exchange.status != CLIENT_CLOSED_REQUEST:  # too late to answer: the server must cut the response off
                raise
            await bug()(scope, receive, exchange.send)
        finally:
            IN_FLIGHT.dec()
            self._record(scope, exchange)

    def _record(self, scope: Scope, exchange: Exchange) -> None:
        """Count, log and trace, by the route's template: raw paths and methods would make endless series."""
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = PATH if scope["path"] == PATH else getattr(scope.get("route"), "path", "unmatched")
        status, fields = exchange.status, exchange.fields
        requests, durations = request_series(method, route, status)
        seconds = perf_counter() - exchange.began
        requests.inc()
        if exchange.span.is_recording():
            fields["trace_id"] = trace_id(exchange.span)
            durations.observe(seconds, {"trace_id": fields["trace_id"]})
            exchange.span.set_attribute("valence.request_id", exchange.request_id)
            end_request(exchange.span, scope, method, route, None if status == CLIENT_CLOSED_REQUEST else status)
        else:
            durations.observe(seconds)
        if self._logs:
            if exchange.account is not None:
                fields["key"] = exchange.account.name
            fields["request_id"], fields["method"], fields["route"] = exchange.request_id, method, route
            fields["status"], fields["latency_ms"] = status, round(seconds * 1000, 3)
            fields["timestamp"] = exchange.timestamp
            # All fields are there already: structlog would take five times as long for the line.
            stdout.write(to_json({"event": "request", **fields, "level": "info"}))


@lru_cache(1)
def utc_second(second: int) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, such as 2026-11-21T03:18:34; formatted once a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
