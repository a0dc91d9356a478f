"""Traces of the running service, as a real OTLP receiver decodes them."""

import json
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.app import plain_http
from tests.app.otlp_receiver import FAST, Received, Receiver, receiving
from tests.conftest import RedisServer, Service, StartService, until

COLD = ("POST /predict", "cache", "tokenise", "queue", "inference")
COUNT = 'http_request_duration_seconds_count{method="POST",route="/predict",status="200"}'
DIARY = "my neighbour's diary"
BUSY = ["quite a long story " * 300 + str(number) for number in range(16)]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """One receiver for this module."""
    with receiving() as started:
        yield started


@pytest.fixture(scope="module")
def traced(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service that sends it spans; each test has traces of its own."""
    started = Service(
        tmp_path_factory.mktemp("traced") / "service.log",
        **FAST,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        VALENCE_THREADS="1",
        VALENCE_MAX_BATCH_TOKENS="1024",
        VALENCE_TIMEOUT="300",
        VALENCE_DRAIN_SECONDS="0",
        FASTAPI_OTEL_AUTO_CONFIGURE="true",
    )
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def new_trace(*, sampled: bool = True) -> tuple[str, dict[str, str]]:
    """A trace id, and the header of a caller that has begun it with the span 00000000000000aa."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-00000000000000aa-0{int(sampled)}"}


def predict(service: Service, *texts: str, **headers: str) -> httpx.Response:
    """Post texts."""
    return plain_http.post(service.url + "/predict", json={"text": texts}, headers=headers)


def keep_busy(service: Service) -> socket.socket:
    """Send a request that takes the only thread for a while; close the socket to give it up."""
    body = json.dumps({"text": [f"{secrets.token_hex(4)} {text}" for text in BUSY]}).encode()
    connection = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])))
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    until(lambda: service.metric("valence_queue_texts") > 0, "its texts wait")
    return connection


def children(spans: list[Received]) -> dict[str, Received]:
    """By name, but for the server span, whose children they must be."""
    (own,) = (span for span in spans if span.kind == "server")
    assert {span.parent_id for span in spans} == {own.parent_id, own.span_id}
    return {span.name: span for span in spans if span is not own}


def test_cold_request(traced: Service, receiver: Receiver) -> None:
    """Every step is a child of the server span, in its order and inside its time; inference links to its batch."""
    trace_id, headers = new_trace()
    sent = time.time_ns()
    predict(traced, "a cold text", **headers, **{"X-Request-ID": "cold-1", "tracestate": "vendor=1,other=2"})
    spans = receiver.trace(trace_id, *COLD)
    assert [span.name for span in spans] == list(COLD)
    own, steps = spans[0], children(spans)
    assert (own.kind, own.parent_id, own.tracestate, own.failed) == (
        "server",
        "00000000000000aa",
        "vendor=1,other=2",
        False,
    )
    assert own.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "valence.request_id": "cold-1",
        "valence.texts": 1,
        "valence.hits.memory": 0,
    }
    assert sent <= own.began
    assert own.ended <= time.time_ns()
    for before, after in pairwise(spans[1:]):
        # Each moment is placed on the wall clock by itself, to some nanoseconds.
        assert own.began <= before.began <= before.ended <= after.began + 1_000
        assert after.began <= after.ended <= own.ended + 1_000
    assert steps["cache"].attributes == {"valence.texts": 1, "valence.hits": 0}
    assert steps["tokenise"].attributes == {"valence.texts": 1, "valence.tokens": 5}
    batch = {"valence.batch.texts": 1, "valence.batch.tokens": 5, "valence.batch.padding": 0}
    assert steps["inference"].attributes == {"valence.texts": 1, **batch}
    (link,) = steps["inference"].links
    run = receiver.linked(link)
    assert (run.name, run.parent_id, run.attributes) == ("batch", "", batch)
    assert run.links == ((trace_id, own.span_id),)
    assert (run.began, run.ended) == pytest.approx((steps["inference"].began, steps["inference"].ended), abs=1e6)


