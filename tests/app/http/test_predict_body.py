"""The size of a body, byte by byte on a socket: what is too large is refused before it is read, and the client is told.

httpx is too polite for this: some clients send all they have before they read, some never send what they announced.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.app import plain_http
from tests.conftest import Service, StartService

LIMIT = 1_048_576
TEXT = b'{"text": ["I love you."]}'
TOO_LARGE = "exceed the limit of 1048576 bytes (VALENCE_MAX_BODY_BYTES)"


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    """A connection; whoever waits on it too long fails."""
    address = urlsplit(service.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30) as opened:
        yield opened


def head(*headers: str) -> bytes:
    """The first lines of a request."""
    return "\r\n".join(["POST /predict HTTP/1.1", "Host: valence", *headers, "", ""]).encode()


def chunked(body: bytes, size: int = 65_536) -> bytes:
    """The body as chunks, the last one empty."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def answer(connection: socket.socket) -> tuple[int, str, bytes]:
    """Status, headers and body of the response on a connection that the service closes or that ends with its length."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        assert part, f"closed after {received!r}"
        received += part
    headers, _, body = received.partition(b"\r\n\r\n")
    lines = headers.decode().lower().splitlines()
    (length,) = [int(line.split()[1]) for line in lines if line.startswith("content-length:")]
    while len(body) < length:
        body += connection.recv(65_536)
    return int(lines[0].split()[1]), "\n".join(lines), body


def message(body: bytes) -> str:
    """The sentence of the only fault."""
    ((detail),) = json.loads(body)["detail"]
    assert (detail["type"], detail["loc"]) == ("too_large", ["body"])
    return str(detail["msg"])


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_body_of_exactly_the_limit_is_answered(service: Service, framing: str) -> None:
    """1,048,576 bytes are within the limit, however they are framed."""
    body = TEXT.ljust(LIMIT)
    with connected(service) as connection:
        if framing == "length":
            connection.sendall(head(f"Content-Length: {LIMIT}") + body)
        else:
            connection.sendall(head("Transfer-Encoding: chunked") + chunked(body))
        assert answer(connection)[0] == 200


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT], ids=["one-byte", "two-mebibytes"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_client_that_sends_first_and_reads_afterwards_gets_its_413(service: Service, framing: str, size: int) -> None:
    """The connection is not reset under a client that is still sending; then it is closed."""
    body = TEXT.ljust(size)
    with connected(service) as connection:
        if framing == "length":
            connection.sendall(head(f"Content-Length: {size}") + body)
        else:
            connection.sendall(head("Transfer-Encoding: chunked") + chunked(body))
        status, headers, content = answer(connection)
        assert status == 413
        assert "connection: close" in headers
        received = f"{size} bytes " if framing == "length" else "the body exceeds"
        assert message(content).startswith(received)
        assert message(content).endswith("the limit of 1048576 bytes (VALENCE_MAX_BODY_BYTES)")
        assert connection.recv(1) == b""


def test_client_that_asks_first_need_not_send(service: Service) -> None:
    """`Expect: 100-continue` (curl, for large bodies) is answered with the refusal and not with "continue"."""
    with connected(service) as connection:
        connection.sendall(head(f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        status, _, body = answer(connection)
        assert status == 413
        assert message(body) == f"{LIMIT + 1} bytes {TOO_LARGE}"


def test_client_that_asks_first_may_send_what_fits(service: Service) -> None:
    """It is told to continue, and then answered."""
    with connected(service) as connection:
        connection.sendall(head(f"Content-Length: {len(TEXT)}", "Expect: 100-continue"))
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(TEXT)
        assert answer(connection)[0] == 200


def test_endless_body_is_cut_off(service: Service) -> None:
    """A client that goes on and on is not read for ever: its connection ends while it is still sending."""
    chunks = chunked(b" " * 67_108_864)
    with connected(service) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(chunks)


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: ten"],
        ["Content-Length: -1"],
        ["Content-Length: +25"],
        ["Content-Length: 2_5"],
        ["Content-Length: " + "9" * 30],
        ["Content-Length: 25", "Content-Length: 26"],
        ["Content-Length: 25", "Transfer-Encoding: chunked"],
    ],
    ids=["word", "negative", "sign", "underscore", "beyond-64-bits", "two", "with-chunks"],
)
def test_ambiguous_length_is_no_http(service: Service, headers: list[str]) -> None:
    """What proxies could read in two ways (request smuggling) is refused by the server itself."""
    with connected(service) as connection:
        connection.sendall(head(*headers) + TEXT)
        status, lines, _ = answer(connection)
        assert status == 400
        assert "connection: close" in lines


def test_client_that_leaves_does_no_harm(service: Service) -> None:
    """Half a body and a closed connection: the next client is served."""
    with connected(service) as connection:
        connection.sendall(head("Content-Length: 1000") + TEXT)
    with connected(service) as connection:
        connection.sendall(head(f"Content-Length: {len(TEXT)}") + TEXT)
        assert answer(connection)[0] == 200


def test_limit_is_a_setting(start_service: StartService) -> None:
    """A smaller limit refuses what the default takes, and the message names it."""
    small = start_service(VALENCE_MAX_BODY_BYTES="25").wait_ready()
    for body, status in ((TEXT, 200), (TEXT + b" ", 413)):
        with connected(small) as connection:
            connection.sendall(head(f"Content-Length: {len(body)}") + body)
            found, _, content = answer(connection)
            assert found == status
    assert message(content) == "26 bytes exceed the limit of 25 bytes (VALENCE_MAX_BODY_BYTES)"


@pytest.mark.parametrize("begun", [b"", b'{"text": ['], ids=["before it begins", "half-way"])
def test_body_that_stalls_is_refused(start_service: StartService, begun: bytes) -> None:
    """A client that announces more than it sends gets 408 after the timeout, and holds nothing up."""
    slow = start_service(VALENCE_TIMEOUT="0.2").wait_ready()
    with socket.create_connection(("127.0.0.1", int(slow.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n" + begun)
        connection.settimeout(30)
        answer = connection.makefile("rb").read()  # to the end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"type":"too_slow","loc":["body"],"msg":"the body did not come within 0.2 s (VALENCE_TIMEOUT)"' in answer


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'\xef\xbb\xbf{"text": ["a"]}', "byte_order_mark"),
        ('{"text": ["a"]}'.encode("utf-16"), "byte_order_mark"),
        (b'{"text": ["a"], "text": ["b"]}', "duplicate_key"),
        (b'{"text": ["a"], "\\u0074ext": ["b"]}', "duplicate_key"),
        (b'{"t\\u0065xt": ["a"], "te\\u0078t": ["b"]}', "duplicate_key"),
    ],
)
def test_body_that_parsers_read_differently_is_refused(service: Service, body: bytes, kind: str) -> None:
    """By what it is, and not as invalid JSON."""
    answer = plain_http.post(service.url + "/predict", content=body)
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, kind)


@pytest.mark.parametrize(
    "body", [b'{"text": ["text"]}', b'{"t\\u0065xt": ["\\u0074ext"]}', b'{"text": ["\\"text\\":"]}']
)
def test_key_that_is_also_a_text_is_no_duplicate(service: Service, body: bytes) -> None:
    """However either is spelt."""
    assert plain_http.post(service.url + "/predict", content=body).status_code == 200
