"""Requests that come again and again within a second: answered without being parsed.

Only what the in-process cache has answered whole is kept, and only for a second: the cache's time to live holds, give
or take that second, and a text that is asked for keeps its place there.
"""

import time
from collections.abc import Callable

from app.replies import Reply

KEEP_SECONDS = 1.0
MAX_ENTRIES = 1_024
MAX_BYTES = 4_096
"""Of request and reply together; larger ones are not worth their memory."""


class RecentReplies:
    """Request body -> reply. Lives on the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._replies: dict[bytes, tuple[Reply, float]] = {}

    def get(self, body: bytes) -> Reply | None:
        """The reply to the same body within the last second."""
        entry = self._replies.get(body)
        if entry is None:
            return None
        if entry[1] < self._clock():
            del self._replies[body]
            return None
        return entry[0]

    def put(self, body: bytes, reply: Reply) -> None:
        """Keep a reply, all of whose texts came from the in-process cache."""
        if len(body) + len(reply.body) <= MAX_BYTES:
            if len(self._replies) >= MAX_ENTRIES:
                self._replies.clear()
            self._replies[body] = reply, self._clock() + KEEP_SECONDS