def test_warm_request(traced: Service, receiver: Receiver) -> None:
    """A known text costs a look-up."""
    predict(traced, "a warm text", **new_trace(sampled=False)[1])
    trace_id, headers = new_trace()
    predict(traced, "a warm text", **headers)
    own, cache = receiver.trace(trace_id, "POST /predict", "cache")
    assert cache.attributes == {"valence.texts": 1, "valence.hits": 1}
    assert own.attributes["valence.hits.memory"] == own.attributes["valence.texts"] == 1


def test_several_texts(traced: Service, receiver: Receiver) -> None:
    """Hits and misses of one request are told apart; texts of one batch share their spans."""
    predict(traced, "first of several")
    trace_id, headers = new_trace()
    predict(traced, "first of several", "second one", "third of several", "second one", **headers)
    until(lambda: any(span.name == "POST /predict" for span in receiver.spans if span.trace_id == trace_id), "it ends")
    spans = [span for span in receiver.spans if span.trace_id == trace_id]
    own = receiver.span(trace_id, "POST /predict")
    assert (own.attributes["valence.texts"], own.attributes["valence.hits.memory"]) == (4, 1)
    for name in ("queue", "inference"):
        assert sum(span.attributes["valence.texts"] for span in spans if span.name == name) == 2
    assert receiver.span(trace_id, "tokenise").attributes == {"valence.texts": 2, "valence.tokens": 4 + 5}


def test_requests_in_one_batch(traced: Service, receiver: Receiver) -> None:
    """Requests that wait together leave in one batch: each links to its span, and it to each of theirs."""
    requests = [new_trace() for _ in range(3)]
    mark = secrets.token_hex(4)
    with ThreadPoolExecutor(3) as pool, keep_busy(traced):
        answers = [pool.submit(predict, traced, f"{mark} {n}", **head) for n, (_, head) in enumerate(requests)]
        assert [answer.result().status_code for answer in answers] == [200] * 3
    own = [receiver.span(trace_id, "POST /predict") for trace_id, _ in requests]
    links = {receiver.span(trace_id, "inference").links for trace_id, _ in requests}
    ((link,),) = links
    batch = receiver.linked(link)
    assert set(batch.links) == {(span.trace_id, span.span_id) for span in own}
    assert batch.attributes["valence.batch.texts"] >= 3


def test_coalesced_request(traced: Service, receiver: Receiver) -> None:
    """Who waits for a text that another request has sent to the model links to the same batch."""
    (first, first_headers), (second, second_headers) = new_trace(), new_trace()
    text = f"wanted twice {secrets.token_hex(4)}"
    with ThreadPoolExecutor(2) as pool, keep_busy(traced):
        waiting = traced.metric("valence_queue_texts")
        asked = pool.submit(predict, traced, text, **first_headers)
        until(lambda: traced.metric("http_requests_in_flight") >= 2, f"the first waits beside {waiting}")
        joined = pool.submit(predict, traced, text, **second_headers)
        assert (asked.result().status_code, joined.result().status_code) == (200, 200)
    receiver.span(first, "POST /predict")
    receiver.span(second, "POST /predict")
    names = {trace: {span.name for span in receiver.spans if span.trace_id == trace} for trace in (first, second)}
    owner, waiter = (first, second) if "tokenise" in names[first] else (second, first)
    assert names == {owner: set(COLD), waiter: set(COLD) - {"tokenise"}}
    inferences = [receiver.span(trace, "inference") for trace in (first, second)]
    assert inferences[0].links == inferences[1].links
    assert len(receiver.linked(inferences[0].links[0]).links) == 2


def test_redis_request(redis_server: RedisServer, start_service: StartService, receiver: Receiver) -> None:
    """Redis is a client span: what was asked, and what it knew."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "VALENCE_REDIS_URL": redis_server.url, **FAST}
    one = start_service(**settings).wait_ready()
    trace_id, headers = new_trace()
    predict(one, "known to Redis", **headers)
    spans = receiver.trace(trace_id, *COLD, "redis")
    assert [span.name for span in spans] == [*COLD[:2], "redis", *COLD[2:]]
    until(lambda: known(redis_server), "it is written")
    two = start_service(**settings).wait_ready()
    trace_id, headers = new_trace()
    predict(two, "known to Redis", **headers)
    own, _, redis = receiver.trace(trace_id, "POST /predict", "cache", "redis")
    assert redis.kind == "client"
    assert redis.attributes == {
        "db.system.name": "redis",
        "db.operation.name": "MGET",
        "valence.keys": 1,
        "valence.hits": 1,
    }
    assert own.attributes["valence.hits.redis"] == 1


def known(server: RedisServer) -> bool:
    """Whether Redis holds a key."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"DBSIZE\r\n")
        return connection.recv(64).startswith(b":1")


