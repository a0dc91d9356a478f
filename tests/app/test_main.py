"""The application put together: wrapped by a user's middleware, and asked before its model is there."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.app import plain_http
from tests.app.guarded import AUTHORIZATION, BODY
from tests.app.raw_http import Client, ask, post
from tests.conftest import Service, StartService, until

PASSWORD = b"Authorization: " + AUTHORIZATION
TEXT = b'{"text": ["A guarded film."]}'
CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"


@pytest.fixture
def guarded(start_service: StartService) -> Iterator[tuple[Service, Client]]:
    """The service behind a guard, ready, and a connection to it."""
    started = start_service(module="tests.app.guarded")
    until(lambda: '"event":"ready"' in started.log.read_text(), "the model is loaded")
    client = Client(int(started.url.rpartition(":")[2]))
    with closing(client.socket):
        yield started, client


def chunked(*lines: bytes) -> bytes:
    """The body in two chunks."""
    first, second = TEXT[:9], TEXT[9:]
    return CHUNKED % (b"".join(line + b"\r\n" for line in lines), len(first), first, len(second), second)


def test_nothing_gets_past_a_middleware(guarded: tuple[Service, Client]) -> None:
    """Whatever the route and however it is sent: the guard answers, and the service hears nothing of it."""
    service, client = guarded
    get = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
    paths = (b"/readyz", b"/health", b"/model/info", b"/metrics/summary", b"/", b"/predict", b"/none")
    for request in (*(get % path for path in paths), post(TEXT), chunked(), post(TEXT, target=b"/predict?a=b")):
        assert ask(client, request)[::2] == (b"HTTP/1.1 401 Unauthorized", BODY)
    pipeline = [post(TEXT), chunked(), get % b"/readyz", post(TEXT)]
    client.send(b"".join(pipeline))
    assert [client.answer()[0] for _ in pipeline] == [b"HTTP/1.1 401 Unauthorized"] * 4
    whole = chunked()
    client.send(*(whole[at : at + 7] for at in range(0, len(whole), 7)))
    assert client.answer()[2] == BODY
    assert service.metric("valence_top_score_count") == 0
    assert 'status="401"' not in plain_http.get(service.metrics_url).text
    known = ask(client, post(TEXT, PASSWORD))
    assert (known[0], known[1]["x-cache"]) == (b"HTTP/1.1 200 OK", "0/1")


def test_each_request_of_a_connection_is_guarded(guarded: tuple[Service, Client]) -> None:
    """Who knows the password is answered, and who comes behind them in the same pipeline is not."""
    service, client = guarded
    requests = [post(TEXT, PASSWORD), post(TEXT), chunked(PASSWORD), chunked(), post(TEXT, PASSWORD)]
    client.send(b"".join(requests))
    statuses = [client.answer()[0].split()[1] for _ in requests]
    assert statuses == [b"200", b"401", b"200", b"401", b"200"]
    assert service.metric("valence_top_score_count") == 3


def test_requests_wait_while_the_model_is_loaded(start_service: StartService) -> None:
    """A worker that replaces another one takes connections at once: whoever comes early waits, and gets an answer."""
    started = start_service(VALENCE_ENGINE="onnxruntime", VALENCE_DRAIN_SECONDS="0")
    until(lambda: started.get("/livez"), "it answers")
    with ThreadPoolExecutor(16) as pool:
        asked = [{"text": [f"early text {number}"]} for number in range(16)]
        answers = list(pool.map(lambda body: plain_http.post(started.url + "/predict", json=body), asked))
    assert [answer.status_code for answer in answers] == [200] * 16
    started.stop()
    lines = [json.loads(line) for line in started.log.read_text().splitlines()]
    (ready,) = (line["timestamp"] for line in lines if line["event"] == "ready")
    began = [line["timestamp"] for line in lines if line.get("route") == "/predict"]
    assert len(began) == 16
    assert min(began) < ready, "none came early enough to try anything"


def test_who_waits_for_the_model_in_vain_is_told(start_service: StartService) -> None:
    """After `VALENCE_TIMEOUT`: 503, with what it waited for."""
    started = start_service(VALENCE_ENGINE="onnxruntime", VALENCE_TIMEOUT="0.01")
    until(lambda: started.get("/livez"), "it answers")
    early = plain_http.post(started.url + "/predict", json={"text": ["good"]})
    assert (early.status_code, early.headers["Retry-After"]) == (503, "1")
    ((detail),) = early.json()["detail"]
    assert detail["type"] == "not_ready"
    assert detail["msg"] == "the model is being loaded"
    started.wait_ready()
