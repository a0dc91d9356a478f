"""Our spans as OpenTelemetry's, sent by its SDK: the only module that imports it, itself imported when tracing is on.

The SDK reads its own variables: sampler (OTEL_TRACES_SAMPLER), resource (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES),
endpoint, headers and timeout of the exporter (OTEL_EXPORTER_OTLP_*), size and delay of the batches (OTEL_BSP_*).
"""

import logging
import threading
import time
from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.span import TraceState

from app.spans import Ids, Span
from app.tracing import Tracing

CLOSE_SECONDS = 2.0
"""How long the end of the process may wait for a collector that is down."""
QUIET_SECONDS = 60.0
TALKATIVE = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
"""Loggers that have a line for each batch that fails, and one for each span that finds the queue full."""
KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
ROOT = "POST /predict"
"""The only requests that may start a trace."""
FLAGS = TraceFlags(TraceFlags.SAMPLED)


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


class GivenIds(IdGenerator):
    """The ids that we chose for the span that is made next: others may have linked to it before it was over."""

    given = Ids(0, 0)

    def generate_trace_id(self) -> int:
        return self.given.trace_id

    def generate_span_id(self) -> int:
        return self.given.span_id

    def is_trace_id_random(self) -> bool:
        return True


class OtlpSpans:
    """Makes the SDK's spans of ours and hands them to its batch processor, which sends them from a thread of its own.

    At most OTEL_BSP_MAX_QUEUE_SIZE (2,048) spans wait; a collector that is down or hangs costs those beyond it. Use
    `export` on the event loop only.
    """

    def __init__(self, version: str, instance: str) -> None:
        for name in TALKATIVE:
            logging.getLogger(name).addFilter(Seldom())
        logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)  # warns with what callers sent
        self._ids = GivenIds()
        # Whether a request is sampled was decided before there was anything to make a span of.
        self._provider = TracerProvider(
            ALWAYS_ON, _resource(version, instance), shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("valence", version)
        sampler = TracerProvider(shutdown_on_exit=False).sampler  # the one that the environment names
        self.tracing = Tracing(
            self.export,
            sampled=lambda trace_id: sampler.should_sample(None, trace_id, ROOT).decision is Decision.RECORD_AND_SAMPLE,
            by_parent=isinstance(sampler, ParentBased),
        )

    def export(self, spans: Iterable[Span]) -> None:
        """Queue spans; returns at once."""
        # Between two readings of the wall clock it may be set: one reading places all spans of a request.
        offset = time.time() - time.perf_counter()
        for span in spans:
            self._ids.given = span.ids
            made = self._tracer.start_span(
                span.name,
                _parent(span),
                KINDS[span.kind],
                span.attributes,
                [Link(_context(ids)) for ids in span.links],
                start_time=round((span.began + offset) * 1e9),
            )
            if span.failed:
                made.set_status(Status(StatusCode.ERROR))
            made.end(round((span.ended + offset) * 1e9))

    def close(self) -> None:
        """Send what waits, for at most `CLOSE_SECONDS`; the SDK itself would wait for half a minute."""
        closing = threading.Thread(target=self._provider.shutdown, name="close-tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def _context(ids: Ids, *, remote: bool = False, tracestate: str = "") -> SpanContext:
    state = TraceState.from_header([tracestate]) if tracestate else None
    return SpanContext(ids.trace_id, ids.span_id, is_remote=remote, trace_flags=FLAGS, trace_state=state)


def _parent(span: Span) -> Context:
    if not span.parent_id:
        return Context()
    parent = _context(Ids(span.ids.trace_id, span.parent_id), remote=span.kind == "server", tracestate=span.tracestate)
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _resource(version: str, instance: str) -> Resource:
    """Who sends these spans; what the environment says goes before what we would say."""
    ours = {"service.name": "valence", "service.version": version, "service.instance.id": instance}
    theirs = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in ours.items() if name not in theirs})
