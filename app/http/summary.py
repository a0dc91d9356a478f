"""The metrics in one look, as JSON: for people, and for the page at `/`.

Everything is read from what `/metrics` tells, of all workers together, and counted since the start. Whoever wants the
rate or a quantile of the last minute asks twice and takes the difference, as the page does; Prometheus does it better.
"""

import asyncio
import math
import time
from collections.abc import Sequence

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.lifecycle import Lifecycle
from app.telemetry.exposition import Samples, every_metric, read

FRESH_SECONDS = 1.0
"""However often it is asked for, the metrics are read once in this time."""
HITS = ("memory", "redis")
"""Sources of scores that were known; `coalesced` waited for another request's inference."""


class RouteCount(BaseModel):
    """Requests answered alike."""

    route: str
    method: str
    status: str
    count: int


class Requests(BaseModel):
    """Requests answered since the start."""

    total: int
    in_flight: int = Field(description="Being answered now, this one included.")
    by_route: list[RouteCount]
    rejected: dict[str, int] = Field(description="Refused, by reason.")


class Bucket(BaseModel):
    """How many requests took at most so long."""

    le_ms: float | None = Field(description="Upper bound in milliseconds; null: no bound.")
    count: int


class Latency(BaseModel):
    """Time to answer predictions of every protocol, without the requests that were refused as wrong (4xx)."""

    routes: list[str] = Field(description="Where predictions are posted.")
    count: int
    p50_ms: float | None = Field(description="Estimated from the buckets, as PromQL's histogram_quantile does.")
    p95_ms: float | None
    p99_ms: float | None
    buckets: list[Bucket] = Field(description="Cumulative.")


class Source(BaseModel):
    """Texts whose scores came from one place."""

    texts: int
    ratio: float | None = Field(description="Share of all texts; null before the first.")


class Cache(BaseModel):
    """Where scores came from, and what the in-process cache holds."""

    hit_ratio: float | None = Field(description="Share of texts answered from memory or Redis.")
    sources: dict[str, Source]
    entries: int
    bytes: int


class Queue(BaseModel):
    """What waits for inference."""

    texts: int
    tokens: int
    limit_tokens: int


class LoadedModel(BaseModel):
    """Which model answers; /model/info tells the rest."""

    name: str
    digest: str


class Summary(BaseModel):
    """The service at a glance. Counts are of all workers and since the start."""

    status: str = Field(description='"ready", or why not; of the worker that answers.')
    timestamp: float = Field(description="When this was read, in seconds since 1970.")
    uptime_seconds: float = Field(description="Of the worker that answers.")
    workers: int
    model: LoadedModel
    requests: Requests
    latency: Latency
    cache: Cache
    queue: Queue


class Summaries:
    """Reads the metrics at most once in `FRESH_SECONDS`, however many ask."""

    def __init__(self, lifecycle: Lifecycle, predictions: Sequence[str]) -> None:
        self._lifecycle = lifecycle
        self._predictions = predictions
        self._began = time.monotonic()
        self._reading = asyncio.Lock()
        self._read_at = -math.inf
        self._body = b""

    async def body(self) -> bytes:
        """A summary as JSON, no older than `FRESH_SECONDS`."""
        async with self._reading:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                samples = await asyncio.to_thread(read, every_metric())  # with several workers it opens many files
                self._body = self._summarise(samples).model_dump_json().encode()
                self._read_at = time.monotonic()
            return self._body

    def _summarise(self, samples: Samples) -> Summary:
        manifest = self._lifecycle.package.manifest
        return Summary(
            status=self._lifecycle.status,
            timestamp=round(time.time(), 3),
            uptime_seconds=round(time.monotonic() - self._began, 3),
            workers=self._lifecycle.settings.workers,
            model=LoadedModel(name=manifest.name, digest=self._lifecycle.package.digest),
            requests=requests(samples),
            latency=latency(samples, self._predictions),
            cache=cache(samples),
            queue=Queue(
                texts=total(samples, "valence_queue_texts"),
                tokens=total(samples, "valence_queue_tokens"),
                limit_tokens=total(samples, "valence_queue_limit_tokens"),
            ),
        )


def router(lifecycle: Lifecycle, predictions: Sequence[str]) -> APIRouter:
    """`GET /metrics/summary`; `predictions` are the routes that predictions are posted to."""
    routes = APIRouter()
    summaries = Summaries(lifecycle, predictions)

    @routes.get("/metrics/summary", response_model=Summary)
    async def metrics_summary() -> Response:
        """The metrics in one look, at most a second old: requests, latency, cache, queue."""
        return Response(await summaries.body(), media_type="application/json", headers={"Cache-Control": "no-store"})

    return routes


def requests(samples: Samples) -> Requests:
    """Counts by route, method and status, the most frequent first."""
    series = samples.get("http_requests_total", [])
    counts = [RouteCount(**labels, count=int(value)) for labels, value in series if value]
    return Requests(
        total=sum(item.count for item in counts),
        in_flight=total(samples, "http_requests_in_flight"),
        by_route=sorted(counts, key=lambda item: -item.count),
        rejected=by_label(samples, "valence_requests_rejected_total", "reason"),
    )


def latency(samples: Samples, routes: Sequence[str]) -> Latency:
    """The histograms of what was posted to `routes`, all statuses but 4xx added up."""
    counts: dict[float, int] = {}
    for labels, value in samples.get("http_request_duration_seconds_bucket", []):
        if labels["method"] == "POST" and labels["route"] in routes and not labels["status"].startswith("4"):
            bound = float(labels["le"])
            counts[bound] = counts.get(bound, 0) + int(value)
    buckets = sorted(counts.items())
    p50, p95, p99 = (milliseconds(quantile(q, buckets)) for q in (0.5, 0.95, 0.99))
    return Latency(
        routes=list(routes),
        count=buckets[-1][1] if buckets else 0,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        buckets=[Bucket(le_ms=milliseconds(bound), count=count) for bound, count in buckets],
    )


def cache(samples: Samples) -> Cache:
    """Texts by the place that their scores came from."""
    sources = by_label(samples, "valence_cache_texts_total", "source")
    texts = sum(sources.values())
    hits = sum(sources.get(source, 0) for source in HITS)
    return Cache(
        hit_ratio=hits / texts if texts else None,
        sources={name: Source(texts=count, ratio=count / texts if texts else None) for name, count in sources.items()},
        entries=total(samples, "valence_cache_entries"),
        bytes=total(samples, "valence_cache_bytes"),
    )


def total(samples: Samples, name: str) -> int:
    """The sum of a metric's samples, 0 without any."""
    return int(sum(value for _, value in samples.get(name, [])))


def by_label(samples: Samples, name: str, label: str) -> dict[str, int]:
    """A metric's samples by the value of one label."""
    return {labels[label]: int(value) for labels, value in samples.get(name, [])}


def quantile(q: float, buckets: Sequence[tuple[float, int]]) -> float:
    """The q-quantile of cumulative (bound, count), by interpolation within its bucket; infinite without a request.

    Beyond the last finite bound it is that bound: at least so much.
    """
    if not buckets or buckets[-1][1] == 0:
        return math.inf
    rank, lower, below = q * buckets[-1][1], 0.0, 0
    for bound, count in buckets:
        if count >= rank and count > below:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    raise AssertionError("the last bucket holds every request")


def milliseconds(seconds: float) -> float | None:
    """To the microsecond; None for infinity, which JSON has not."""
    return None if math.isinf(seconds) else round(seconds * 1000, 3)
