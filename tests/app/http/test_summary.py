"""`/metrics/summary`: the same numbers as `/metrics`, cheap however often it is asked for."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from app.http.summary import FRESH_SECONDS, Summary
from app.model.package import Package
from app.settings import BUNDLED_MODEL
from tests.app import plain_http
from tests.conftest import Service, StartService, until

INFER = "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"
ROUTES = ["/predict", "/", *INFER]
"""Where predictions are posted, as metrics name it."""


def summary(service: Service) -> Summary:
    """What the service says of itself, in the shape that it promises."""
    response = plain_http.get(service.url + "/metrics/summary")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    return Summary.model_validate_json(response.text)


def predict(service: Service, *texts: object) -> None:
    """Send one request, right or wrong."""
    plain_http.post(service.url + "/predict", json={"text": texts})


def predictions(of: Summary) -> dict[str, int]:
    """Answers of `/predict` by status."""
    return {item.status: item.count for item in of.requests.by_route if item.route == "/predict"}


def summary_after(service: Service, requests: int) -> Summary:
    """The first summary that counts so many requests to `/predict`: it may be a second old."""
    until(lambda: sum(predictions(summary(service)).values()) >= requests, f"{requests} requests are counted")
    return summary(service)


class Fresh(NamedTuple):
    """A service, and what it said of itself before its first prediction and after three requests."""

    service: Service
    metrics: list[str]
    before: Summary
    after: Summary


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    """Three texts twice and one wrong request, as they were sent."""
    service = Service(tmp_path_factory.mktemp("fresh") / "service.log", VALENCE_DRAIN_SECONDS="0")
    try:
        metrics = plain_http.get(service.wait_ready().metrics_url).text.splitlines()
        before = summary(service)
        predict(service, "one", "two", "three")
        predict(service, "one", "two", "three")
        predict(service, 1)
        yield Fresh(service, metrics, before, summary_after(service, 3))
    finally:
        service.stop()


def test_requests_texts_and_refusals_are_counted(fresh: Fresh) -> None:
    """As they were sent; the model's name and digest beside them."""
    seen = fresh.after
    assert (seen.status, seen.workers) == ("ready", 1)
    assert (seen.model.name, seen.model.digest) == ("distilbert-sst2-mini", Package(BUNDLED_MODEL).digest)
    assert predictions(seen) == {"200": 2, "422": 1}
    assert seen.requests.total >= 3
    assert seen.requests.in_flight == 1
    assert {reason: count for reason, count in seen.requests.rejected.items() if count} == {"invalid": 1}
    assert {name: source.texts for name, source in seen.cache.sources.items() if source.texts} == {
        "memory": 3,
        "model": 3,
    }
    assert (seen.cache.hit_ratio, seen.cache.sources["memory"].ratio, seen.cache.entries) == (0.5, 0.5, 3)
    assert seen.cache.bytes > 3 * 400
    assert (seen.queue.texts, seen.queue.tokens, seen.queue.limit_tokens) == (0, 0, 65_536)
    assert 0 < seen.uptime_seconds < 600


def test_latency_is_that_of_the_histograms(fresh: Fresh) -> None:
    """Buckets as `/metrics` prints them, of every protocol, refusals left out; quantiles in order and in bounds."""
    service = fresh.service
    plain_http.get(service.url + "/")  # the page, which is no prediction
    plain_http.post(service.url + "/", json={"inputs": "text 0"})
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["text 1"]}
    for version in ("", "/versions/1"):
        plain_http.post(f"{service.url}/v2/models/distilbert-sst2-mini{version}/infer", json={"inputs": [tensor]})
    for number in range(20):
        predict(service, f"text {number % 5}")
    predict(service, 1)
    both = summary_after(service, 3 + 21)
    assert both.cache.bytes == service.metric("valence_cache_bytes")
    seen = both.latency
    assert (seen.routes, seen.count) == (ROUTES, 2 + 23)
    for bucket in seen.buckets:
        bound = "+Inf" if bucket.le_ms is None else f"{bucket.le_ms / 1000}"
        name = f'http_request_duration_seconds_bucket{{le="{bound}",method="POST",route="%s",status="200"}}'
        assert bucket.count == sum(service.metric(name % route) for route in ROUTES), name
    assert seen.p50_ms is not None
    assert seen.p95_ms is not None
    assert seen.p99_ms is not None
    assert 0 < seen.p50_ms <= seen.p95_ms <= seen.p99_ms <= 30_000


def test_errors_of_every_protocol_are_counted_from_the_start(fresh: Fresh) -> None:
    """At nought: `increase()` does not see the first event of a series that appears with it."""
    for status in (200, 500, 503, 504):
        for route in ROUTES:
            labels = f'{{method="POST",route="{route}",status="{status}"}}'
            assert f"http_requests_total{labels} 0.0" in fresh.metrics
            assert f"http_request_duration_seconds_count{labels} 0.0" in fresh.metrics


def test_what_has_not_happened_is_null(fresh: Fresh) -> None:
    """Before the first request: no ratio, no quantile, and no division by zero."""
    seen = fresh.before
    assert (seen.cache.hit_ratio, seen.latency.count, seen.latency.p99_ms) == (None, 0, None)


def test_metrics_are_read_once_a_second(service: Service) -> None:
    """However many ask, and at the same time: the timestamp tells when they were read."""
    began = time.monotonic()
    with ThreadPoolExecutor(8) as clients:
        read = {answer.timestamp for answer in clients.map(lambda _: summary(service), range(200))}
    assert len(read) <= (time.monotonic() - began) / FRESH_SECONDS + 2


def test_workers_are_counted_together(start_service: StartService) -> None:
    """Whichever of two workers answers."""
    service = start_service(VALENCE_WORKERS="2")
    until(lambda: service.log.read_text().count('"event":"ready"') == 2, "both workers are ready")
    for number in range(30):
        predict(service, f"text {number}")

    def counted() -> tuple[dict[str, int], int, int]:
        seen = summary(service)
        assert seen.workers == 2
        return predictions(seen), seen.latency.count, sum(source.texts for source in seen.cache.sources.values())

    until(lambda: counted() == ({"200": 30}, 30, 30), "all requests, latencies and texts are counted")


def test_status_says_why_not_ready(start_service: StartService) -> None:
    """From SIGTERM on."""
    service = start_service(VALENCE_DRAIN_SECONDS="60").wait_ready()
    service.process.send_signal(signal.SIGTERM)
    until(lambda: summary(service).status.startswith("draining"), "the summary says so")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_summary_can_only_be_read(service: Service, method: str) -> None:
    """Nothing can be sent to it."""
    assert plain_http.request(method, service.url + "/metrics/summary").status_code == 405