def test_unsampled_parent_is_believed(traced: Service, receiver: Receiver) -> None:
    """A caller that is not sampled costs no span, no exemplar and no field in the log."""
    unsampled, headers = new_trace(sampled=False)
    predict(traced, "not sampled", **headers)
    sampled, headers = new_trace()
    predict(traced, "sampled", **headers)
    receiver.trace(sampled, *COLD)
    assert [span for span in receiver.spans if span.trace_id == unsampled] == []
    until(lambda: sampled in traced.log.read_text(), "the log line is written")
    assert unsampled not in traced.log.read_text()


@pytest.mark.parametrize(
    "traceparent",
    [
        "00-{trace}-00000000000000aa",
        "00-{trace}-0000000000000000-01",
        "00-{trace}-00000000000000aa-01-extra",
        "ff-{trace}-00000000000000aa-01",
        "00-00000000000000000000000000000000-00000000000000aa-01",
        "00-{upper}-00000000000000aa-01",
        "nonsense",
    ],
)
def test_malformed_parent_is_ignored(traced: Service, receiver: Receiver, traceparent: str) -> None:
    """The request starts a trace of its own, as if there had been no header."""
    trace_id, request_id = secrets.token_hex(15) + "ab", secrets.token_hex(8)
    header = traceparent.format(trace=trace_id, upper=trace_id.upper())
    predict(traced, "malformed", traceparent=header, **{"X-Request-ID": request_id})

    def roots() -> list[Received]:
        return [span for span in receiver.spans if span.attributes.get("valence.request_id") == request_id]

    until(roots, "the request is traced")
    (root,) = roots()
    assert root.parent_id == ""
    assert root.trace_id != trace_id


def test_parent_of_a_later_version_is_taken(traced: Service, receiver: Receiver) -> None:
    """Of a version that we do not know, the fields that we know."""
    trace_id, _ = new_trace()
    predict(traced, "later version", traceparent=f"cc-{trace_id}-00000000000000aa-01-what-comes-later")
    assert receiver.span(trace_id, "POST /predict").parent_id == "00000000000000aa"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [(b"{", 422, "invalid"), (b'{"text": ["' + b'","'.join([b"a"] * 129) + b'"]}', 413, "too_large")],
)
def test_refused_request(traced: Service, receiver: Receiver, body: bytes, status: int, reason: str) -> None:
    """One span with its status and reason; it is the caller's error and not marked as ours."""
    trace_id, headers = new_trace()
    plain_http.post(traced.url + "/predict", content=body, headers=headers)
    (own,) = receiver.trace(trace_id, "POST /predict")
    assert (own.attributes["http.response.status_code"], own.attributes["valence.rejected"]) == (status, reason)
    assert not own.failed
    assert "error.type" not in own.attributes


def test_full_queue_and_timeout(start_service: StartService, receiver: Receiver) -> None:
    """A 429 shows that not even tokenising was begun; a 504 is marked as an error of ours."""
    started = start_service(
        VALENCE_THREADS="1",
        VALENCE_MAX_QUEUE_TOKENS="512",
        VALENCE_TIMEOUT="0.5",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=receiver.url + "/v1/traces",
        **FAST,
    ).wait_ready()
    with keep_busy(started):
        full, headers = new_trace()
        assert predict(started, "one more", **headers).status_code == 429
    own = receiver.trace(full, "POST /predict", "cache")[0]
    assert (own.attributes["valence.rejected"], own.failed) == ("queue_full", False)
    until(lambda: started.metric("valence_queue_texts") == 0, "the queue is empty")
    late, headers = new_trace()
    assert predict(started, *(f"{text} {n}" for n in range(8) for text in BUSY), **headers).status_code == 504
    own = receiver.span(late, "POST /predict")
    assert (own.failed, own.attributes["error.type"], own.attributes["valence.rejected"]) == (True, "504", "timeout")


