"""Every metric: name with its unit, labels, buckets. Served on a port of their own (VALENCE_METRICS_BIND)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from app.settings import SettingsError, host_and_port

# A cache hit takes some hundred microseconds, a short miss some milliseconds, a full batch of long texts seconds.
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUESTS = Counter("http_requests", "Requests answered.", ["route", "method", "status"])
REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds", "Time to answer a request.", ["route"], buckets=LATENCY_BUCKETS
)
IN_FLIGHT = Gauge("http_requests_in_flight", "Requests being answered.", multiprocess_mode="livesum")

TRUNCATED = Counter("valence_texts_truncated", "Texts scored that were longer than the model's tokens.")
CACHE = Counter("valence_cache_texts", "Texts by where their scores came from.", ["source"])
CACHE_MEMORY, CACHE_REDIS, CACHE_MODEL = (CACHE.labels(source) for source in ("memory", "redis", "model"))
CACHE_ENTRIES = Gauge("valence_cache_entries", "Texts kept in process.", multiprocess_mode="livesum")
CACHE_BYTES = Gauge(
    "valence_cache_bytes", "Estimated memory of the texts kept in process.", multiprocess_mode="livesum"
)
REDIS_ERRORS = Counter("valence_redis_errors", "Failed or late calls to Redis.", ["operation"])
REDIS_DROPPED = Counter("valence_redis_writes_dropped", "Scores not written to Redis: breaker open or buffer full.")
REDIS_OPEN = Gauge(
    "valence_redis_breaker_open", "1 while Redis is left alone after failures.", multiprocess_mode="livemax"
)

QUEUE_TOKENS = Gauge("valence_queue_tokens", "Tokens waiting for inference.", multiprocess_mode="livesum")
REJECTED = Counter("valence_requests_rejected", "Requests refused.", ["reason"])
INFERENCE_SECONDS = Histogram(
    "valence_inference_duration_seconds", "Time of one inference call.", buckets=LATENCY_BUCKETS
)
BATCH_TEXTS = Histogram("valence_batch_texts", "Texts in one inference call.", buckets=(1, 2, 4, 8, 16, 32, 64, 128))
MODEL_INFO = Gauge(
    "valence_model_info", "The model that is loaded; always 1.", ["name", "digest"], multiprocess_mode="livemax"
)


@contextmanager
def serve_metrics(bind: str) -> Iterator[None]:
    """Serve `/metrics` on "address:port" in a thread of its own; nothing for an empty `bind`.

    With several workers each writes to the files in PROMETHEUS_MULTIPROC_DIR, and one server answers for all of them.
    Raises SettingsError when the address cannot be had.
    """
    if not bind:
        yield
        return
    address, port = host_and_port(bind)
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as exc:
        raise SettingsError(f"VALENCE_METRICS_BIND={bind!r}: {exc.strerror}") from exc
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
