"""Raw HTTP streams: many connections, several requests on each, cut at random bytes, every answer its question's own.

A request carries an id, which its answer must repeat, and texts whose right predictions are known: an answer that was
made for another request, or a body that was read as a request, cannot go unseen.
"""

import json
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, pairwise

from bench.fuzz.part import Part
from bench.questions import OK, Questions

CONNECTIONS = 24
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADES = (b"", b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"Upgrade: websocket\r\n", b"Expect: x\r\n")
DAMAGED = 0.3
"""Share of the connections whose last request has one byte changed."""


@dataclass
class Request:
    """Bytes, and what their answer must be: its id, its status, and the texts that it must score."""

    content: bytes
    id: bytes
    status: int
    texts: Sequence[str] = ()


def make_request(source: random.Random, questions: Questions, number: int) -> Request:
    """A request of any kind, sound in itself."""
    identity = b"fuzz-%d" % number
    lines = b"Host: x\r\nX-Request-Id: %b\r\n%b" % (identity, source.choice(UPGRADES))
    kind = source.choice(("texts", "texts", "texts", "probe", "unknown", "no JSON"))
    if kind == "probe":
        return Request(b"GET /livez HTTP/1.1\r\n%b\r\n" % lines, identity, 200)
    if kind == "unknown":
        return Request(b"PUT /nowhere HTTP/1.1\r\n" + _framed(source, lines, SMUGGLED), identity, 404)
    texts = questions.draw(source)
    body = SMUGGLED if kind == "no JSON" else json.dumps({"text": texts}).encode()
    content = b"POST /predict HTTP/1.1\r\n" + _framed(source, lines, body)
    return Request(content, identity, 422, ()) if kind == "no JSON" else Request(content, identity, OK, texts)


def _framed(source: random.Random, lines: bytes, body: bytes) -> bytes:
    """Header lines and body, by its length or in chunks of any sizes."""
    if source.random() < 0.5:  # noqa: PLR2004 - half of them
        return b"%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in cut(source, body, most=4))
    return b"%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (lines, chunks)


def cut(source: random.Random, content: bytes, most: int) -> list[bytes]:
    """The same bytes in up to `most` pieces, none of them empty."""
    places = sorted({0, len(content), *source.choices(range(len(content) + 1), k=source.randint(0, most - 1))})
    return [content[begin:end] for begin, end in pairwise(places)]


class Stream:
    """One connection: its requests, the pieces that are still to be sent, and the answers."""

    def __init__(self, port: int, source: random.Random, requests: Sequence[Request]) -> None:
        self.requests = requests
        content = b"".join(request.content for request in requests)
        self.sound = len(requests)
        if source.random() < DAMAGED:
            self.sound -= 1
            at = source.randrange(len(content) - len(requests[-1].content), len(content))
            content = content[:at] + bytes([source.randrange(256)]) + content[at + 1 :]
        self.pieces = cut(source, content, most=source.choice((2, 6, 40)))
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        """The next piece. A service that has refused what came before may have closed already."""
        try:
            self.socket.sendall(self.pieces.pop(0))
        except OSError:
            self.pieces.clear()

    def answers(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Status, id and body of one answer after the other, for all sound requests or until the connection ends."""
        with self.socket.makefile("rb") as file:
            for _ in range(self.sound):
                status = file.readline().split(b" ")
                headers = {}
                while line := file.readline().rstrip(b"\r\n"):
                    name, _, value = line.partition(b":")
                    headers[name.lower()] = value.strip()
                if not headers:
                    return
                body = file.read(int(headers.get(b"content-length", b"0")))
                yield int(status[1]), headers.get(b"x-request-id", b""), body

    def fault(self, part: Part, questions: Questions) -> str | None:
        """What is wrong with the answers to the sound requests, if anything. A damaged one may wait for ever."""
        answers = 0
        for request, (status, identity, body) in zip(self.requests, self.answers(), strict=False):
            answers += 1
            part.tried[f"answers {status}"] += 1
            if (identity, status) != (request.id, request.status):
                return f"{identity!r} with {status} for {request.id!r}, which is due {request.status}"
            if request.texts and not questions.is_right(request.texts, body):
                return f"a wrong score for {request.id!r}"
        return None if answers == self.sound else f"{answers} answers to {self.sound} requests"


def fuzz(part: Part) -> None:
    """Round by round, all connections of one at the same time, piece after piece of a random one."""
    source, numbers = part.source, count()
    with part.service() as port:
        questions = Questions(port)
        for _ in part.turns():
            with ExitStack() as stack:
                streams = []
                for _ in range(CONNECTIONS):
                    requests = [make_request(source, questions, next(numbers)) for _ in range(source.randint(1, 6))]
                    streams.append(Stream(port, source, requests))
                    stack.callback(streams[-1].socket.close)
                while unsent := [stream for stream in streams if stream.pieces]:
                    source.choice(unsent).send()
                for stream in streams:
                    part.tried["damaged requests"] += len(stream.requests) - stream.sound
                    try:
                        wrong = stream.fault(part, questions)
                    except (OSError, ValueError, IndexError) as exc:
                        wrong = repr(exc)
                    if wrong:
                        part.found(wrong, b"".join(request.content for request in stream.requests))
