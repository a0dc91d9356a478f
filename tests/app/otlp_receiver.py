"""A collector of the tests' own: takes OTLP over HTTP or gRPC and decodes what the service really sent."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.conftest import until

FAST = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
"""Milliseconds between two exports; five seconds by default."""


@dataclass(frozen=True)
class Received:
    """One span as it arrived; ids in hexadecimal, times in nanoseconds since 1970."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    tracestate: str
    began: int
    ended: int
    failed: bool
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any] = field(hash=False)
    resource: dict[str, Any] = field(hash=False)
    scope: str = ""


class Spans:
    """Keeps every span that arrives."""

    def __init__(self) -> None:
        self.spans: list[Received] = []

    def trace(self, trace_id: str, *names: str) -> list[Received]:
        """The spans of one trace in the order of their beginnings, once as many have arrived as are named."""

        def found() -> list[Received]:
            return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.began)

        until(lambda: len(found()) >= len(names), f"{names} arrive, not only {[span.name for span in found()]}")
        assert sorted(span.name for span in found()) == sorted(names)
        return found()

    def span(self, trace_id: str, name: str) -> Received:
        """The one span of this name in this trace, once it is there."""
        until(lambda: any((span.trace_id, span.name) == (trace_id, name) for span in self.spans), f"{name} arrives")
        (one,) = (span for span in self.spans if (span.trace_id, span.name) == (trace_id, name))
        return one

    def linked(self, link: tuple[str, str]) -> Received:
        """The span that a link leads to, once it is there."""
        until(lambda: any((span.trace_id, span.span_id) == link for span in self.spans), "the linked span arrives")
        (one,) = (span for span in self.spans if (span.trace_id, span.span_id) == link)
        return one

    def keep(self, request: ExportTraceServiceRequest) -> None:
        """Decode what has arrived."""
        for resource_spans in request.resource_spans:
            resource = _attributes(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                self.spans += [_received(span, resource, scope_spans.scope.name) for span in scope_spans.spans]


class Receiver(Spans):
    """Takes spans by HTTP; `hold` makes it hang until `release`."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = b""
        self.paths: set[str] = set()
        self.asked, self._free = threading.Event(), threading.Event()
        self._free.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked.set()
                receiver._free.wait()
                receiver._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def hold(self) -> None:
        """Answer nobody from now on."""
        self._free.clear()

    def release(self) -> None:
        """Answer again."""
        self._free.set()

    def _take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        self.raw += body
        self.keep(ExportTraceServiceRequest.FromString(body))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release()
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


class GrpcReceiver(Spans, TraceServiceServicer):
    """Takes spans by gRPC."""

    def __init__(self) -> None:
        super().__init__()
        self.grpc = grpc.server(ThreadPoolExecutor(1))
        add_TraceServiceServicer_to_server(self, self.grpc)
        self.url = f"http://127.0.0.1:{self.grpc.add_insecure_port('127.0.0.1:0')}"

    def Export(  # noqa: N802 - gRPC names it
        self, request: ExportTraceServiceRequest, _: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """What the service calls."""
        self.keep(request)
        return ExportTraceServiceResponse()


@contextmanager
def receiving_grpc() -> Iterator[GrpcReceiver]:
    """A receiver that listens for gRPC."""
    receiver = GrpcReceiver()
    receiver.grpc.start()
    try:
        yield receiver
    finally:
        receiver.grpc.stop(None).wait()


def _received(span: ProtoSpan, resource: dict[str, Any], scope: str) -> Received:
    return Received(
        span.name,
        ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == Status.STATUS_CODE_ERROR,
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        _attributes(span.attributes),
        resource,
        scope,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