def test_client_that_leaves(traced: Service, receiver: Receiver) -> None:
    """Its span has no status, for nothing was answered, and says why."""
    trace_id, headers = new_trace()
    body = json.dumps({"text": [f"{secrets.token_hex(4)} {text}" for text in BUSY]}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\ntraceparent: {headers['traceparent']}\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", int(traced.url.rpartition(":")[2]))) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        until(lambda: traced.metric("valence_queue_texts") > 0, "its texts wait")
    own = receiver.span(trace_id, "POST /predict")
    assert "http.response.status_code" not in own.attributes
    assert own.attributes["error.type"] == "client_disconnected"


def test_trace_is_found_from_log_and_histogram(traced: Service, receiver: Receiver) -> None:
    """The log line has its id, and so has an exemplar of the latency histogram for whoever reads OpenMetrics."""
    trace_id, headers = new_trace()
    counted = traced.metric(COUNT)
    predict(traced, "to be found", **headers, **{"X-Request-ID": "found-1"})
    receiver.span(trace_id, "POST /predict")
    until(lambda: "found-1" in traced.log.read_text(), "the line is written")
    lines = [json.loads(line) for line in traced.log.read_text().splitlines() if "found-1" in line]
    assert [line["trace_id"] for line in lines] == [trace_id]
    openmetrics = plain_http.get(traced.metrics_url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    samples = [sample for family in text_string_to_metric_families(openmetrics.text) for sample in family.samples]
    (bucket,) = (sample for sample in samples if sample.exemplar and sample.exemplar.labels == {"trace_id": trace_id})
    assert bucket.name == "http_request_duration_seconds_bucket"
    assert (bucket.labels["route"], bucket.labels["status"]) == ("/predict", "200")
    assert bucket.exemplar.value == pytest.approx(lines[0]["latency_ms"] / 1000, abs=1e-6)
    assert traced.metric(COUNT) == counted + 1
    assert "trace_id" not in plain_http.get(traced.metrics_url).text


def test_other_routes_join_traces_but_start_none(traced: Service, receiver: Receiver) -> None:
    """Probes fill no collector; a caller that traces sees them all, by template, and never a path or a query."""
    before = len(receiver.spans)
    assert plain_http.get(traced.url + "/readyz").status_code == 200
    trace_id, headers = new_trace()
    for method, path in (("GET", "/health?a=1"), ("GET", f"/{DIARY}"), ("PROPFIND", "/health"), ("GET", "/predict")):
        plain_http.request(method, traced.url + path, headers=headers)
    names = ["GET /health", "GET", "HTTP /health", "GET /predict"]
    spans = receiver.trace(trace_id, *names)
    assert [span.name for span in spans] == names
    assert [span.attributes.get("http.route") for span in spans] == ["/health", None, "/health", "/predict"]
    assert spans[2].attributes["http.request.method"] == "_OTHER"
    assert [span.name for span in receiver.spans[before:] if "readyz" in span.name] == []


def test_no_text_leaves_the_process(traced: Service, receiver: Receiver) -> None:
    """Neither of predictions nor of refusals, paths, queries or headers; FastAPI's own telemetry stays off."""
    trace_id, headers = new_trace()
    headers |= {"User-Agent": DIARY, "Referer": DIARY, "baggage": f"text={DIARY}", "Host": DIARY, "tracestate": DIARY}
    for body in ({"text": [DIARY]}, {"text": [DIARY, 1]}, {DIARY: 1}):
        plain_http.post(traced.url + "/predict", json=body, headers=headers)
    plain_http.get(traced.url + "/predict", params={"text": DIARY}, headers=headers)
    plain_http.get(traced.url + f"/static/{DIARY}", headers=headers)
    until(lambda: sum(span.kind == "server" for span in receiver.spans if span.trace_id == trace_id) == 5, "all are in")
    until(lambda: traced.log.read_text().count(trace_id) == 5, "all are logged")
    assert b"diary" not in receiver.raw
    assert "diary" not in traced.log.read_text()
    assert {span.scope for span in receiver.spans} == {"valence"}
    assert receiver.paths == {"/v1/traces"}
