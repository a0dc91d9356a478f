"""Traces by OpenTelemetry: its API everywhere, its SDK only where its own variables ask for one.

The spans of a request (docs/tracing.md):

    POST /predict                   the server span, made in app/http/observe.py
      cache                         the look-up in process
      redis                         the look-up in Redis, if it was asked
      tokenise                      of the texts that no cache knows
      queue, inference              for each batch with texts of this request; `inference` links to the batch
    batch                           one call of the model: a trace of its own, linked to the requests in it

Steps are made when they are over, from times that the metrics take anyway. No attribute ever holds a text, a path that
no route knows, a query or a header.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit

import structlog
from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN, Link, SpanKind, Status, StatusCode

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
CLOSE_SECONDS = 2.0
"""How long the end of the process may wait for a collector that is down; the SDK itself would wait half a minute."""
FAILED = 500
"""The first status that is our fault: below it a span is not marked as an error, as the conventions want it."""
MAX_LINKS = 128
"""Of one batch; the SDK's own limit."""
QUIET_SECONDS = 60.0
TALKATIVE = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.sdk._shared_internal",
)
"""Loggers that have a line for each batch that fails, and one for each span that finds the queue full."""
INDISCREET = ("opentelemetry.baggage.propagation", "opentelemetry.trace.span")
"""Loggers that repeat the headers which they can't read."""

Attributes = Mapping[str, str | int | float | bool]
log = structlog.get_logger()
tracer = trace.get_tracer("valence")
Span = trace.Span
NO_SPAN = INVALID_SPAN
"""The span of a request that is not traced."""


class HeaderGetter(Getter[Mapping[bytes, bytes]]):
    """Reads an ASGI request's headers for OpenTelemetry's propagators."""

    def get(self, carrier: Mapping[bytes, bytes], key: str) -> list[str] | None:
        value = carrier.get(key.encode())
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Mapping[bytes, bytes]) -> list[str]:
        return [name.decode("latin-1") for name in carrier]


HEADERS = HeaderGetter()


def start_request(headers: Mapping[bytes, bytes], began: float) -> Span:
    """Start the server span of a request that began at `began` (`time.perf_counter`).

    Its parent is the caller's span where the headers name one, by the propagators of OTEL_PROPAGATORS. The span does
    not record when it is not sampled.
    """
    parent = propagate.extract(headers, getter=HEADERS)
    return tracer.start_span("HTTP", parent, SpanKind.SERVER, start_time=nanoseconds(began))


def end_request(span: Span, scope: Mapping[str, Any], method: str, route: str, status: int | None) -> None:
    """End a server span, named and described by HTTP's conventions; no status: the client left before the answer.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans
    """
    known, failed = method != "other", status is not None and status >= FAILED
    name = method if known else "HTTP"
    span.set_attribute("http.request.method", method if known else "_OTHER")
    span.set_attribute("url.scheme", scope.get("scheme", "http"))
    if route != "unmatched":  # a path that no route knows may hold anything, and is not told
        name += f" {route}"
        span.set_attribute("http.route", route)
    if status is not None:
        span.set_attribute("http.response.status_code", status)
    if failed or status is None:
        span.set_attribute("error.type", str(status or "client_disconnected"))
    span.update_name(name)
    end(span, time.perf_counter(), failed=failed)


def step(
    parent: Span,
    name: str,
    began: float,
    ended: float,
    attributes: Attributes,
    *,
    client: bool = False,
    links: Iterable[Span] = (),
    failed: bool = False,
) -> None:
    """Add a child span that is over to a request's span, which is sampled (`is_recording`).

    `client`: it waited for another service. `began` and `ended` are seconds by `time.perf_counter`.
    """
    span = tracer.start_span(
        name,
        trace.set_span_in_context(parent),
        SpanKind.CLIENT if client else SpanKind.INTERNAL,
        attributes,
        [Link(link.get_span_context()) for link in links],
        start_time=nanoseconds(began),
    )
    end(span, ended, failed=failed)


