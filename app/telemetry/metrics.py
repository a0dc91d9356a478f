"""Every metric: name with its unit, labels, buckets. Served on a port of their own (VALENCE_METRICS_BIND)."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# A cache hit takes some hundred microseconds, a short miss some milliseconds, a full batch of long texts seconds.
LATENCY_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
STAGE_BUCKETS = (0.00001, 0.000025, 0.00005, *LATENCY_BUCKETS)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
TOKEN_BUCKETS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Texts in windows have as many tokens as these read together: 2,048 in the bundled model."""
SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
STAGES = ("parse", "cache", "redis", "tokenise", "queue", "inference", "serialise")

# They are one more series for each counter and histogram, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter("http_requests", "Requests answered.", ["route", "method", "status"])
REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds", "Time to answer a request.", ["route", "method", "status"], buckets=LATENCY_BUCKETS
)


@cache
def request_series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """The counter and the histogram of requests answered alike; there are few different ones."""
    return REQUESTS.labels(route, method, status), REQUEST_SECONDS.labels(route, method, status)


IN_FLIGHT = Gauge("http_requests_in_flight", "Requests being answered.", multiprocess_mode="livesum")
REASONS = (
    *("queue_full", "timeout", "not_ready", "invalid", "too_large", "slow_body"),
    *("malformed", "head_too_large", "url_too_long", "slow_head", "connections", "bodies"),
    *("unauthorized", "rate_limit", "quota"),
)
_REJECTED = Counter("valence_requests_rejected", "Requests refused.", ["reason"])
REJECTED = {reason: _REJECTED.labels(reason) for reason in REASONS}
"""All from the start: a series that appears with its first event has no rate at that event."""

KEY_LIMITED = Counter("valence_key_requests_limited", "Requests beyond what a key allows, by its name.", ["key"])
KEY_TEXTS = Counter("valence_key_texts", "Texts that keys were charged for, by their names.", ["key"])

IDLE_CLOSED = Counter("valence_idle_connections_closed", "Idle connections that made room for new ones.")

STAGE_SECONDS = Histogram(
    "valence_stage_duration_seconds",
    "Time of one stage: queue for each text, inference for each call of the model, the others for each request.",
    ["stage"],
    buckets=STAGE_BUCKETS,
)
(
    PARSE_SECONDS,
    CACHE_SECONDS,
    REDIS_STAGE_SECONDS,
    TOKENISE_SECONDS,
    QUEUE_SECONDS,
    INFERENCE_SECONDS,
    SERIALISE_SECONDS,
) = map(STAGE_SECONDS.labels, STAGES)

CACHE = Counter("valence_cache_texts", "Texts by where their scores came from.", ["source"])
CACHE_MEMORY, CACHE_REDIS, CACHE_COALESCED, CACHE_MODEL = (
    CACHE.labels(source) for source in ("memory", "redis", "coalesced", "model")
)
CACHE_ENTRIES = Gauge("valence_cache_entries", "Texts kept in process.", multiprocess_mode="livesum")
CACHE_BYTES = Gauge(
    "valence_cache_bytes", "Estimated memory of the texts kept in process.", multiprocess_mode="livesum"
)
CACHE_REMOVED = Counter("valence_cache_removed", "Texts that left the in-process cache.", ["reason"])
CACHE_EXPIRED, CACHE_EVICTED = (CACHE_REMOVED.labels(reason) for reason in ("expired", "evicted"))

REDIS_SECONDS = Histogram(
    "valence_redis_duration_seconds", "Time of one exchange with Redis.", ["operation"], buckets=STAGE_BUCKETS
)
REDIS_GET_SECONDS, REDIS_SET_SECONDS = (REDIS_SECONDS.labels(operation) for operation in ("get", "set"))
REDIS_BYTES = Counter("valence_redis_bytes", "Bytes of keys and values, to and from Redis.", ["direction"])
REDIS_SENT, REDIS_RECEIVED = (REDIS_BYTES.labels(direction) for direction in ("sent", "received"))
REDIS_ERRORS = Counter("valence_redis_errors", "Failed or late calls to Redis.", ["operation"])
REDIS_DROPPED = Counter("valence_redis_writes_dropped", "Scores not written to Redis: breaker open or buffer full.")
REDIS_REJECTED = Counter("valence_redis_values_rejected", "Values in Redis that are not ours, or not for their key.")
REDIS_OPEN = Gauge(
    "valence_redis_breaker_open", "1 while Redis is left alone after failures.", multiprocess_mode="livemax"
)

