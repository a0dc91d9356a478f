"""What every response has in common: request id, time, latency, one metric, one line in the log.

This is the outermost layer and on the path of every cache hit, where a microsecond counts: predictions go straight to
their endpoint, everything else through FastAPI.
"""

import os
import re
import time
from asyncio import CancelledError, Future
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access_log import CLIENT_CLOSED_REQUEST, AccessLog, Clock, RequestFacts
from app.errors import AppError
from app.lifecycle import Lifecycle
from app.metrics import IN_FLIGHT, LATENCY_BUCKETS, REQUEST_SECONDS, REQUESTS
from app.predict import PATH, PredictEndpoint
from app.recording import LoopCounter, LoopHistogram
from app.replies import Headers, Reply, refusal
from app.scoring import Recalled
from app.server import Response
from app.tracing import Answered

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""What may be copied into headers and logs as it came."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
EXPECTED = (200, 500, 503, 504)
"""Statuses of predictions that the promise counts."""
BUG = "This is a bug of ours; the log has it under the request id."

log = structlog.get_logger()


class ObserveRequests:
    """Outermost middleware: identifies, times, counts and logs each request, and answers 500 for our own bugs."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        paths: Sequence[str],
        lifecycle: Lifecycle,
        endpoint: PredictEndpoint,
        access_log: AccessLog,
    ) -> None:
        self._app = app
        self._paths = paths
        self._lifecycle = lifecycle
        self._endpoint = endpoint
        self._access_log = access_log
        self._timestamp = Clock()
        # Unique without a system call a request: random for the process, counted within it.
        self._id_prefix, self._id_number = os.urandom(8).hex(), count()
        self._tracing = lifecycle.tracing
        self._in_flight = 0
        lifecycle.recorder.watch(IN_FLIGHT, lambda: self._in_flight)
        self._requests: dict[tuple[str, str, int], LoopCounter] = {}
        self._seconds: dict[tuple[str, int], LoopHistogram] = {}
        for status in EXPECTED:  # a series that appears with its first event has no rate at that event
            self._begin_series(PATH, "POST", status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts = RequestFacts(self._request_id(scope["headers"]), self._timestamp())
        self._in_flight += 1
        predicts = scope["path"] == PATH and scope["method"] == "POST"
        if self._tracing is not None:
            facts.trace = self._tracing.begin(scope["headers"], may_start=predicts)
        try:
            if predicts:
                await self._send(await self._endpoint(scope, receive, facts.trace), facts, send)
            else:
                scope.setdefault("state", {})["facts"] = facts
                await self._app(scope, receive, self._with_headers(send, facts))
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("unexpected_error", request_id=facts.request_id)
            if facts.status != CLIENT_CLOSED_REQUEST:  # too late to answer: the server must cut the response off
                raise
            await self._send(refusal(AppError(BUG)), facts, send)
        finally:
            self._in_flight -= 1
            self._record(scope, facts)

    def predict(
        self, scope: Scope, body: bytes, respond: Callable[[Response], object]
    ) -> Response | Future[Any] | None:
        """A prediction past ASGI, for `app.server`; what is answered, measured, logged and traced is the same.

        Gives the response if it is known at once; a future, upon which `respond` will be called unless it is cancelled,
        if Redis or the model must be asked; and None for what ASGI should have.
        """
        if len(body) > self._endpoint.max_body_bytes:
            return None
        facts = RequestFacts(self._request_id(scope["headers"]), self._timestamp())
        if self._tracing is not None:
            facts.trace = self._tracing.begin(scope["headers"], may_start=True)
        reply = self._endpoint.at_once(body, facts.trace)
        if isinstance(reply, Reply):
            return self._response(reply, scope, facts)
        pending = self._endpoint.pending(reply)
        self._in_flight += 1
        pending.add_done_callback(partial(self._predicted, scope, facts, respond, reply))
        return pending

    def _predicted(
        self,
        scope: Scope,
        facts: RequestFacts,
        respond: Callable[[Response], object],
        recalled: Recalled,
        pending: Future[Any],
    ) -> None:
        self._in_flight -= 1
        try:
            reply = self._endpoint.conclude(recalled, pending)
        except CancelledError:
            self._record(scope, facts)
            return
        except Exception:
            log.exception("unexpected_error", request_id=facts.request_id)
            reply = refusal(AppError(BUG))
        respond(self._response(reply, scope, facts))

    def _response(self, reply: Reply, scope: Scope, facts: RequestFacts) -> Response:
        """As it is sent past ASGI; it has then been recorded."""
        facts.status, facts.fields = reply.status, reply.fields
        lines = [b"%b: %b\r\n" % header for header in self._headers(facts)]
        self._record(scope, facts)
        return Response(reply.status, b"".join([reply.head, *lines, b"\r\n", reply.body]), self._lifecycle.draining)

    async def _send(self, reply: Reply, facts: RequestFacts, send: Send) -> None:
        """A whole response at once."""
        facts.status, facts.fields = reply.status, reply.fields
        headers = reply.headers + self._headers(facts)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _with_headers(self, send: Send, facts: RequestFacts) -> Send:
        """A `send` that adds our headers to whatever FastAPI answers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status = message["status"]
                message["headers"] = [*message["headers"], *self._headers(facts)]
            await send(message)

        return send_with_headers

    def _headers(self, facts: RequestFacts) -> Headers:
        """What every response carries."""
        headers = [
            (b"x-request-id", facts.request_id.encode()),
            (b"x-timestamp", facts.timestamp.encode()),
            (b"x-latency-ms", b"%.3f" % ((time.perf_counter() - facts.began) * 1000)),
        ]
        if self._lifecycle.draining:  # so that clients come back through another pod
            headers.append((b"connection", b"close"))
        return headers

    def _record(self, scope: Scope, facts: RequestFacts) -> None:
        """Count and log, by the route's template: raw paths and methods would make endless series."""
        seconds = time.perf_counter() - facts.began
        route = PATH if scope["path"] == PATH else self._route(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        histogram = self._count(route, method, facts.status)
        if facts.trace is None or self._tracing is None:
            histogram.observe(seconds)
        else:
            histogram.observe_with_exemplar(seconds, {"trace_id": facts.trace.trace_id})
            facts.fields += f'"trace_id": "{facts.trace.trace_id}", '
            status = facts.status if facts.status != CLIENT_CLOSED_REQUEST else None
            answer = Answered(method, route, status, facts.began, seconds, facts.request_id)
            self._tracing.end(facts.trace, scope, answer)
        if self._access_log.enabled:
            self._access_log.write(facts, method=method, route=route, seconds=seconds)

    def _count(self, route: str, method: str, status: int) -> LoopHistogram:
        """Count a request; returns where its time belongs."""
        requests = self._requests.get((route, method, status)) or self._begin_series(route, method, status)
        requests.count += 1
        return self._seconds[route, status]

    def _begin_series(self, route: str, method: str, status: int) -> LoopCounter:
        requests = self._requests[route, method, status] = LoopCounter(REQUESTS.labels(route, method, status))
        if (route, status) not in self._seconds:
            self._seconds[route, status] = LoopHistogram(REQUEST_SECONDS.labels(route, status), LATENCY_BUCKETS)
        return requests

    def _route(self, scope: Scope) -> str:
        """The template of the route that answered."""
        template: str | None = getattr(scope.get("route"), "path", None)  # FastAPI's routes tell, Starlette's do not
        if template is None:
            template = next((path for path in self._paths if f"{scope['path']}/".startswith(f"{path}/")), "unmatched")
        return template

    def _request_id(self, headers: Headers) -> str:
        """The caller's id where it is sane, a new one otherwise."""
        for name, value in headers:
            if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(value):
                sane: str = value.decode("ascii")
                return sane
        return f"{self._id_prefix}{next(self._id_number):08x}"
