"""One connection to Redis: commands go out pipelined, replies come back in their order (RESP2).

Just what the cache needs, on hiredis' parser: https://redis.io/docs/latest/develop/reference/protocol-spec/. A general
client costs five times as much CPU for each look-up, as it awaits every reply on its own.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

from hiredis import HiredisError, Reader, ReplyError, pack_command

from app.metrics import REDIS_RECEIVED, REDIS_SENT
from app.redis_url import RedisAddress

CLIENT_NAME = b"valence"
MAX_REPLY_BYTES = 16_777_216
"""Of one reply; a thousand cached answers take a hundredth of that."""
MAX_WAITING_BYTES = 1_048_576
"""Of commands that the kernel has not taken yet; beyond it `paused` is true."""
HARMLESS = ("NOPERM", "ERR unknown command")
"""Refusals of a name, without which it works as well."""
NOT_YET = object()

Command = tuple[bytes, ...]
Replies = list[object]


class RespError(ConnectionError):
    """What came back cannot be trusted, or is an error where none is bearable; the connection is given up."""


class Call(NamedTuple):
    """Commands that travel together."""

    operation: str
    """What the metrics call them."""
    deadline: float
    """Nobody waits for the replies any longer (the loop's time). For the owner: the connection does not look at it."""
    expected: int
    """How many replies there will be."""
    then: Callable[[Replies | Exception], None]
    """Called once: with all replies (errors among them as ReplyError), or with the reason why there are none."""


def packed(*command: bytes) -> bytes:
    r"""(b"GET", b"key") -> b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"."""
    ready: bytes = pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word only
    return ready


def ignore(_: Exception, __: str | None) -> None:
    """Nobody has to be told of the end."""


class Connection(asyncio.Protocol):
    """Made by `connect`, and useless after `end`."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        """Not yet answered, oldest first."""
        self.ended = False
        self.paused = False
        """More has been sent than Redis takes in."""
        self.on_end: Callable[[Exception, str | None], None] = ignore
        """Told of the end: why, and the operation that it spoiled, if any."""
        self.on_resume: Callable[[], None] = lambda: None
        self._reader = Reader(notEnoughData=NOT_YET)
        self._replies: Replies = []  # of the oldest call, so far
        self._unparsed = 0  # bytes since the last reply
        self._greeted = False
        self._transport: asyncio.Transport

    def send(self, packed: bytes, call: Call) -> None:
        """Send `packed` commands; a connection that has ended answers at once."""
        if self.ended:
            call.then(RespError("the connection is closed"))
            return
        self.calls.append(call)
        self._transport.write(packed)
        REDIS_SENT.count += len(packed)

    async def ask(self, *commands: Command) -> Replies:
        """The replies to a few commands, for where a future more does not matter. The caller bounds the time."""
        answered: asyncio.Future[Replies] = asyncio.get_running_loop().create_future()

        def then(replies: Replies | Exception) -> None:
            if answered.done():
                return
            if isinstance(replies, Exception):
                answered.set_exception(replies)
            else:
                answered.set_result(replies)

        self.send(b"".join([packed(*command) for command in commands]), Call("get", 0.0, len(commands), then))
        return await answered

    def end(self, exc: Exception, operation: str | None = None) -> None:
        """Close at once and tell all who wait; again: nothing."""
        if self.ended:
            return
        self.ended = True
        self._transport.abort()
        operation = operation or (self.calls[0].operation if self.calls else None)
        calls, self.calls = self.calls, deque()
        for call in calls:
            call.then(exc)
        self.on_end(exc, operation)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=MAX_WAITING_BYTES)

    def data_received(self, data: bytes) -> None:
        REDIS_RECEIVED.count += len(data)
        if not self._greeted and data[:1] not in (b"+", b"-"):  # what a log-in is answered with, and little else is
            self.end(RespError(f"this is no Redis: it says {data[:20]!r}"), "get")
            return
        self._greeted = True
        self._unparsed += len(data)
        self._reader.feed(data)
        try:
            while not self.ended and (reply := self._reader.gets()) is not NOT_YET:
                self._take(reply)
        except HiredisError as exc:
            self.end(RespError(f"what Redis says makes no sense: {exc}"), "get")
        if self._unparsed > MAX_REPLY_BYTES:
            self.end(RespError(f"a reply exceeds {MAX_REPLY_BYTES} bytes"))

    def _take(self, reply: object) -> None:
        self._unparsed = 0
        if not self.calls:
            self.end(RespError(f"a reply that nobody asked for: {reply!s:.100}"), "get")
            return
        call = self.calls[0]
        self._replies.append(reply)
        if len(self._replies) == call.expected:
            replies, self._replies = self._replies, []
            self.calls.popleft()
            call.then(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(exc or RespError("Redis closed the connection"))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.on_resume()


async def connect(address: RedisAddress, probe: Command | None = None) -> Connection:
    """A connection that is logged in and has answered `probe`, an `MGET`; the caller bounds the time.

    Raises OSError, of which RespError is one, and ReplyError.
    """
    loop = asyncio.get_running_loop()
    if address.path:
        _, connection = await loop.create_unix_connection(Connection, address.path)
    else:
        _, connection = await loop.create_connection(Connection, address.host, address.port, ssl=address.tls)
    try:
        await _log_in(connection, address)
        if probe is not None:
            values_of(await connection.ask(probe), len(probe) - 1)
    except BaseException:  # cancelled, too
        connection.end(RespError("given up"))
        raise
    return connection


async def _log_in(connection: Connection, address: RedisAddress) -> None:
    commands: list[Command] = [(b"CLIENT", b"SETNAME", CLIENT_NAME)]
    if address.db:
        commands.insert(0, (b"SELECT", b"%d" % address.db))
    if address.password:
        user = (address.username.encode(),) if address.username else ()
        commands.insert(0, (b"AUTH", *user, address.password.encode()))
    *replies, named = await connection.ask(*commands)
    if not str(named).startswith(HARMLESS):
        replies.append(named)
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise reply


def values_of(replies: Replies, expected: int) -> list[object]:
    """What came for so many keys, asked for by one `MGET` or several.

    Raises ReplyError for the first error among the replies, and RespError when they are not what was asked for.
    """
    values: list[object] = []
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise reply
        if not isinstance(reply, list):
            raise RespError(f"a look-up is answered with {type(reply).__name__}")
        values += reply
    if len(values) != expected:
        raise RespError(f"{expected} keys are answered with {len(values)} values")
    return values
