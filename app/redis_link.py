"""The one connection to Redis: made when it is needed, given up when it is late, left alone when it fails for long.

One timer watches over everything that is under way, however many look-ups that are.
"""

import asyncio
from collections.abc import Callable

from app.redis_breaker import Breaker
from app.redis_url import RedisAddress
from app.resp import Call, Command, Connection, Replies, RespError, connect, ignore

PROBE = (b"MGET", b"valence:probe:0", b"valence:probe:1")
"""Needs the rights, the data and the cluster slots that a look-up needs; PING is answered without."""


class Link:
    """Owned by the tier, which is told of every change. Lives on the event loop.

    `on_up` is called when there is something to send to; `on_down` when there is not, whatever was under way then.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        timeout_seconds: float,
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._on_up = on_up
        self._on_down = on_down
        self.breaker = Breaker(on_open=self._let_go, retry=self._retry)
        self.connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: Call | None = None

    def demand(self) -> None:
        """Have a connection made, unless that is under way or hopeless."""
        if self.connection is None and self._connecting is None and not self.breaker.open:
            self._connecting = asyncio.create_task(self._connect())

    def send(
        self,
        connection: Connection,
        operation: str,
        packed: bytes,
        count: int,
        then: Callable[[Replies | Exception], None],
        *,
        since: float,
    ) -> None:
        """Send commands that may be answered until the timeout after `since` (the loop's time), or a bit later."""
        loop = asyncio.get_running_loop()
        # Who has waited for a connection may wait another eighth, and `_check` adds one: a quarter in all.
        eighth = self._timeout_seconds / 8
        deadline = max(since + self._timeout_seconds, loop.time() + eighth)
        connection.send(packed, Call(operation, deadline, count, then))
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._check)

    async def close(self) -> None:
        """Give everything up, for good."""
        await self.breaker.close()  # from here on nothing is begun
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._let_go()

    def _check(self) -> None:
        """Give the connection up when its oldest call is late by an eighth of the timeout.

        The eighth is for a loop that was itself held up (CPU quota): it first reads what has arrived meanwhile.
        """
        self._timer = None
        if self.connection is None or not self.connection.calls:
            return
        loop, oldest = asyncio.get_running_loop(), self.connection.calls[0]
        if oldest is self._overdue:
            self._overdue = None
            self.connection.end(self._too_late())
            return
        at = oldest.deadline
        if at <= loop.time():
            self._overdue, at = oldest, loop.time() + self._timeout_seconds / 8
        self._timer = loop.call_at(at, self._check)

    def _too_late(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self._timeout_seconds * 1000:g} ms (VALENCE_REDIS_TIMEOUT_SECONDS)")

    async def _connect(self) -> None:
        try:
            connection = await self._connected()
        except Exception as exc:  # whatever it is, nobody may wait for an answer that will not come
            self._connecting = None
            self._ended(exc, "get")
        else:
            self._connecting = None
            self._use(connection)

    async def _retry(self) -> None:
        self._use(await self._connected(PROBE))

    async def _connected(self, probe: Command | None = None) -> Connection:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await connect(self._address, probe)
        except TimeoutError:
            raise self._too_late() from None

    def _use(self, connection: Connection) -> None:
        connection.on_end = self._ended
        connection.on_resume = self._on_up
        self.connection = connection
        if connection.ended:  # between its last reply and now
            self._ended(RespError("Redis closed the new connection"), "get")
        else:
            self._on_up()

    def _ended(self, exc: Exception, operation: str | None) -> None:
        """An idle connection may go; if it spoiled an `operation`, that is a failure."""
        self.connection = None
        if operation is not None:
            self.breaker.failed(operation, exc)
            self._on_down()

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.on_end = ignore
            connection.end(RespError("Redis is left alone"))
        self._on_down()
