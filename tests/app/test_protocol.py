"""uvicorn with our protocol around a small application: what comes when, and which way it goes."""

import asyncio
import gc
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Scope

from app.server import HOLD_BYTES, HOLD_SECONDS, STATE_KEY, PredictPastAsgi, Protocol, Response
from tests.app.raw_http import Client, ask, post
from tests.conftest import free_port, until


@contextmanager
def small_server(answer: PredictPastAsgi, **options: Any) -> Iterator[uvicorn.Server]:
    """A uvicorn with our protocol around an application of three lines."""

    async def long_way(request: Request) -> PlainTextResponse:
        body = await request.body()
        return PlainTextResponse(b"long way: " + body)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {STATE_KEY: answer}

    application = Starlette(routes=[Route("/predict", long_way, methods=["POST"])], lifespan=lifespan)
    port = free_port()
    config = uvicorn.Config(application, port=port, http=Protocol, loop="uvloop", log_config=None, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        until(lambda: server.started, "uvicorn listens")
        yield server
    finally:
        server.should_exit = True
        thread.join()


def short_way(_: Scope, body: bytes, __: Callable[[Response], object]) -> Response | None:
    """Knows what begins with "known", and has a bug."""
    if body == b"bug":
        raise RuntimeError(body)
    return Response(200, b"content-length: 5\r\n\r\nshort", close=False) if body.startswith(b"known") else None


def test_bug_on_the_short_way_is_answered_on_the_long_one() -> None:
    """A fault in the shortcut costs its speed and nothing else."""
    with small_server(short_way) as server:
        client = Client(server.config.port)
        bodies = [ask(client, post(body))[2] for body in (b"known", b"bug", b"other", b"known")]
        client.socket.close()
    assert bodies == [b"short", b"long way: bug", b"long way: other", b"short"]


def test_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    """The keep-alive timeout counts from the last request, on either way."""
    with small_server(short_way, timeout_keep_alive=1) as server:
        for bodies in ((b"known",), (b"other",), (b"known", b"other", b"known")):
            client = Client(server.config.port)
            for body in bodies:
                ask(client, post(body))
            assert client.closed()
            client.socket.close()
        client = Client(server.config.port)
        pause = threading.Event()
        for number in range(8):  # for longer than the timeout, never idle for as long
            ask(client, post(b"known" if number % 4 else b"other"))
            pause.wait(0.3)
        client.socket.close()


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.cancelled = threading.Event(), threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._told: asyncio.Event

    def answer(self) -> None:
        """Answer from now on; in any thread."""
        self._loop.call_soon_threadsafe(self._told.set)

    def __call__(self, _: Scope, body: bytes, respond: Callable[[Response], object]) -> asyncio.Task[None]:
        if not self.asked.is_set():
            self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
            self.asked.set()
        return self._loop.create_task(self._later(body, respond))

    async def _later(self, body: bytes, respond: Callable[[Response], object]) -> None:
        try:
            await self._told.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        respond(Response(201, b"content-length: %d\r\n\r\n" % len(body) + body, close=False))


def test_answer_that_comes_later() -> None:
    """What was sent behind it has its turn after it, on whichever way."""
    slow = Slow()
    with small_server(slow) as server:
        client = Client(server.config.port)
        client.send(post(b"first") + post(b"second") + post(b"third"))
        assert slow.asked.wait(30)
        slow.answer()
        assert client.answer()[::2] == (b"HTTP/1.1 201 Created", b"first")
        assert [client.answer()[2] for _ in range(2)] == [b"long way: second", b"long way: third"]
        assert ask(client, post(b"fourth"))[2] == b"fourth"
        client.socket.close()


def test_connection_is_closed_when_no_answer_will_come() -> None:
    """Rather than leave the client waiting."""

    def forgetful(_: Scope, __: bytes, ___: Callable[[Response], object]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(asyncio.sleep(0))

    with small_server(forgetful) as server:
        client = Client(server.config.port)
        client.send(post(b"first"))
        assert client.closed()
        client.socket.close()


def test_client_that_leaves_is_worked_for_no_longer() -> None:
    """Its task is cancelled."""
    slow = Slow()
    with small_server(slow) as server:
        client = Client(server.config.port)
        client.send(post(b"first"))
        assert slow.asked.wait(30)
        client.socket.close()
        assert slow.cancelled.wait(30)


def test_server_that_stops_answers_what_has_begun() -> None:
    """And says that the connection ends with it."""
    slow = Slow()
    with small_server(slow) as server:
        client = Client(server.config.port)
        client.send(post(b"last"))
        assert slow.asked.wait(30)
        server.should_exit = True
        until(lambda: not accepts_connections(server.config.port), "uvicorn listens no longer")
        slow.answer()
        _, headers, body = client.answer()
        assert (headers["connection"], body) == ("close", b"last")
        assert client.closed()
        client.socket.close()


def accepts_connections(port: int) -> bool:
    """Whether somebody listens."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nothing_is_begun_behind_an_answer_that_closes(caplog: pytest.LogCaptureFixture) -> None:
    """Whether that was known at once or not."""
    asked: list[bytes] = []

    def closing_way(_: Scope, body: bytes, respond: Callable[[Response], object]) -> asyncio.Future[None] | Response:
        asked.append(body)
        response = Response(200, b"connection: close\r\ncontent-length: 0\r\n\r\n", close=True)
        if body == b"known":
            return response
        later = asyncio.get_running_loop().create_future()
        later.add_done_callback(lambda _: respond(response))
        later.set_result(None)
        return later

    with small_server(closing_way) as server:
        for body in (b"known", b"unknown"):
            client = Client(server.config.port)
            client.send(post(body) + post(b"behind"))
            assert client.answer()[0] == b"HTTP/1.1 200 OK"
            assert client.closed()
            client.socket.close()
    assert asked == [b"known", b"unknown"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_connection_that_is_reset_leaves_nothing_behind() -> None:
    """Not even a timer that looks again and again whether it is idle."""
    slow = Slow()
    with small_server(slow) as server:
        client = Client(server.config.port)
        client.send(post(b"first"))
        assert slow.asked.wait(30)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
        assert slow.cancelled.wait(30)

        def left() -> bool:
            gc.collect()
            return not any(isinstance(one, Protocol) for one in gc.get_objects())

        until(left, "no connection is left")


def test_rest_of_a_body_that_takes_its_time_is_left_to_asgi() -> None:
    """Which has a limit for it that people can set."""
    with small_server(short_way) as server:
        client = Client(server.config.port)
        for pause, way in ((0.0, b"short"), (HOLD_SECONDS * 4, b"long way: known")):
            client.send(post(b"known")[:-3])
            threading.Event().wait(pause)
            client.send(b"own")
            assert client.answer()[2] == way
        large = b"known".ljust(HOLD_BYTES + 1)
        assert ask(client, post(large))[2] == b"long way: " + large
        client.socket.close()


def test_bytes_that_are_no_http_after_a_request_that_was_held_back() -> None:
    """Are refused as ever, and the connection is closed."""
    with small_server(short_way) as server:
        client = Client(server.config.port)
        client.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n")
        assert client.answer()[0] == b"HTTP/1.1 400 Bad Request"
        assert client.closed()
        client.socket.close()


def test_without_the_shortcut_it_is_plain_uvicorn() -> None:
    """No function in the state: every request goes the long way."""
    with small_server(lambda *_: None) as server:
        client = Client(server.config.port)
        assert ask(client, post(b"known"))[2] == b"long way: known"
        client.socket.close()
