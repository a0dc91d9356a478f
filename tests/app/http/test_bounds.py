"""What one client, or all together, may take: heads, URLs, bodies, connections; each refusal in the error's shape."""

import json
import re
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.app import plain_http
from tests.app.proxies import envoy, running
from tests.app.raw_http import Client, ask, post
from tests.conftest import Service, StartService, free_port, until

BODY = b'{"text": ["A bounded film."]}'
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


Dial = Callable[[int], Client]


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Bare connections to a port of this machine, closed behind the test."""
    with ExitStack() as stack:

        def connect(port: int) -> Client:
            client = Client(port)
            stack.callback(client.socket.close)
            return client

        yield connect


@pytest.fixture
def client(service: Service, dial: Dial) -> Client:
    """A bare connection to the running service."""
    return dial(int(service.url.rpartition(":")[2]))


def refused(client: Client, request: bytes, status: bytes, kind: str) -> None:
    """The error's shape, an id, and the end of the connection."""
    client.socket.sendall(request)
    line, headers, body = client.answer()
    assert line.startswith(b"HTTP/1.1 " + status)
    assert [item["type"] for item in json.loads(body)["detail"]] == [kind]
    assert headers["x-request-id"]
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert client.closed()


@pytest.mark.parametrize(
    ("request_bytes", "status", "kind"),
    [
        pytest.param(GET + b"X: %b\r\n\r\n" % (b"x" * 40_000), b"431", "head_too_large", id="one long header"),
        pytest.param(GET + b"A: b\r\n" * 101 + b"\r\n", b"431", "head_too_large", id="many headers"),
        pytest.param(GET + b"X: %b\r\n" % (b"x" * 60_000), b"431", "head_too_large", id="a head without an end"),
        pytest.param(GET + b"a:\r\n" * 8_000, b"431", "head_too_large", id="header lines without an end"),
        pytest.param(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 9_000), b"414", "url_too_long", id="a long URL"),
        pytest.param(b"GET /%b" % (b"x" * 20_000), b"414", "url_too_long", id="a URL without an end"),
        pytest.param(b"GET /livez HTTP/1.1\r\n\r\n", b"400", "malformed_request", id="no Host"),
        pytest.param(GET + b"Host: y\r\n\r\n", b"400", "malformed_request", id="two Hosts"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400", "malformed_request", id="HTTP/2"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400", "malformed_request", id="TLS"),
        pytest.param(GET + b"a b: c\r\n\r\n", b"400", "malformed_request", id="a space in a name"),
        pytest.param(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
            "malformed_request",
            id="two lengths",
        ),
        pytest.param(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
            b"400",
            "malformed_request",
            id="no chunk",
        ),
    ],
)
def test_what_exceeds_a_bound_or_is_no_http_is_refused(
    client: Client, request_bytes: bytes, status: bytes, kind: str
) -> None:
    """With a JSON body, and nothing is read behind it."""
    refused(client, request_bytes, status, kind)


def test_large_heads_within_the_bounds_are_served(client: Client) -> None:
    """32 KiB in 100 lines, however they are cut; and heads do not add up from request to request."""
    head = GET + b"X: %b\r\n" % (b"x" * 30_000) + b"A: b\r\n" * 97
    for cut in (1, 15_000, 20_000, len(head)):
        client.send(head[:cut], head[cut:] + b"\r\n")
        assert client.answer()[0] == b"HTTP/1.1 200 OK"
    client.send((head + b"\r\n") * 5)
    assert {client.answer()[0] for _ in range(5)} == {b"HTTP/1.1 200 OK"}
    client.socket.close()


def test_refusal_waits_for_its_turn(client: Client) -> None:
    """What was asked before it is answered first."""
    client.send(post(b'{"text": ["Not known before %d."]}' % time.time_ns()) + GET + b"a b\r\n\r\n")
    assert client.answer()[0] == b"HTTP/1.1 200 OK"
    assert client.answer()[0].startswith(b"HTTP/1.1 400")
    assert client.closed()


def test_refusals_are_counted_and_logged(start_service: StartService, dial: Dial) -> None:
    """Each by its reason."""
    started = start_service().wait_ready()
    refused(dial(int(started.url.rpartition(":")[2])), b"no HTTP\r\n\r\n", b"400", "malformed_request")
    assert started.metric('valence_requests_rejected_total{reason="malformed"}') == 1
    assert started.metric('http_requests_total{method="other",route="unmatched",status="400"}') == 1
    until(lambda: re.search(r'"event":"request".*"status":400', started.log.read_text()), "there is a line in the log")


