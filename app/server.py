"""uvicorn as the service runs it: a prediction is answered past ASGI.

For each request uvicorn makes a task, two coroutines, an event and a timer, and looks at every header of the answer
with two regular expressions. That is most of what a cache hit costs, and none of it is needed where the whole body is
there before anything is decided. `Protocol` (uvicorn's extension point, `Config(http=...)`) holds such a request back
until its body is complete and hands it to the service; every other one goes uvicorn's own way: other paths, large or
slow bodies, pipelines, slow readers.
"""

from asyncio import Future, TimerHandle, Transport
from collections.abc import Callable, Sized
from typing import Any, NamedTuple

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

PATH = "/predict"
URL = PATH.encode()
HOLD_BYTES = 65_536
HOLD_SECONDS = 0.05
"""How long to wait for the rest of a body (many clients send it apart from the headers) before it is left to ASGI,
which waits for as long as VALENCE_TIMEOUT says."""
SLACK_SECONDS = 0.01
"""A timer may come a little early."""
Headers = list[tuple[bytes, bytes]]


class Response(NamedTuple):
    """A response to send past ASGI."""

    status: int
    rest: bytes
    """From the first header of ours to the end of the body."""
    close: bool
    """Whether a header says that the connection ends with it."""


PredictPastAsgi = Callable[[Any, bytes, Callable[[Response], object]], Response | Future[Any] | None]
"""Scope and body of a POST to `URL`, and whom to tell -> the response; or a future upon which that function is called,
unless it is cancelled because the client has left; or None: ASGI should have it."""
STATE_KEY = "predict_past_asgi"
"""Where the lifespan leaves that function; without it this is plain uvicorn."""


class PipelineFlow(FlowControl):
    """Reads no further while requests wait behind the one that is being answered.

    uvicorn stops reading when a request must wait, but reads on with each answer and each look at a body: a client that
    sends without end and reads nothing filled 2 GB with requests in a few seconds.
    """

    def __init__(self, transport: Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, unless there is enough to do; then every body up to here has been read."""
        if not self._pipeline:
            super().resume_reading()


class ShortCycle:
    """What uvicorn asks of the request that is being answered, for one that goes past ASGI."""

    def __init__(self) -> None:
        self.response_complete = True
        self.keep_alive = True
        self.disconnected = False
        self.message_event = self

    def set(self) -> None:
        """The client has left; `Protocol` sees to that itself."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._predict: PredictPastAsgi | None = self.app_state.get(STATE_KEY)
        self._held: bytes | None = None
        """The body so far of a request of which uvicorn has not been told."""
        self._hold_timer: TimerHandle | None = None
        self._short_cycle = ShortCycle()
        self._pending: Future[Any] | None = None
        """Of the request that is being answered past ASGI."""
        self._active_at = 0.0
        self._default_headers: Headers = []
        self._default_lines = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.flow = PipelineFlow(transport, self.pipeline)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and all that was begun for this client."""
        self._held = None
        self._stop_holding()
        if self._pending is not None:
            self._pending.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves it where the client has reset the connection

    def shutdown(self) -> None:
        """Close when what has come is answered."""
        if self._held is not None:
            self._pass_on()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below; then see to a request that has not come whole."""
        self._active_at = self.loop.time()
        if self._predict is None:
            super().data_received(data)
            return
        # uvicorn stops the timer of an idle connection here and sets it again behind each answer; ours is left alone
        # and looks for itself when it is due.
        timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        super().data_received(data)
        self.timeout_keep_alive_task = timer or self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        if self._held is not None and self._hold_timer is None:
            self._hold_timer = self.loop.call_later(HOLD_SECONDS, self._pass_on)

    def on_headers_complete(self) -> None:
        """Hold a prediction back until it is complete, if nothing else is under way on this connection."""
        if (
            self._predict is not None
            and self.url == URL
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue  # it has not sent its body, and waits to be asked
            and not self.root_path
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
        ):
            self._held = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        if self._held is None:
            super().on_body(body)
            return
        self._held = self._held + body if self._held else body
        if len(self._held) > HOLD_BYTES:
            self._pass_on()

    def on_message_complete(self) -> None:
        """Answer a prediction; leave the rest to uvicorn."""
        if self._held is not None:
            self._stop_holding()
            answer = self._ask(self._held)
            if answer is not None:
                self._held = None
                if isinstance(answer, Response):
                    self._respond(answer)
                else:
                    self._pending = answer
                    answer.add_done_callback(self._ended)
                    self._short_cycle.response_complete = False
                    self.cycle = self._short_cycle  # type: ignore[assignment]
                return
            self._pass_on()
        super().on_message_complete()

    def _ask(self, body: bytes) -> Response | Future[Any] | None:
        """The service; our own bugs are left to the long way, which reports them."""
        assert self._predict is not None
        try:
            self.scope["method"], self.scope["path"] = "POST", PATH
            return self._predict(self.scope, body, self._respond_later)
        except Exception:
            self.logger.exception("past ASGI")
            return None

    def _respond_later(self, response: Response) -> None:
        """It was not known at once."""
        self._pending = None
        self._short_cycle.response_complete = True
        if self.transport.is_closing():
            return
        self._active_at = self.loop.time()
        self._respond(response)
        self.flow.resume_reading()
        if self.pipeline and not self.transport.is_closing():
            self._start_asgi_task(*self.pipeline.pop())

    def _ended(self, pending: Future[Any]) -> None:
        """Nobody may wait for an answer that will not come, whatever bug or cancellation kept it back."""
        if self._pending is pending:
            self.transport.close()

    def _respond(self, response: Response) -> None:
        """Status line, the headers that uvicorn adds (it makes a new list of them each second), and ours."""
        self.server_state.total_requests += 1
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            self._default_lines = b"".join([b"%b: %b\r\n" % header for header in self._default_headers])
        head = STATUS_LINE[response.status] + self._default_lines
        if self._short_cycle.keep_alive and not response.close:
            self.transport.write(head + response.rest)
            return
        self.transport.write(head + (b"" if response.close else b"connection: close\r\n") + response.rest)
        self.transport.close()
        # What was sent behind this request is answered no more: it queues, as it does behind a pending one.
        self._short_cycle.response_complete = False
        self.cycle = self._short_cycle  # type: ignore[assignment]

    def _pass_on(self) -> None:
        """Tell uvicorn of the request that was held back."""
        self._stop_holding()
        body, self._held = self._held, None
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _stop_holding(self) -> None:
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for so long; otherwise look again when it may have been."""
        busy = self.cycle is not None and not self.cycle.response_complete
        left = self.timeout_keep_alive - (0.0 if busy else self.loop.time() - self._active_at)
        if left > SLACK_SECONDS:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()


class Worker(UvicornWorker):  # type: ignore[misc]
    """gunicorn's worker with this protocol."""

    # No proxy headers: they would change an ASGI request's scheme and client, and no prediction's.
    CONFIG_KWARGS = {"loop": "uvloop", "http": Protocol, "proxy_headers": False}  # noqa: RUF012 - as uvicorn-worker has it
