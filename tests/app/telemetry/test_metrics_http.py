"""`/metrics` over HTTP: what was sent is what was counted, with one worker and with two."""

import json
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import Service, StartService, until

REQUEST = re.compile(r'http_requests_total\{method="(\w+)",route="(.+?)",status="(\d+)"\} (\d+)\.0')


def counted(service: Service) -> dict[str, int]:
    """Requests by "method route status", without those that waited for the service to be ready."""
    rows = REQUEST.findall(plain_http.get(service.metrics_url).text)
    return {
        f"{method} {route} {status}": int(n) for method, route, status, n in rows if route != "/readyz" and n != "0"
    }


class Since:
    """What a service has counted since the moment at which this was made."""

    def __init__(self, service: Service, *names: str) -> None:
        self.service = service
        self._requests = Counter(counted(service))
        self._before = {name: service.metric(name) for name in names}

    def requests(self) -> Counter[str]:
        """As `counted` has them."""
        return Counter(counted(self.service)) - self._requests

    def metrics(self) -> dict[str, float]:
        """By how much each of the names has grown."""
        return {name: self.service.metric(name) - before for name, before in self._before.items()}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all that count what they ask for, each with texts of its own; it scores a text at a time."""
    settings = {"VALENCE_REVISION": "abc123", "VALENCE_THREADS": "1", "VALENCE_MAX_BATCH_TOKENS": "0"}
    log = tmp_path_factory.mktemp("counting") / "service.log"
    started = Service(log, VALENCE_DRAIN_SECONDS="0", **settings)
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def test_requests_are_counted_by_route_method_and_status(counting: Service) -> None:
    """Each request once; paths that nobody serves make one series, however many they are."""
    answered = 'http_request_duration_seconds_count{method="POST",route="/predict",status="200"}'
    since = Since(counting, answered)
    sent: Counter[str] = Counter()
    for method, path, route, body in [
        ("POST", "/predict", "/predict", b'{"text": ["good"]}'),
        ("POST", "/predict", "/predict", b'{"text": ["good", "bad"]}'),
        ("POST", "/predict", "/predict", json.dumps({"text": ["a"] * 129}).encode()),
        ("POST", "/predict", "/predict", b"{"),
        ("POST", "/predict", "/predict", b"[]"),
        ("GET", "/predict", "/predict", b""),
        ("GET", "/health", "/health", b""),
        ("GET", "/health?detail=1", "/health", b""),
        ("GET", "/model/info", "/model/info", b""),
        ("GET", "/", "/", b""),
        ("GET", "/no/such/path", "unmatched", b""),
        ("GET", "/predict/17", "unmatched", b""),
        ("GET", "/predict/18", "unmatched", b""),
        ("POST", "/../../etc/passwd", "unmatched", b""),
        ("PROPFIND", "/health", "/health", b""),
    ]:
        status = plain_http.request(method, counting.url + path, content=body).status_code
        sent[f"{method if method != 'PROPFIND' else 'other'} {route} {status}"] += 1
    until(lambda: since.requests() == sent, f"the counters are {dict(sent)}")
    assert since.metrics() == {answered: 2}
    assert counting.metric("http_requests_in_flight") == 0


def test_what_the_promise_counts_is_there_from_the_start(service: Service) -> None:
    """Prometheus sees no increase in a series that begins with one: the first 5xx would be lost."""
    text = plain_http.get(service.metrics_url).text
    for status in (200, 500, 503, 504):
        assert f'http_requests_total{{method="POST",route="/predict",status="{status}"}}' in text
        assert f'http_request_duration_seconds_count{{method="POST",route="/predict",status="{status}"}}' in text


def test_texts_are_counted_by_where_their_scores_came_from(counting: Service) -> None:
    """Model, memory and truncation; the size of the cache; each inference of the model."""
    samples = {
        'valence_cache_texts_total{source="model"}': 4,
        'valence_cache_texts_total{source="coalesced"}': 1,
        'valence_cache_texts_total{source="memory"}': 4,
        'valence_cache_texts_total{source="redis"}': 0,
        "valence_texts_truncated_total": 2,
        "valence_cache_entries": 4,
        'valence_stage_duration_seconds_count{stage="inference"}': 4,
        'valence_stage_duration_seconds_count{stage="queue"}': 4,
        "valence_batch_texts_count": 4,
        "valence_queue_tokens": 0,
    }
    since, size = Since(counting, *samples), Since(counting, "valence_cache_bytes")
    for texts in (["a", "b", "a"], ["a", "b"], ["a", "c", "good " * 1900], ["good " * 1900]):
        assert plain_http.post(counting.url + "/predict", json={"text": texts}).status_code == 200
    assert since.metrics() == samples
    assert size.metrics()["valence_cache_bytes"] > 4 * 400


def test_every_answer_is_described(counting: Service) -> None:
    """Label, score, tokens and unknown tokens of each text answered: by the model or from the cache."""
    texts = [f'valence_texts_total{{label="{label}",protocol="valence"}}' for label in ("NEGATIVE", "POSITIVE")]
    scores, told = "valence_top_score_sum", ("valence_text_tokens_sum", "valence_text_unknown_tokens_total")
    since = Since(counting, *texts, scores, "valence_top_score_count", *told)
    answer = plain_http.post(counting.url + "/predict", json={"text": ["fine", "\u1200 \u1200 bad", "fine"]}).json()
    top = [scores[0] for scores in answer["predictions"]]
    for _ in range(3):
        plain_http.post(counting.url + "/predict", json={"text": ["fine"]})
    times = Counter(scores["label"] for scores in (top[0], top[1], *[top[0]] * 4))
    seen = since.metrics()
    assert [seen[name] for name in texts] == [times["NEGATIVE"], times["POSITIVE"]]
    assert seen[scores] == pytest.approx(5 * top[0]["score"] + top[1]["score"], abs=1e-5)
    assert seen["valence_top_score_count"] == 6
    assert [seen[name] for name in told] == [5 * 3 + 5, 2]


def test_every_stage_is_timed(counting: Service) -> None:
    """A miss goes through all of them but Redis, a hit through three."""
    stages = {"parse": 3, "cache": 3, "redis": 0, "tokenise": 1, "queue": 1, "inference": 1, "serialise": 3}
    names = [f'valence_stage_duration_seconds_count{{stage="{stage}"}}' for stage in stages]
    since = Since(counting, *names)
    for texts in (["one text"], ["one text"], ["one text"]):
        plain_http.post(counting.url + "/predict", json={"text": texts})
    assert list(since.metrics().values()) == list(stages.values())


def test_process_describes_itself(counting: Service) -> None:
    """Readiness, threads, the bound of the queue, memory, and what is running."""
    until(lambda: counting.metric("valence_ready") == 1, "readiness is measured, once a second")
    assert counting.metric("valence_inference_threads") == 1
    assert counting.metric("valence_queue_limit_tokens") == 65_536
    resident, theirs = (counting.metric(f"{name}_resident_memory_bytes") for name in ("valence", "process"))
    assert resident == pytest.approx(theirs, rel=0.05)
    assert re.search(
        r'valence_build_info{.*revision="abc123",version=.*} 1\.0', plain_http.get(counting.metrics_url).text
    )


@pytest.mark.parametrize("refusal", ["queue_full", "timeout"])
def test_refusals_are_counted_by_reason(start_service: StartService, refusal: str) -> None:
    """A full queue answers 429 with `Retry-After`, a late answer 504: each names the setting, each is counted."""
    settings = {"VALENCE_MAX_QUEUE_TOKENS": "512"} if refusal == "queue_full" else {"VALENCE_TIMEOUT": "0.3"}
    started = start_service(VALENCE_THREADS="1", **settings).wait_ready()
    status, name = {"queue_full": (429, "VALENCE_MAX_QUEUE_TOKENS"), "timeout": (504, "VALENCE_TIMEOUT")}[refusal]
    text = "a truly wonderful film " * 100
    with httpx.Client(base_url=started.url, timeout=300) as client:
        answers = _overload(client, text, texts=8 if refusal == "queue_full" else 32)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {status}
    assert all(name in answer.json()["detail"][0]["msg"] for answer in refused)
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused if status == 429)
    assert started.metric(f'valence_requests_rejected_total{{reason="{refusal}"}}') == len(refused)


def test_client_that_leaves_frees_the_queue(counting: Service) -> None:
    """Texts that nobody waits for any more are not scored; the request is counted as 499."""
    inferences = 'valence_stage_duration_seconds_count{stage="inference"}'
    since = Since(counting, inferences)
    texts = [f"number {number} is a truly wonderful film " * 60 for number in range(128)]
    with socket.create_connection(("127.0.0.1", int(counting.url.rpartition(":")[2]))) as connection:
        body = json.dumps({"text": texts}).encode()
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        until(lambda: counting.metric("valence_queue_tokens") > 0, "the texts wait for the model")
    until(lambda: since.requests() == {"POST /predict 499": 1}, "the request is given up")
    assert plain_http.post(counting.url + "/predict", json={"text": ["asked after it"]}).status_code == 200
    assert counting.metric("valence_queue_tokens") == 0
    assert since.metrics()[inferences] < 64


def test_metrics_have_a_port_of_their_own(service: Service) -> None:
    """No ingress to the API exposes them, and the metrics' port serves nothing else."""
    assert plain_http.get(service.url + "/metrics").status_code == 404
    assert plain_http.get(service.metrics_url).headers["Content-Type"].startswith("text/plain; version=")


