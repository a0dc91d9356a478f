"""A request that proposes another protocol is a request like any other, and its body is never one of its own.

`curl --http2` and Java's HttpClient send `Upgrade: h2c` with their first request; RFC 9110, 7.8 lets a server
ignore it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.app.proxies import envoy, nginx_command, running
from tests.app.raw_http import Client, ask, post
from tests.conftest import Service, StartService, free_port

UPGRADE = b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"
BODY = b'{"text": ["An upgrade that nobody follows."]}'
SMUGGLED = b"GET /model/info HTTP/1.1\r\nHost: x\r\n\r\n"
CLIENTS = 20


@contextmanager
def connect(port: int) -> Iterator[Client]:
    """A bare connection."""
    client = Client(port)
    with closing(client.socket):
        yield client


def port_of(service: Service) -> int:
    """Where it listens."""
    return int(service.url.rpartition(":")[2])


def test_body_behind_an_upgrade_is_the_requests(service: Service) -> None:
    """The same answer as without it, however TCP cuts the request; and the next request gets its own."""
    request = post(BODY, *UPGRADE)
    with connect(port_of(service)) as client:
        expected = ask(client, post(BODY))[2]
        for cut in range(1, len(request), 7):
            client.send(request[:cut], request[cut:])
            assert client.answer()[::2] == (b"HTTP/1.1 200 OK", expected)
        client.send(request * 3 + post(b"{") + request)
        statuses = [client.answer()[0][9:12] for _ in range(5)]
        assert statuses == [b"200", b"200", b"200", b"422", b"200"]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0", b"h2c, websocket"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"])
@pytest.mark.parametrize(
    "path", [b"/", b"/predict", b"/health", b"/metrics/summary", b"/docs", b"/static/page.js", b"/x"]
)
def test_no_body_becomes_a_request(service: Service, method: bytes, path: bytes, protocol: bytes) -> None:
    """Two requests, two answers: the body, a request in itself, has none."""
    head = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: %b\r\n" % (method, path, protocol)
    length = b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    for body in (length, chunked):
        with connect(port_of(service)) as client:
            client.send(head + body + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: client.socket.recv(65_536), b""))
        assert received.count(b"x-request-id: ") == 2
        assert received.endswith(b'{"status":"healthy"}')
        assert b"digest" not in received.replace(b"application/json", b"") or path == b"/metrics/summary"


def test_connect_is_refused(service: Service) -> None:
    """What follows a CONNECT would be a tunnel's."""
    with connect(port_of(service)) as client:
        status, headers, body = ask(client, b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED)
        assert (status, headers["connection"]) == (b"HTTP/1.1 400 Bad Request", "close")
        assert b"malformed_request" in body
        assert client.closed()


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    """An nginx that passes on what it should not, and keeps its connections."""
    return nginx_command(
        folder,
        f"""
  upstream valence {{ server {upstream}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://valence; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;
    }}
  }}""",
    )


# Envoy holds the body of a WebSocket's request back until it has been upgraded: that one would wait for its timeout.
@pytest.mark.parametrize(
    ("proxy", "protocols"), [(nginx, ("h2c", "websocket")), (envoy, ("h2c",))], ids=["nginx", "envoy"]
)
def test_every_client_behind_a_proxy_gets_its_own_answer(
    start_service: StartService,
    tmp_path: Path,
    proxy: Callable[[Path, int, str], list[str]],
    protocols: tuple[str, ...],
) -> None:
    """While one client proposes upgrades, each of many others asks for the score of a text of its own."""
    started = start_service().wait_ready()
    port = free_port()
    command = proxy(tmp_path, port, started.url[7:])
    with running(command, port):
        upgraded, mixed_up = talk(f"http://127.0.0.1:{port}/predict", protocols)
    assert mixed_up == 0
    assert started.metric('http_requests_total{method="GET",route="/model/info",status="200"}') == 0
    assert set(upgraded) == {200, 422}


def talk(url: str, protocols: tuple[str, ...]) -> tuple[list[int], int]:
    """The statuses of requests with an upgrade, and how many other answers belonged to no question of their client."""

    def upgrades(client: httpx.Client, number: int) -> int:
        headers = {"Connection": "Upgrade", "Upgrade": protocols[number % len(protocols)]}
        return client.post(url, content=(BODY, SMUGGLED)[number % 3 > 0], headers=headers).status_code

    def asks(number: int) -> int:
        with httpx.Client(trust_env=False, timeout=60) as client:
            texts = [f"Client {number} asks for {'one' if size == 1 else size} texts" for size in range(number % 7 + 1)]
            wrong = 0
            for turn in range(20):
                name = f"{number}-{turn}"
                answer = client.post(url, json={"text": texts}, headers={"X-Request-ID": name})
                own = answer.status_code == 200 and len(answer.json()["predictions"]) == len(texts)
                wrong += not own or answer.headers["x-request-id"] != name
            return wrong

    def attacks(_: int) -> list[int]:
        with httpx.Client(trust_env=False, timeout=60) as client:
            return [upgrades(client, number) for number in range(40)]

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        attack = pool.submit(attacks, 0)
        wrong = sum(pool.map(asks, range(CLIENTS)))
        return attack.result(), wrong