def test_slow_heads_and_slow_rests_end(start_service: StartService, dial: Dial) -> None:
    """A byte now and then keeps no connection open: 408 for a head, the end for what was answered before its end."""
    started = start_service(VALENCE_TIMEOUT="1").wait_ready()
    port = int(started.url.rpartition(":")[2])
    slow, rest = dial(port), dial(port)
    slow.send(b"GET /")
    rest.send(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert rest.answer()[0].startswith(b"HTTP/1.1 405")
    for sender in (slow, rest):
        trickle(sender.socket)
    assert slow.answer()[0].startswith(b"HTTP/1.1 408")
    assert slow.closed()
    assert started.metric('valence_requests_rejected_total{reason="slow_head"}') == 1


def trickle(connection: socket.socket) -> None:
    """Send a byte, again and again, until the other side has answered or closed."""
    connection.settimeout(0.1)
    for _ in range(200):
        try:
            connection.sendall(b"x")
            if connection.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    else:
        raise AssertionError("still open")
    connection.settimeout(30)


def test_bodies_in_flight_are_bounded_together(start_service: StartService, dial: Dial) -> None:
    """What is beyond the bound is refused at once; when others have left, there is room again."""
    started = start_service(VALENCE_MAX_BODIES_BYTES="1000000").wait_ready()
    port = int(started.url.rpartition(":")[2])
    request = post(b'{"text": ["%b"]}' % (b"x " * 40_000))
    unfinished = [dial(port) for _ in range(30)]
    for one in unfinished:
        one.send(request[:-1])
    rejected = 'valence_requests_rejected_total{reason="bodies"}'
    until(lambda: started.metric(rejected) >= 18, "18 of 30 bodies are too many")
    until(lambda: started.metric(rejected) == 18, "and no more than that")
    assert ask(dial(port), post(BODY))[0] == b"HTTP/1.1 200 OK"
    for one in unfinished:
        one.socket.close()

    def served() -> bool:
        client = dial(port)
        client.send(request[:-1], request[-1:])
        return client.answer()[0] == b"HTTP/1.1 200 OK"

    until(served, "there is room again")


def test_idle_connections_make_room_and_busy_ones_do_not(start_service: StartService, dial: Dial) -> None:
    """The longest idle goes first; where all are busy, a new one is answered 503."""
    started = start_service(VALENCE_MAX_CONNECTIONS="4").wait_ready()
    port = int(started.url.rpartition(":")[2])
    idle = [dial(port) for _ in range(4)]
    for one in idle:
        assert ask(one, GET + b"\r\n")[0] == b"HTTP/1.1 200 OK"
    new = dial(port)
    assert ask(new, GET + b"\r\n")[0] == b"HTTP/1.1 200 OK"
    closed = select.select([one.socket for one in idle], [], [], 30)[0]
    assert [one.recv(1) for one in closed] == [b""]
    busy = []
    for number in range(1, 5):
        busy.append(dial(port))
        busy[-1].send(post(BODY)[:-1])
        until(lambda: started.metric("http_requests_in_flight") == number, "it is busy")  # noqa: B023 - used at once
    refused(dial(port), b"", b"503", "too_many_connections")
    for one in busy:
        one.send(post(BODY)[-1:])
        assert one.answer()[0] == b"HTTP/1.1 200 OK"
    assert started.metric("valence_idle_connections_closed_total") >= 3
    until(lambda: '"idle_connections_closed"' in started.log.read_text(), "there is a line in the log")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux limits the open files of a process that runs")
def test_clients_are_served_although_files_run_out(start_service: StartService, dial: Dial) -> None:
    """`ulimit -n 64` and 300 idle clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        started = start_service()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1024)), hard))
    started.wait_ready()
    port = int(started.url.rpartition(":")[2])
    for _ in range(300):
        dial(port)
    for number in range(20):
        body = b'{"text": ["Served, although files run out: %d"]}' % number
        assert ask(dial(port), post(body))[0] == b"HTTP/1.1 200 OK"
    assert started.metric("valence_idle_connections_closed_total") > 200
    assert "the limit of open files leaves room for" in started.log.read_text()


def resident_bytes(service: Service) -> float:
    """Of the worker."""
    return service.metric("process_resident_memory_bytes")


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_one_client_cannot_fill_the_memory(start_service: StartService, dial: Dial) -> None:
    """56 MB of header lines on one connection, and 450 connections with unfinished bodies of 1 MiB."""
    started = start_service().wait_ready()
    port = int(started.url.rpartition(":")[2])
    before = resident_bytes(started)
    flood = dial(port)
    with suppress(OSError):  # refused and closed
        flood.socket.sendall(GET + b"header-line: without an end\r\n" * 2_000_000)
    taken = unfinished_bodies(started, [dial(port) for _ in range(450)]) - before
    assert taken < 150_000_000
    assert plain_http.post(started.url + "/predict", content=BODY).status_code == 200


def unfinished_bodies(service: Service, clients: list[Client]) -> float:
    """Send 1 MiB on each connection but its last byte; the most memory that the worker took."""
    request = post(b'{"text": ["%b"]}' % (b"x " * 500_000))
    most = 0.0
    for number, one in enumerate(clients):
        one.socket.settimeout(30)
        with suppress(ConnectionError):  # refused and closed
            one.send(request[:-1])
        if number % 50 == 0:
            most = max(most, resident_bytes(service))
    return max(most, resident_bytes(service))


def test_one_client_behind_envoy_cannot_fill_the_memory(
    start_service: StartService, dial: Dial, tmp_path: Path
) -> None:
    """The same bodies through a proxy that passes each on as it comes; another client of the proxy is served."""
    started = start_service().wait_ready()
    port = free_port()
    with running(envoy(tmp_path, port, started.url[7:]), port):
        before = resident_bytes(started)
        taken = unfinished_bodies(started, [dial(port) for _ in range(450)]) - before
        assert taken < 150_000_000
        assert plain_http.post(f"http://127.0.0.1:{port}/predict", content=BODY).status_code == 200


def test_client_that_has_left_leaves_no_traceback(start_service: StartService, dial: Dial) -> None:
    """Whenever it leaves."""
    started = start_service().wait_ready()
    port = int(started.url.rpartition(":")[2])
    for number in range(50):
        client = dial(port)
        client.send(post(b'{"text": ["Never to be read: %d"]}' % number) * 3 + GET)
        if number % 2:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()
    until(lambda: started.metric("valence_queue_texts") == 0, "nothing waits")
    started.process.send_signal(signal.SIGINT)
    started.process.wait(300)
    log = Path(started.log).read_text()
    assert "Traceback" not in log
    assert "unexpected_error" not in log
    assert '"level":"error"' not in log.replace(" ", "")