QUEUE_TOKENS = Gauge("valence_queue_tokens", "Tokens waiting for inference.", multiprocess_mode="livesum")
QUEUE_TEXTS = Gauge("valence_queue_texts", "Texts waiting for inference.", multiprocess_mode="livesum")
QUEUE_LIMIT = Gauge("valence_queue_limit_tokens", "Tokens that may wait for inference.", multiprocess_mode="livesum")
BATCH_TEXTS = Histogram("valence_batch_texts", "Texts in one inference call.", buckets=BATCH_BUCKETS)
BATCH_TOKENS = Histogram(
    "valence_batch_tokens", "Tokens in one inference call, padding included.", buckets=TOKEN_BUCKETS
)
INFERENCE_TOKENS = Counter("valence_inference_tokens", "Tokens of texts that the model has read.")
PADDING_TOKENS = Counter("valence_padding_tokens", "Padding that the model has read beside them.")

PROTOCOLS = ("valence", "tei", "huggingface", "v2")
TEXTS = Counter(
    "valence_texts", "Texts answered, from the cache or not, by their top label and protocol.", ["label", "protocol"]
)
TOP_SCORE = Histogram("valence_top_score", "Score of the top label of a text answered.", buckets=SCORE_BUCKETS)
TEXT_TOKENS = Histogram("valence_text_tokens", "Tokens of a text answered, after truncation.", buckets=TOKEN_BUCKETS)
UNKNOWN_TOKENS = Counter(
    "valence_text_unknown_tokens", "Tokens of the texts answered that are not in the model's vocabulary."
)
TRUNCATED = Counter("valence_texts_truncated", "Texts answered that were longer than the model reads and were cut.")
OUT_OF_RANGE = Counter(
    "valence_values_out_of_range", "Values of rows answered that the model was not trained on, by column.", ["feature"]
)
# Each of several workers has a window of its own, a sample of the same traffic: the highest would be too high by
# chance, and a worker whose window has run dry (NaN) would hide all others.
DRIFT = Gauge(
    "valence_drift_psi",
    "Population stability index of recent texts against the model's reference profile.",
    ["feature"],
    multiprocess_mode="livemostrecent",
)
DRIFT_TEXTS = Gauge("valence_drift_window_texts", "Texts that the index is made from.", multiprocess_mode="livesum")

LOG_LINES_DROPPED = Counter(
    "valence_log_lines_dropped", "Log lines that standard output did not take in time: full pipe, full disk, no reader."
)
READY = Gauge("valence_ready", "1 while /readyz says 200.", multiprocess_mode="livemin")
THREADS = Gauge("valence_inference_threads", "Inference threads.", multiprocess_mode="livesum")
QUOTA = Gauge("valence_cpu_quota_cores", "Cores that the container may use.", multiprocess_mode="livemax")
RESIDENT = Gauge("valence_resident_memory_bytes", "Resident memory of the workers.", multiprocess_mode="livesum")
BUILD_INFO = Gauge(
    "valence_build_info",
    "What is running; always 1.",
    ["version", "revision", "python", "onnxruntime"],
    multiprocess_mode="livemax",
)
MODEL_INFO = Gauge(
    "valence_model_info",
    "The model that is loaded, and the engine that computes it; always 1.",
    ["name", "digest", "engine"],
    multiprocess_mode="livemax",
)
_LOADS = Counter("valence_model_loads", "Versions that were asked for while serving, by what came of it.", ["outcome"])
LOADS_SERVED, LOADS_FAILED = (_LOADS.labels(outcome) for outcome in ("served", "failed"))
for _operation in ("get", "set"):
    REDIS_ERRORS.labels(_operation)
