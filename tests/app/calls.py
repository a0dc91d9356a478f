"""Prints as JSON which of the service's own functions one prediction calls: known to the cache, and unknown.

A function counts each time it is called; a coroutine that goes on does not count again, nor do comprehensions.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop
from starlette.types import ASGIApp, Message

import app
from app.main import create_app

OURS = str(Path(app.__file__).parent)
COMPREHENSIONS = {"<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>"}
TRIES = 5
"""Of which the least counts: once a second metrics are measured in between."""


class Recorder:
    """Notes calls in all threads while it is `on`."""

    def __init__(self) -> None:
        self.on = False
        self.frames: dict[int, FrameType] = {}  # kept, so that no other frame gets the same id

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if self.on and event == "call" and code.co_filename.startswith(OURS) and code.co_name not in COMPREHENSIONS:
            self.frames[id(frame)] = frame

    async def record(self, call: Callable[[], Awaitable[None]]) -> list[str]:
        """What `call` calls, as "file function"."""
        self.frames = {}
        self.on = True
        await call()
        await asyncio.sleep(0)  # what it has cancelled ends now
        self.on = False
        codes = [frame.f_code for frame in self.frames.values()]
        return [f"{Path(code.co_filename).relative_to(OURS)} {code.co_qualname}" for code in codes]


async def predict(service: ASGIApp, text: str) -> None:
    """One request, as a server hands it to the application."""
    body = json.dumps({"text": [text]}).encode()
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await service(
        {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "state": {}}, receive, send
    )
    assert sent[0]["status"] == 200


async def main() -> None:
    """Start the service, warm it, and count."""
    recorder = Recorder()
    threading.setprofile(recorder)
    service = create_app()
    started, stop = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        if started.is_set():
            await stop.wait()
            return {"type": "lifespan.shutdown"}
        return {"type": "lifespan.startup"}

    async def send(_: Message) -> None:
        started.set()

    lifespan = asyncio.create_task(service({"type": "lifespan", "state": {}}, receive, send))  # type: ignore[arg-type]
    await started.wait()
    for number in range(20):
        await predict(service, f"warm {number % 10}")
    sys.setprofile(recorder)
    hits = [await recorder.record(lambda: predict(service, "warm 1")) for _ in range(TRIES)]
    misses = [await recorder.record(lambda number=number: predict(service, f"new {number}")) for number in range(TRIES)]
    sys.setprofile(None)
    stop.set()
    await lifespan
    sys.stderr.write(json.dumps({"hit": min(hits, key=len), "miss": min(misses, key=len)}))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
