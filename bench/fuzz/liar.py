"""A Redis that lies: other keys' values, too few or too many, cut, changed, of another type, replies that come twice.

No answer may have a score that the model did not give. Nothing is remembered in process here, so that each text is
looked up each time, and a part of what Redis says is true, so that it goes on being asked.
"""

import asyncio
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException

from bench.fuzz.part import Part
from bench.questions import OK, Questions, post

Values = list[bytes | None]


def bulk(value: bytes | None) -> bytes:
    """A value as Redis sends it."""
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(values: Sequence[bytes | None]) -> bytes:
    """Values as Redis sends them."""
    return b"*%d\r\n" % len(values) + b"".join(map(bulk, values))


def _shuffled(source: random.Random, values: Values) -> bytes:
    return array(source.sample(values, k=len(values)))


def _flipped(source: random.Random, values: Values) -> bytes:
    def flip(value: bytes | None) -> bytes | None:
        if not value:
            return value
        at = source.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << source.randrange(8)]) + value[at + 1 :]

    return array([flip(value) for value in values])


def _cut(source: random.Random, values: Values) -> bytes:
    return array([value and value[: source.randrange(len(value))] for value in values])


def _noise(source: random.Random, values: Values) -> bytes:
    return array([source.randbytes(source.randrange(80)) for _ in values])


LIES: dict[str, Callable[[random.Random, Values], bytes]] = {
    "values of other keys": _shuffled,
    "changed values": _flipped,
    "cut values": _cut,
    "noise": _noise,
    "integers": lambda _, values: b"*%d\r\n" % len(values) + b":1\r\n" * len(values),
}
"""Lies in the right form."""
BROKEN: dict[str, Callable[[random.Random, Values], bytes]] = {
    "too few": lambda _, values: array(values[:-1]),
    "too many": lambda _, values: array([*values, *values]),
    "twice": lambda _, values: array(values) * 2,
    "an error": lambda *_: b"-LOADING not yet\r\n",
    "no array": lambda *_: b"+OK\r\n",
    "a cut reply": lambda source, values: (whole := array(values))[: source.randrange(len(whole))],
    "no protocol": lambda source, _: source.randbytes(40) + b"\r\n",
    "a huge length": lambda *_: b"*1\r\n$999999999999\r\nx",
    "a deep array": lambda *_: b"*1\r\n" * 200 + b":1\r\n",
}
"""Lies in a wrong form: the service gives Redis up for a while after a few of them."""


class Liar:
    """Listens on `port` once started, and counts the lies in `told`. Keeps what it is told to keep, as Redis does."""

    def __init__(self, seed: int, told: dict[str, int]) -> None:
        self.port = 0
        self.told = told
        self._source = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
        self._kept: dict[bytes, bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                count = int((await reader.readline())[1:])
                words = []
                for _ in range(count):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                writer.write(self._answer(words))
                await writer.drain()
        except (ValueError, OSError, asyncio.IncompleteReadError):
            writer.close()

    def _answer(self, words: list[bytes]) -> bytes:
        match words[0].upper():
            case b"MGET":
                return self._values([self._kept.get(key) for key in words[1:]])
            case b"SET":
                self._kept[words[1]] = words[2]
        return b"+OK\r\n"

    def _values(self, values: Values) -> bytes:
        chance = self._source.random()
        if chance < 0.3 or not any(values):  # noqa: PLR2004 - a third is true
            return array(values)
        name, lie = self._source.choice(list((LIES if chance < 0.95 else BROKEN).items()))  # noqa: PLR2004
        self.told[name] = self.told.get(name, 0) + 1
        return lie(self._source, values)


@contextmanager
def lying(liar: Liar) -> Iterator[None]:
    """The liar on an event loop and in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(liar.serve, "127.0.0.1", 0))
    liar.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def fuzz(part: Part) -> None:
    """The same texts again and again, in requests of up to eight."""
    source, liar = part.source, Liar(part.seed, part.tried)
    with part.service() as honest:
        questions = Questions(honest, texts=60)
    with lying(liar), part.service(redis_url=f"redis://127.0.0.1:{liar.port}/0", cache_max_entries="0") as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in part.turns():
            texts = questions.draw(source, most=8)
            try:
                status, body = post(connection, json.dumps({"text": texts}).encode())
            except (OSError, HTTPException) as exc:
                part.found(repr(exc), repr(texts))
                connection.close()
                continue
            part.tried[f"answers {status}"] += 1
            if status != OK or not questions.is_right(texts, body):
                part.found(f"{status}, and not the right scores", body)
        connection.close()
