"""Calls of a library with a deadline that holds whatever the library does."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Calls:
    """Tasks that are known until they have ended, even if nobody waits for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin it."""
        task = asyncio.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # even if nobody waits for it
        return task

    async def within(self, seconds: float, call: Coroutine[Any, Any, Any]) -> Any:
        """What `call` returns. Raises TimeoutError when it is late by an eighth, and cancels it."""
        task = self.start(call)
        try:
            # The eighth is for a loop that was itself held up (CPU quota): it first reads what has arrived meanwhile.
            for wait in (seconds, seconds / 8):
                if not task.done():
                    await asyncio.wait([task], timeout=wait)
            if not task.done():
                raise TimeoutError(f"no answer within {seconds * 1000:g} ms")
            if task.cancelled():  # not by us, and it must end nothing else
                raise ConnectionError("the call was cancelled")
            return task.result()
        finally:
            if task.cancel():
                await asyncio.wait([task], timeout=seconds / 8)  # until it has given its connection back

    def cancel(self) -> None:
        """Ask all of them to end."""
        for task in self._tasks:
            task.cancel()

    async def wait(self, seconds: float) -> None:
        """Until all have ended, or the time is over."""
        await asyncio.wait(self._tasks, timeout=seconds)
