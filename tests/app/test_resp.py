"""The protocol, byte by byte: whatever comes and however it is cut, every call is told once, and told the truth."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hiredis import ReplyError
from hypothesis import given
from hypothesis import strategies as st

from app.resp import MAX_REPLY_BYTES, Call, Connection, Replies, RespError, packed

GREETING = b"+OK\r\n"

bulks = st.one_of(st.none(), st.binary(max_size=40), st.just(b"\r\n"), st.just(b"$3\r\nabc\r\n"))
replies = st.one_of(
    st.lists(bulks, max_size=5),
    st.just("OK"),
    st.integers(-(2**63), 2**63 - 1),
    st.builds(ReplyError, st.text("ABC xyz", min_size=1, max_size=20)),
)
calls = st.lists(st.lists(replies, min_size=1, max_size=4), min_size=1, max_size=6)


class Wire(asyncio.Transport):
    """Takes what is sent, and knows whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.cut = False

    def write(self, data: Any) -> None:
        self.sent += data

    def abort(self) -> None:
        self.cut = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""


class Talk:
    """A connection past its log-in, and what its calls were told."""

    def __init__(self, *expected: int, greeted: bool = True) -> None:
        self.connection, self.wire = Connection(), Wire()
        self.connection.connection_made(self.wire)
        self.ends: list[tuple[Exception, str | None]] = []
        self.connection.on_end = lambda exc, operation: self.ends.append((exc, operation))
        if greeted:
            self.connection.send(packed(b"PING"), Call("get", 0, 1, lambda _: None))
            self.connection.data_received(GREETING)
        self.told: list[list[Replies | Exception]] = [[] for _ in expected]
        for told, count in zip(self.told, expected, strict=True):
            self.connection.send(b"", Call("set", 0, count, told.append))

    def hear(self, data: bytes) -> None:
        """As the event loop would: nothing more once the connection is cut."""
        if not self.wire.cut:
            self.connection.data_received(data)

    def hang_up(self) -> None:
        """What the event loop does last, in any case."""
        self.connection.connection_lost(None)


def encoded(reply: Any) -> bytes:
    """As Redis sends it."""
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(encoded, reply))
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    if isinstance(reply, ReplyError):
        return f"-{reply}\r\n".encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    return b"$-1\r\n" if reply is None else b"+%s\r\n" % reply.encode()


def plain(told: list[list[Replies | Exception]]) -> list[list[Any]]:
    """What each call was told, comparable."""
    return [[[_plain(reply) for reply in all_] if isinstance(all_, list) else all_ for all_ in once] for once in told]


def _plain(reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        return "error", str(reply)
    return reply.encode() if isinstance(reply, str) else reply


@given(calls, st.data())
def test_any_cut_gives_the_same_replies(expected: list[list[Any]], data: st.DataObject) -> None:
    """Each call gets all of its replies at once, in order, wherever the stream is cut."""
    stream = b"".join(encoded(reply) for replies in expected for reply in replies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    talk = Talk(*map(len, expected))
    for start, end in pairwise([0, *cuts, len(stream)]):
        talk.hear(stream[start:end])
    assert plain(talk.told) == plain([[replies] for replies in expected])
    assert not talk.connection.calls
    assert not talk.wire.cut


def test_every_single_cut_gives_the_same_replies() -> None:
    """No byte is special, and neither is one byte at a time."""
    values = [b"a\r\n", None, b"", b"*1\r\n"]
    stream = encoded(values) + encoded("OK") + encoded(ReplyError("OOM full")) + encoded([])
    expected = [[[values]], [[b"OK", ("error", "OOM full")]], [[[]]]]
    for cut in range(len(stream) + 1):
        talk = Talk(1, 2, 1)
        talk.hear(stream[:cut])
        talk.hear(stream[cut:])
        assert plain(talk.told) == expected
    talk = Talk(1, 2, 1)
    for byte in stream:
        talk.hear(bytes([byte]))
    assert plain(talk.told) == expected


@given(st.lists(st.integers(1, 3), max_size=4), st.lists(st.one_of(st.binary(max_size=30), replies.map(encoded))))
def test_garbage_leaves_nobody_waiting(expected: list[int], chunks: list[bytes]) -> None:
    """Whatever a server says and in whatever state it hangs up, each call is told exactly once, the owner too."""
    talk = Talk(*expected)
    for chunk in chunks:
        talk.hear(chunk)
    talk.hang_up()
    assert [len(once) for once in talk.told] == [1] * len(expected)
    assert len(talk.ends) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"?what\r\n", "makes no sense: Protocol error"),
        (b"*99999999999\r\n", "makes no sense: Multi-bulk length out of range"),
        (b"$1000000000\r\n" + b"x" * MAX_REPLY_BYTES, f"a reply exceeds {MAX_REPLY_BYTES} bytes"),
        (b"*1\r\n$1\r\na\r\n" * 2, "a reply that nobody asked for: .*a"),
    ],
    ids=["type", "count", "size", "number"],
)
def test_nonsense_ends_the_connection(said: bytes, reason: str) -> None:
    """At once, and it says why."""
    talk = Talk(1)
    for start in range(0, len(said), 1_000_000):
        talk.hear(said[start : start + 1_000_000])
    assert talk.wire.cut
    with pytest.raises(RespError, match=reason):
        raise talk.ends[0][0]
    assert len(talk.told[0]) == 1


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n", b"*1000000000\r\n", b"$5\r\nhello\r\n"])
def test_something_else_is_known_by_its_first_byte(said: bytes) -> None:
    """A log-in is answered with a line; above all, hiredis would make room for a billion values."""
    talk = Talk(1, greeted=False)
    talk.hear(said)
    assert talk.wire.cut
    with pytest.raises(RespError, match="this is no Redis: it says"):
        raise talk.ends[0][0]


def test_end_is_told_with_what_it_spoiled() -> None:
    """An idle connection may go; one with calls under way spoils them, and later ones are answered at once."""
    idle, busy = Talk(), Talk(1, 1)
    idle.hang_up()
    busy.hang_up()
    assert [operation for _, operation in (*idle.ends, *busy.ends)] == [None, "set"]
    late: list[Replies | Exception] = []
    busy.connection.send(packed(b"PING"), Call("get", 0, 1, late.append))
    assert isinstance(late[0], RespError)
    assert busy.wire.sent == packed(b"PING")  # the first, for the greeting


def test_commands_are_packed_as_binary() -> None:
    """Line ends and high bytes are bytes like others."""
    assert packed(b"MGET", b"\r\n\xff", b"") == b"*3\r\n$4\r\nMGET\r\n$3\r\n\r\n\xff\r\n$0\r\n\r\n"
