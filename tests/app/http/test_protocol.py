"""uvicorn with our protocol around a small application."""

import asyncio
import gc
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Malformed
from app.http.protocol import Protocol
from tests.app.raw_http import Client, ask, post
from tests.conftest import free_port, until


@contextmanager
def small_server(application: ASGIApp, **options: Any) -> Iterator[uvicorn.Server]:
    """A uvicorn with our protocol."""
    config = uvicorn.Config(
        application, port=free_port(), http=Protocol, loop="uvloop", lifespan="off", log_config=None, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        until(lambda: server.started, "uvicorn listens")
        yield server
    finally:
        server.should_exit = True
        thread.join()


class Echo:
    """Answers each request with its body: at once, or when it is told to."""

    def __init__(self, *, waits: bool = False) -> None:
        self.asked = threading.Event()
        self.bodies: list[bytes] = []
        self._waits = waits
        self._loop: asyncio.AbstractEventLoop
        self._told: asyncio.Event

    def answer(self) -> None:
        """Answer from now on; in any thread."""
        self._loop.call_soon_threadsafe(self._told.set)

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        if self._waits:
            if not self.asked.is_set():
                self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
                self.asked.set()
            await self._told.wait()
        headers = [(b"content-length", b"%d" % len(body))]
        if body == b"last":
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        await send({"type": "http.response.body", "body": body[2:]})


def test_response_comes_in_one_piece() -> None:
    """Head and body are one write: what a client receives first is all of it."""
    with small_server(Echo()) as server:
        client = Client(server.config.port)
        client.send(post(b"echo"))
        assert client.socket.recv(65_536).endswith(b"\r\n\r\necho")
        client.socket.close()


def test_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    """The keep-alive timeout counts from the last request, and from the beginning where there is none."""
    with small_server(Echo(), timeout_keep_alive=1) as server:
        for bodies in ((), (b"one",), (b"one", b"two")):
            client = Client(server.config.port)
            for body in bodies:
                ask(client, post(body))
            assert client.closed()
            client.socket.close()
        client = Client(server.config.port)
        pause = threading.Event()
        for _ in range(8):  # for longer than the timeout, never idle for as long
            ask(client, post(b"again"))
            pause.wait(0.3)
        client.socket.close()


def test_pipelined_requests_wait_for_their_turn() -> None:
    """What was sent behind a request is begun after its answer."""
    slow = Echo(waits=True)
    with small_server(slow) as server:
        client = Client(server.config.port)
        client.send(post(b"first") + post(b"second") + post(b"third"))
        assert slow.asked.wait(30)
        assert slow.bodies == [b"first"]
        slow.answer()
        assert [client.answer()[2] for _ in range(3)] == [b"first", b"second", b"third"]
        client.socket.close()


def test_server_that_stops_answers_what_has_begun() -> None:
    """And says that the connection ends with it."""
    slow = Echo(waits=True)
    with small_server(slow) as server:
        client = Client(server.config.port)
        client.send(post(b"begun"))
        assert slow.asked.wait(30)
        server.should_exit = True
        until(lambda: not accepts_connections(server.config.port), "uvicorn listens no longer")
        slow.answer()
        _, headers, body = client.answer()
        assert (headers["connection"], body) == ("close", b"begun")
        assert client.closed()
        client.socket.close()


def accepts_connections(port: int) -> bool:
    """Whether somebody listens."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nothing_is_begun_behind_an_answer_that_closes(caplog: pytest.LogCaptureFixture) -> None:
    """The rest of a pipeline is lost with the connection, as the client was told."""
    echo = Echo()
    with small_server(echo) as server:
        client = Client(server.config.port)
        client.send(post(b"last") + post(b"behind"))
        assert client.answer()[::2] == (b"HTTP/1.1 200 OK", b"last")
        assert client.closed()
        client.socket.close()
    assert echo.bodies == [b"last"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_connection_that_is_reset_leaves_nothing_behind() -> None:
    """Not even a timer."""
    slow = Echo(waits=True)
    with small_server(slow) as server:
        client = Client(server.config.port)
        client.send(post(b"first"))
        assert slow.asked.wait(30)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
        slow.answer()

        def left() -> bool:
            gc.collect()
            return not any(isinstance(one, Protocol) for one in gc.get_objects())

        until(left, "no connection is left")


def test_bytes_that_are_no_http_are_told_to_the_application() -> None:
    """In their turn, as a request with nothing but what is wrong; its answer is the last."""
    asked: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["state"].get("refusal"))
        await echo(scope, receive, send)

    echo = Echo()
    with small_server(application) as server:
        client = Client(server.config.port)
        broken = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n"
        client.send(post(b"first") + broken + post(b"never"))
        assert client.answer()[2] == b"first"
        assert client.answer()[2] == b""
        assert client.closed()
        client.socket.close()
    assert asked[0] is None
    assert isinstance(asked[-1], Malformed)
    assert b"never" not in echo.bodies
