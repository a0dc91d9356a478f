"""uvicorn as the service runs it: a prediction that repeats is answered as soon as it has been read.

For each request uvicorn makes a task, two coroutines, an event and a timer, and looks at every header of the answer
with two regular expressions. That is most of what a cache hit costs, and none of it is needed for bytes that are known
when the request is complete. `Protocol` (uvicorn's extension point, `Config(http=...)`) lets such a request go no
further; every other one goes uvicorn's own way: another body, a body in several pieces, a pipeline, a slow reader.
"""

from asyncio import Transport
from collections.abc import Callable, Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

PATH = "/predict"
URL = PATH.encode()
SLACK_SECONDS = 0.01
"""A timer may come a little early."""
Headers = list[tuple[bytes, bytes]]
AnswerAtOnce = Callable[[Any, bytes], bytes | None]
"""Scope and body of a POST to `URL` -> its answer from the first header to the end, or None: not known at once."""
STATE_KEY = "answer_at_once"
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


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answer: AnswerAtOnce | None = self.app_state.get(STATE_KEY)
        self._held: bytes | None = None
        """The body so far of a request of which uvicorn has not been told."""
        self._active_at = 0.0
        self._default_headers: Headers = []
        self._default_head = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.flow = PipelineFlow(transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below; then pass on what has not come whole."""
        self._active_at = self.loop.time()
        if self._answer is None:
            super().data_received(data)
            return
        # uvicorn stops the timer of an idle connection here and sets it again behind each answer; ours is left alone
        # and looks for itself when it is due.
        timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        super().data_received(data)
        self.timeout_keep_alive_task = timer or self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        if self._held is not None:
            self._pass_on()

    def on_headers_complete(self) -> None:
        """Hold a prediction back until it is complete, if nothing else is under way on this connection."""
        if (
            self._answer is not None
            and self.url == URL
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.root_path
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
        ):
            self._held = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        if self._held is not None:
            self._held = self._held + body if self._held else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answer what is known; leave the rest to uvicorn."""
        if self._held is not None:
            if (answer := self._known()) is not None:
                self._held = None
                self.transport.write(self._head() + answer)
                self.server_state.total_requests += 1
                return
            self._pass_on()
        super().on_message_complete()

    def _known(self) -> bytes | None:
        """The answer, if it is known; our own bugs are left to the long way, which reports them."""
        assert self._answer is not None
        assert self._held is not None
        try:
            self.scope["method"], self.scope["path"] = "POST", PATH
            return self._answer(self.scope, self._held)
        except Exception:
            self.logger.exception("answer_at_once failed")
            return None

    def _pass_on(self) -> None:
        """Tell uvicorn of the request that was held back."""
        body, self._held = self._held, None
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _head(self) -> bytes:
        """Status line and the headers that uvicorn adds; it makes a new list of them each second."""
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            lines = [b"%b: %b\r\n" % header for header in self._default_headers]
            self._default_head = b"".join([b"HTTP/1.1 200 OK\r\n", *lines])
        return self._default_head

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

    CONFIG_KWARGS = {"loop": "uvloop", "http": Protocol}  # noqa: RUF012 - as uvicorn-worker has it
