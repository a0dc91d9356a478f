"""What every response has in common: request id, time, latency, one metric, one line in the log."""

import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.lifecycle import Lifecycle
from app.metrics import IN_FLIGHT, REQUEST_SECONDS, REQUESTS

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""What may be copied into headers and logs as it came."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left before the answer; it stands in logs and metrics only."""

log = structlog.get_logger()


@dataclass
class RequestFacts:
    """What the endpoint knows of a request that the log line wants."""

    request_id: str
    fields: dict[str, object] = field(default_factory=dict)


class ObserveRequests:
    """Outermost middleware: identifies, times, counts and logs each request, and answers 500 for our own bugs."""

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        facts = RequestFacts(_request_id(scope))
        scope.setdefault("state", {})["facts"] = facts
        status = CLIENT_CLOSED_REQUEST

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = facts.request_id
                headers["X-Timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                headers["X-Latency-ms"] = f"{(time.perf_counter() - began) * 1000:.3f}"
                if self._lifecycle.draining:  # so that clients come back through another pod
                    headers["Connection"] = "close"
            await send(message)

        IN_FLIGHT.inc()
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("unexpected_error", request_id=facts.request_id)
            if status != CLIENT_CLOSED_REQUEST:  # too late to answer: the server must cut the response off
                raise
            await _internal_error(send_with_headers)
        finally:
            _record(scope, facts, status, time.perf_counter() - began)


def _record(scope: Scope, facts: RequestFacts, status: int, seconds: float) -> None:
    """Count and log, by the route's template: raw paths and methods would make endless series."""
    route: str = getattr(scope.get("route"), "path", "unmatched")
    method = scope["method"] if scope["method"] in METHODS else "other"
    IN_FLIGHT.dec()
    REQUESTS.labels(route, method, status).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)
    log.info(
        "request",
        request_id=facts.request_id,
        method=method,
        route=route,
        status=status,
        latency_ms=round(seconds * 1000, 3),
        **facts.fields,
    )


def _request_id(scope: Scope) -> str:
    """The caller's id where it is sane, a new one otherwise."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(text := bytes(value).decode("latin-1")):
            return text
    return uuid4().hex


async def _internal_error(send: Send) -> None:
    detail = {"type": "internal_error", "loc": [], "msg": "This is a bug of ours; the log has it under the request id."}
    body = json.dumps({"detail": [detail]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