def batch_span(requests: Iterable[Span], attributes: Attributes, began: float, ended: float, *, failed: bool) -> Span:
    """The span of one call of the model, linked to the sampled requests in it; a trace of its own."""
    links = [Link(span.get_span_context()) for span in requests][:MAX_LINKS]
    span = tracer.start_span("batch", context.Context(), SpanKind.INTERNAL, attributes, links, nanoseconds(began))
    end(span, ended, failed=failed)
    return span


def end(span: Span, ended: float, *, failed: bool) -> None:
    """End a span at `ended` (`time.perf_counter`), marked as an error if `failed`."""
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(nanoseconds(ended))


def trace_id(span: Span) -> str:
    """The id of a span's trace, as logs and exemplars write it: 32 hexadecimal digits."""
    return trace.format_trace_id(span.get_span_context().trace_id)


def nanoseconds(moment: float) -> int:
    """A moment by `time.perf_counter` as the wall clock has it now, in nanoseconds since 1970."""
    return time.time_ns() - round((time.perf_counter() - moment) * 1e9)


def start_tracing(version: str, *, workers: int) -> Callable[[], None] | None:
    """Set the SDK up as OpenTelemetry's variables say, and return what ends it.

    Returns None where no variable asks for traces, or where they can't be sent, which is logged as an error: a platform
    may set these variables for every pod of a cluster, so nothing that is wrong with them stops the service.
    """
    endpoint = _first(ENDPOINTS)
    if (
        not endpoint
        or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        or os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    ):
        return None
    try:
        # The host's name is the pod's in a cluster; several workers share it.
        close = _start_sdk(version, gethostname() if workers == 1 else f"{gethostname()}:{os.getpid()}")
    except ImportError as exc:
        log.error("tracing_unavailable", reason=f"the extra `tracing` (`tracing-grpc`) is not installed: {exc}")  # noqa: TRY400
        return None
    except Exception as exc:  # what the SDK makes of its variables
        log.error("tracing_unavailable", reason=str(exc))  # noqa: TRY400 - the reason is the whole story
        return None
    log.info("tracing", sampler=os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on"))
    return close


def _start_sdk(version: str, instance: str) -> Callable[[], None]:
    """Sampler, resource, limits, endpoint and batches are read by the SDK itself from its variables."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - only tracing needs it
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter  # noqa: PLC0415

    protocol = _first(PROTOCOLS) or "http/protobuf"
    _check_endpoint(protocol)
    exporter: SpanExporter
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter()
    elif protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc  # noqa: PLC0415

        exporter = Grpc()
    else:
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: should be 'http/protobuf' or 'grpc'")
    ours = {"service.name": "valence", "service.version": version, "service.instance.id": instance}
    theirs = OTELResourceDetector().detect().attributes  # goes before what we would say
    resource = Resource.create({name: value for name, value in ours.items() if name not in theirs})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(Seldom())
    for name in INDISCREET:
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def close() -> None:
        closing = threading.Thread(target=provider.shutdown, name="close-tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    return close


def _check_endpoint(protocol: str) -> None:
    """Raises ValueError for one that can't be sent to: the SDK would try for ever, and might log its credentials."""
    name = next(name for name in ENDPOINTS if os.environ.get(name, "").strip())
    url = urlsplit(os.environ[name].strip())
    if protocol == "grpc" and "@" in os.environ[name]:
        raise ValueError(f"{name}: should have no credentials, which gRPC takes in OTEL_EXPORTER_OTLP_HEADERS")
    if protocol == "http/protobuf" and (url.scheme not in {"http", "https"} or not url.hostname):
        raise ValueError(f"{name}: should be a URL such as http://collector:4318")


class Seldom(logging.Filter):
    """Lets one record pass, then none for `QUIET_SECONDS`."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet_until = 0.0

    def filter(self, _: logging.LogRecord) -> bool:
        now = time.monotonic()
        passes = now >= self._quiet_until
        if passes:
            self._quiet_until = now + QUIET_SECONDS
        return passes


def _first(names: tuple[str, ...]) -> str:
    """The first value that one of these variables has; empty without one."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")
