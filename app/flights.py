"""Single flight: one text being scored, and the requests that wait for it. Lives on the event loop."""

import asyncio
from typing import Protocol

from app.batching import Job
from app.deadlines import Deadlines
from app.errors import TimedOut
from app.model import Answer, Prediction
from app.spans import Trace


class Abandoned(Exception):
    """Nobody wants these answers any more."""


class Wait:
    """One request, waiting for texts that are being scored."""

    __slots__ = ("_left", "deadline", "future", "trace")

    def __init__(self, texts: int, future: asyncio.Future[None], trace: Trace | None, deadlines: Deadlines) -> None:
        self._left = texts
        self.future = future
        self.trace = trace
        self.deadline = deadlines.begin(lambda: self.fail(_timed_out(deadlines.seconds)))

    def landed(self) -> None:
        """One more of the texts has its answer."""
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result(None)

    def fail(self, exc: BaseException) -> None:
        """There will be no answer."""
        if not self.future.done():
            self.future.set_exception(exc)

    def watched(self, watcher: asyncio.Task[None]) -> None:
        """Whoever watches the client has stopped: because it has gone, as a rule."""
        if not watcher.cancelled():
            self.fail(watcher.exception() or Abandoned())


def _timed_out(seconds: float) -> TimedOut:
    return TimedOut(f"not served within {seconds:g} s (VALENCE_TIMEOUT)")


class Owner(Protocol):
    """Who started a flight."""

    def forget(self, flight: "Flight") -> None:
        """It is under way no longer."""

    def keep(self, key: bytes, answer: Answer) -> None:
        """It has an answer."""


class Flight(Job):
    """One text being scored, and the requests that wait for it."""

    __slots__ = ("_owner", "answer", "key", "trace", "truncated", "unknown_tokens", "waits")

    def __init__(self, owner: Owner, key: bytes, trace: Trace | None) -> None:
        super().__init__([])
        self._owner = owner
        self.key = key
        self.trace = trace
        """Of the request that asked first."""
        self.waits: dict[Wait, None] = {}
        self.truncated = False
        self.unknown_tokens = 0
        self.answer: Answer | None = None

    def traces(self) -> list[tuple[Trace, bool]]:
        """The sampled requests that wait for it, and whether each was the one that asked first."""
        return [(wait.trace, wait.trace is self.trace) for wait in self.waits if wait.trace is not None]

    def finish(self, outcome: Prediction | Exception) -> None:
        """Hand the answer, or the error, to everybody who waits, and keep an answer even if nobody does."""
        waits, self.waits = self.waits, {}
        self._owner.forget(self)
        if isinstance(outcome, Exception):
            for wait in waits:
                wait.fail(outcome)
            return
        self.answer = Answer(*outcome, len(self.ids), self.unknown_tokens, self.truncated)
        self._owner.keep(self.key, self.answer)
        for wait in waits:
            wait.landed()
