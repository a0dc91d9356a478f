"""Which requests are sampled, and the spans of requests and of batches handed on when they are over."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from app.spans import Attributes, Ids, Span, Trace, new_id

TRACEPARENT = re.compile(
    rb"(?!ff)(?!00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f](?:[02468ace]|([13579bdf]))(-.*)?"
)
"""Trace id, span id, and a third group where the caller is sampled: the last bit of the flags. Later versions may have
more behind that (https://www.w3.org/TR/trace-context/#traceparent-header)."""
MAX_TRACESTATE_BYTES = 512
FAILED = 500
"""The first status that is our fault: below it a span is not marked as an error, as the conventions want it."""
HOST = re.compile(rb"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
MAX_LINKS = 128
"""Of one batch; the SDK's own limit."""

Headers = Iterable[tuple[bytes, bytes]]


class Answered(NamedTuple):
    """How a request ended: what its metrics and its log line say, too."""

    method: str
    route: str
    status: int | None
    """None: the client left before."""
    began: float
    """By `time.perf_counter`."""
    seconds: float
    request_id: str


class Traced(Protocol):
    """A text in a batch (app/batching.py)."""

    ids: list[int]
    queued_at: float

    def traces(self) -> Sequence[tuple[Trace, bool]]:
        """The sampled requests that wait for it, and whether each was the one that handed it in."""


class Tracing:
    """Decides which requests are sampled, and hands on what they leave. Lives on the event loop.

    `export` takes spans and must not block. `sampled` decides for a trace id where no caller has decided; with
    `by_parent` a caller's decision is taken over.
    """

    def __init__(
        self, export: Callable[[Iterable[Span]], None], *, sampled: Callable[[int], bool], by_parent: bool
    ) -> None:
        self._export = export
        self._sampled = sampled
        self._by_parent = by_parent

    def begin(self, headers: Headers, *, may_start: bool) -> Trace | None:
        """The trace of a request, or None when it is not sampled. `may_start`: even if no caller has begun one."""
        callers = [value for name, value in headers if name == b"traceparent"]
        # Of several none can be believed, as the standard wants it, nor of course a malformed one.
        parent = TRACEPARENT.fullmatch(callers[0]) if len(callers) == 1 else None
        if parent is None:
            trace_id = new_id(128)
            return Trace(trace_id, 0, "") if may_start and self._sampled(trace_id) else None
        if not (parent[3] if self._by_parent else self._sampled(int(parent[1], 16))):
            return None
        state = b",".join(value for name, value in headers if name == b"tracestate")
        kept = state.decode("latin-1") if len(state) <= MAX_TRACESTATE_BYTES else ""
        return Trace(int(parent[1], 16), int(parent[2], 16), kept)

    def end(self, trace: Trace, scope: Mapping[str, Any], answer: Answered) -> None:
        """Hand on a request's spans, its own last."""
        name, attributes = _described(scope, answer)
        own = Span(
            name,
            trace.ids,
            trace.parent_id,
            answer.began,
            answer.began + answer.seconds,
            attributes | trace.attributes,
            "server",
            failed=answer.status is not None and answer.status >= FAILED,
            tracestate=trace.tracestate,
        )
        self._export([*trace.spans, own])

    def batch(
        self, texts: Sequence[Traced], computed: int, began: float, ended: float, error: Exception | None
    ) -> None:
        """One call of the model is over: its span, and a part of it for each sampled request, linked both ways.

        `computed`: tokens, padding included.
        """
        riders: dict[tuple[Trace, bool], list[Traced]] = {}
        for text in texts:
            for rider in text.traces():
                riders.setdefault(rider, []).append(text)
        if not riders:
            return
        tokens = sum(len(text.ids) for text in texts)
        attributes: Attributes = {
            "valence.batch.texts": len(texts),
            "valence.batch.tokens": tokens,
            "valence.batch.padding": computed - tokens,
        }
        if error is not None:
            attributes["error.type"] = type(error).__qualname__
        ids = Ids(new_id(128), new_id(64))
        for (trace, own), ridden in riders.items():
            mine: Attributes = {"valence.texts": len(ridden), **attributes}
            if own:
                queued = min(text.queued_at for text in ridden)
                trace.add("queue", queued, began, {"valence.texts": len(ridden)})
                trace.add("inference", began, ended, mine, links=[ids], failed=error is not None)
            else:
                trace.add("coalesced", trace.asked, ended, mine, links=[ids], failed=error is not None)
        links = list(dict.fromkeys(trace.ids for trace, _ in riders))[:MAX_LINKS]
        self._export([Span("batch", ids, 0, began, ended, attributes, links=links, failed=error is not None)])


def _described(scope: Mapping[str, Any], answer: Answered) -> tuple[str, Attributes]:
    """Name and attributes of a server span (https://opentelemetry.io/docs/specs/semconv/http/http-spans).

    A path that no route knows may hold anything, and is not told.
    """
    known = answer.method != "other"
    name = answer.method if known else "HTTP"
    attributes: Attributes = {
        "http.request.method": answer.method if known else "_OTHER",
        "url.scheme": scope.get("scheme", "http"),
        "valence.request_id": answer.request_id,
    }
    if answer.route != "unmatched":
        name += f" {answer.route}"
        attributes["http.route"] = answer.route
        if scope["path"] == answer.route:
            attributes["url.path"] = answer.route
    if answer.status is None:
        attributes["error.type"] = "client_disconnected"
    else:
        attributes["http.response.status_code"] = answer.status
        if answer.status >= FAILED:
            attributes["error.type"] = str(answer.status)
    host = next((HOST.fullmatch(value) for name, value in scope["headers"] if name == b"host"), None)
    if host is not None:
        attributes["server.address"] = host[1].decode().strip("[]")
        if host[2]:
            attributes["server.port"] = int(host[2])
    return name, attributes