def test_model_is_named(service: Service) -> None:
    """One series, always 1, joins any other metric with the model that answered and its engine."""
    info = plain_http.get(service.url + "/model/info").json()
    labels = f'digest="{info["digest"][:16]}",engine="{info["engine"]["name"]}",name="{info["name"]}"'
    assert service.metric(f"valence_model_info{{{labels}}}") == 1


def test_metrics_can_be_turned_off(start_service: StartService) -> None:
    """An empty address means no server; predictions do not mind."""
    started = start_service(VALENCE_METRICS_BIND="").wait_ready()
    assert plain_http.post(started.url + "/predict", json={"text": ["good"]}).status_code == 200
    with pytest.raises(httpx.ConnectError):
        plain_http.get(started.metrics_url)


def test_two_workers_are_counted_together(start_service: StartService, tmp_path: Path) -> None:
    """Whichever worker answers, the one port shows the sum; at the end no file is left behind."""
    started = start_service(VALENCE_WORKERS="2", TMPDIR=str(tmp_path)).wait_ready()
    until(lambda: started.log.read_text().count('"event":"ready"') == 2, "both workers are ready")
    first, second = map(int, re.findall(r"Booting worker with pid: (\d+)", started.log.read_text()))
    for stopped, requests in ((first, 3), (second, 4)):
        with paused(stopped):
            for _ in range(requests):
                answer = plain_http.post(started.url + "/predict", json={"text": ["good"]})
                assert answer.status_code == 200
    until(lambda: counted(started) == {"POST /predict 200": 7}, "seven requests are counted")
    assert started.metric('valence_cache_texts_total{source="model"}') == 2  # each worker has a memory of its own
    assert started.metric('valence_cache_texts_total{source="memory"}') == 5
    assert started.metric("valence_cache_entries") == 2
    with socket.create_connection(("127.0.0.1", int(started.url.rpartition(":")[2]))) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        until(lambda: started.metric("http_requests_in_flight") == 1, "the request under way is seen")
    until(lambda: started.metric("http_requests_in_flight") == 0, "it is gone with its client")
    assert len(list(tmp_path.glob("valence-metrics-*"))) == 1
    assert started.stop() == 0
    assert list(tmp_path.glob("valence-metrics-*")) == []


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Stop a worker for a while, so that the other one answers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _overload(client: httpx.Client, text: str, *, texts: int) -> list[httpx.Response]:
    """Send several requests of many texts at the same time."""
    bodies = [{"text": [f"{number} {part} {text}" for part in range(texts)]} for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda body: client.post("/predict", json=body), bodies))
