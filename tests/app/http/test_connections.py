"""What a connection may do: requests in pieces, in a row, without end."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.app.raw_http import Client, ask, post
from tests.conftest import Service, StartService, until

BODY = b'{"text": ["A perfectly repeatable film."]}'


@contextmanager
def connect(service: Service) -> Iterator[Client]:
    """A connection to the real service."""
    client = Client(int(service.url.rpartition(":")[2]))
    with closing(client.socket):
        yield client


def test_repeated_prediction_is_answered_as_before(service: Service) -> None:
    """Model, cache, repeated: status, body and headers are the same, but for what tells requests apart."""
    own = {"x-request-id", "x-timestamp", "x-latency-ms", "date"}
    with connect(service) as client:
        scored, cached, repeated, again = (ask(client, post(BODY)) for _ in range(4))
    assert scored[2] == cached[2] == repeated[2] == again[2]
    assert cached[0] == repeated[0] == again[0] == b"HTTP/1.1 200 OK"
    assert list(cached[1]) == list(repeated[1])
    for answer in (repeated, again):
        assert {name: answer[1][name] for name in answer[1] if name not in own} == {
            name: cached[1][name] for name in cached[1] if name not in own
        }
        assert re.fullmatch(r"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", answer[1]["x-timestamp"])
    assert cached[1]["x-cache"] == "1/1"
    assert len({answer[1]["x-request-id"] for answer in (scored, cached, repeated, again)}) == 4


def test_repeated_prediction_keeps_the_callers_id(service: Service) -> None:
    """And replaces one that could break a header or a log line."""
    with connect(service) as client:
        for _ in range(3):
            ask(client, post(BODY))
        assert ask(client, post(BODY, b"X-Request-ID: mine-1"))[1]["x-request-id"] == "mine-1"
        assert ask(client, post(BODY, b'X-Request-ID: "quoted"'))[1]["x-request-id"] != '"quoted"'


def test_repeated_predictions_are_counted_and_logged(start_service: StartService) -> None:
    """Request by request."""
    started = start_service().wait_ready()
    with connect(started) as client:
        for number in range(20):
            assert ask(client, post(BODY, b"X-Request-ID: r%d" % number))[0] == b"HTTP/1.1 200 OK"
    assert started.metric('http_requests_total{method="POST",route="/predict",status="200"}') == 20
    assert started.metric('http_request_duration_seconds_count{method="POST",route="/predict",status="200"}') == 20
    assert started.metric('valence_cache_texts_total{source="memory"}') == 19
    assert started.metric("valence_text_tokens_count") == 20
    until(lambda: started.log.read_text().count('"request_id":"r') == 20, "each request has its line")


def test_body_in_pieces_and_headers_in_pieces(service: Service) -> None:
    """However TCP cuts a request."""
    request = post(BODY)
    with connect(service) as client:
        expected = ask(client, request)[2]
        for cut in (1, 20, len(request) - len(BODY), len(request) - len(BODY) + 1, len(request) - 1):
            for _ in range(3):
                client.send(request[:cut], request[cut:])
                assert client.answer()[2] == expected


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    """Known and unknown texts one behind the other in one segment: each answer in its turn."""
    with connect(service) as client:
        known = ask(client, post(BODY))[2]
        for _ in range(2):
            ask(client, post(BODY))
        unknown = [b'{"text": ["Unknown number %d, quite good."]}' % number for number in range(3)]
        client.send(b"".join(post(BODY) + post(body) + post(BODY) + post(b"{") for body in unknown))
        for _ in unknown:
            answers = [client.answer() for _ in range(4)]
            assert [status for status, _, _ in answers][:3] == [b"HTTP/1.1 200 OK"] * 3
            assert answers[0][2] == answers[2][2] == known != answers[1][2]
            assert answers[3][0].startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize(
    ("request_bytes", "closes"),
    [
        pytest.param(post(BODY, b"Connection: close"), True, id="close"),
        pytest.param(post(BODY, version=b"1.0"), True, id="HTTP/1.0"),
        pytest.param(post(BODY, target=b"/predict?a=b"), False, id="query"),
    ],
)
def test_unusual_requests_have_the_same_answer(service: Service, request_bytes: bytes, *, closes: bool) -> None:
    """And the connection ends if the client wants that."""
    with connect(service) as warm:
        expected = [ask(warm, post(BODY))[2] for _ in range(3)][-1]
    with connect(service) as client:
        status, _, body = ask(client, request_bytes)
        assert (status, body) == (b"HTTP/1.1 200 OK", expected)
        assert not closes or client.closed()


def test_chunked_body_and_100_continue(service: Service) -> None:
    """Bodies without a length, and clients that wait to be asked for theirs."""
    with connect(service) as client:
        expected = [ask(client, post(BODY))[2] for _ in range(3)][-1]
        chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        assert ask(client, chunked % (len(BODY), BODY))[2] == expected
        head = post(BODY, b"Expect: 100-continue")[: -len(BODY)]
        client.send(head)
        assert client.socket.recv(100).startswith(b"HTTP/1.1 100")
        client.send(BODY)
        assert client.answer()[2] == expected


def test_client_that_does_not_read_is_not_read_either(service: Service) -> None:
    """Answers that nobody takes do not fill the memory; whoever reads at last gets every one."""
    with connect(service) as client:
        for _ in range(3):
            ask(client, post(BODY))
        before = service.metric("process_resident_memory_bytes")
        sent = send_until_blocked(client.socket, post(BODY) * 100)
        assert service.metric("process_resident_memory_bytes") - before < 64_000_000
        whole = len(post(BODY))
        rest = post(BODY)[sent % whole :] if sent % whole else b""
        sender = threading.Thread(target=client.socket.sendall, args=(rest,))
        sender.start()
        for _ in range(-(-sent // whole)):
            assert client.answer()[0] == b"HTTP/1.1 200 OK"
        sender.join()
        assert ask(client, post(BODY))[0] == b"HTTP/1.1 200 OK"


def send_until_blocked(connection: socket.socket, data: bytes) -> int:
    """Send `data` over and over until the other side takes no more for a second; returns the bytes sent."""
    sent = 0
    connection.settimeout(1)
    while sent < 500_000_000:
        try:
            sent += connection.send(data[sent % len(data) :])
        except TimeoutError:
            connection.settimeout(30)
            return sent
    raise AssertionError(f"{sent} bytes, and still it reads")
