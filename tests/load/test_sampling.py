"""What the server says of itself during a run, from its metrics, from Redis and from a Prometheus."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from load.observe.prometheus import PrometheusError, query_samples
from load.observe.sampling import MetricsPages, Sampler, SourceError, cluster_reader, read_page, redis_reader
from tests.conftest import StartService, free_port

TEXTS = 'valence_cache_texts_total{source="model"}'


class Service(Protocol):
    """What the fixture `service` gives, as far as sampling cares."""

    url: str
    metrics_url: str


class RedisServer(Protocol):
    """What the fixture `redis_server` gives, as far as sampling cares."""

    url: str

    def kill(self) -> None:
        """End it without a farewell."""


def test_pages_of_several_pods_are_added_up(service: Service) -> None:
    """The same page twice counts twice; Python's own metrics and buckets are left out."""
    httpx.post(f"{service.url}/predict", json={"text": ["One more text for the counter."]}).raise_for_status()
    once, twice = read_page(service.metrics_url), MetricsPages([service.metrics_url] * 2).read()
    assert twice[TEXTS] == 2 * once[TEXTS] > 0
    assert not [name for name in once if name.startswith("python_") or "_bucket" in name]


def test_sums_never_fall(start_service: StartService) -> None:
    """A pod that is gone keeps its counts, one that began anew goes on from them."""
    port = free_port()
    settings = {"VALENCE_METRICS_BIND": f"127.0.0.1:{port}", "VALENCE_DRAIN_SECONDS": "0"}
    pages = MetricsPages([f"http://127.0.0.1:{port}/metrics"])
    with pytest.raises(SourceError, match=str(port)):
        pages.read()
    for _ in range(2):
        pod = start_service(**settings).wait_ready()
        pages.read()
        httpx.post(f"{pod.url}/predict", json={"text": ["A", "B", "C"]}).raise_for_status()
        seen = pages.read()[TEXTS]
        pod.stop()
        assert pages.read()[TEXTS] == seen
    assert seen == 6


def test_first_and_last_state_are_sampled(service: Service, tmp_path: Path) -> None:
    """However short the run: the last sample is taken after it."""
    file = tmp_path / "samples.jsonl"
    with Sampler(file, {"metrics": lambda: read_page(service.metrics_url)}):
        httpx.post(f"{service.url}/predict", json={"text": ["A", "B", "C"]}).raise_for_status()
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert samples[-1]["metrics"][TEXTS] == read_page(service.metrics_url)[TEXTS]
    assert samples[0]["time"] <= samples[-1]["time"]


def test_what_cannot_be_had_is_absent(service: Service, tmp_path: Path) -> None:
    """A pod or a Redis that is down costs its own figures, not the run."""
    nobody = f"127.0.0.1:{free_port()}"
    file = tmp_path / "samples.jsonl"
    sources = {
        "metrics": lambda: read_page(service.metrics_url),
        "gone": lambda: read_page(f"http://{nobody}/metrics"),
        "redis": redis_reader(f"redis://{nobody}/0"),
    }
    with Sampler(file, sources):
        pass
    for line in file.read_text().splitlines():
        assert set(json.loads(line)) == {"time", "metrics"}


def test_redis_tells_keys_and_bytes(redis_server: RedisServer) -> None:
    """Of a real Redis: empty, but never without memory."""
    found = redis_reader(redis_server.url)()
    assert found["keys"] == 0
    assert found["bytes"] > 100_000


class Prometheus(BaseHTTPRequestHandler):
    """Answers a range query as Prometheus documents it; notes the query."""

    queries: list[dict[str, list[str]]]

    def do_GET(self) -> None:
        """Two series of two points."""
        self.queries.append(parse_qs(urlsplit(self.path).query))
        labels = {"__name__": "http_requests_total", "route": "/predict", "method": "POST", "status": "200"}
        result = [
            {"metric": labels, "values": [[1000, "5"], [1005, "9"]]},
            {"metric": {"__name__": "process_cpu_seconds_total"}, "values": [[1000, "1.5"], [1005, "2"]]},
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def prometheus() -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """Address, and the queries that came."""
    queries: list[dict[str, list[str]]] = []
    with HTTPServer(("127.0.0.1", 0), type("Handler", (Prometheus,), {"queries": queries})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", queries
        server.shutdown()
        thread.join()


def test_prometheus_gives_samples_as_the_page_does(prometheus: tuple[str, list[dict[str, list[str]]]]) -> None:
    """Names and labels as `/metrics` prints them, so that one report reads both."""
    url, queries = prometheus
    samples = query_samples(url, 'namespace="valence"', {"began": 1000.0, "ended": 1005.0})
    assert samples[1] == {
        "time": 1005,
        "metrics": {
            'http_requests_total{method="POST",route="/predict",status="200"}': 9.0,
            "process_cpu_seconds_total": 2.0,
        },
    }
    assert 'namespace="valence"' in queries[0]["query"][0]
    assert (queries[0]["start"], queries[0]["end"]) == (["1000.000"], ["1005.000"])


def test_prometheus_that_does_not_answer_is_named() -> None:
    """The report would otherwise silently lack the server's half."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PrometheusError, match=url):
        query_samples(url, "", {"began": 0.0, "ended": 1.0})


def test_missing_cluster_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run whose replicas were asked for must not end without them."""
    pytest.importorskip("kubernetes", reason="kubernetes is not installed; make load installs it with the group `load`")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(SourceError, match="no cluster"):
        cluster_reader("valence", "valence")
