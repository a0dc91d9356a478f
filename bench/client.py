"""A closed-loop HTTP client that costs little CPU: ready-made request bytes, plain sockets, epoll, one process.

It shares the machine with the server that it measures, so every microsecond of its own counts. It knows just enough of
HTTP/1.1: kept-alive connections, one request under way on each, answers with a Content-Length.
"""

import json
import random
import re
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle

from load.texts import cold_text

STUCK_SECONDS = 120
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
OK = 200
NONCE = "9999999999"
"""Stands for the nonce while a request is made ready; each nonce has as many digits, so lengths stay."""


class ClientError(Exception):
    """The server closed a connection, answered without a Content-Length, or did not answer at all."""


@dataclass
class Run:
    """What the client saw. Latencies in seconds, in the order in which the answers came."""

    seconds: float = 0.0
    completed: int = 0
    """Answers within `seconds`; those that came after its end are in `latencies`, but not here."""
    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    """Answers other than 200."""
    client_cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0


def request_bytes(
    text: str,
    path: str = "/predict",
    body: Callable[[str], object] = lambda text: {"text": [text]},
    headers: Sequence[str] = (),
) -> bytes:
    """The whole POST for one text; other servers want it at another `path` in another `body`."""
    content = json.dumps(body(text)).encode()
    head = (f"POST {path} HTTP/1.1", "host: bench", "content-type: application/json", f"content-length: {len(content)}")
    return "\r\n".join((*head, *headers, "", "")).encode() + content


def warm_requests(texts: Sequence[str], request: Callable[[str], bytes] = request_bytes) -> Iterator[bytes]:
    """The same requests again and again."""
    return cycle([request(text) for text in texts])


def cold_requests(texts: Sequence[str], first: int, request: Callable[[str], bytes] = request_bytes) -> Iterator[bytes]:
    """Requests never sent before, as long as `first` lies beyond every nonce used so far."""
    parts = [request(cold_text(text, NONCE)).split(NONCE.encode()) for text in texts]
    for number in count(first):
        head, tail = parts[number % len(parts)]
        yield b"%b%010d%b" % (head, number, tail)


def mixed_requests(warm: Iterator[bytes], cold: Iterator[bytes], cache_rate: float, seed: int) -> Iterator[bytes]:
    """Warm requests with probability `cache_rate`, cold ones otherwise."""
    chance = random.Random(seed).random  # noqa: S311 - repeatable, guards nothing
    while True:
        yield next(warm if chance() < cache_rate else cold)


class Connection:
    """One kept-alive connection with at most one request under way."""

    __slots__ = ("_missing", "_received", "sent_at", "socket", "status")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._missing = 0
        self.sent_at = 0.0
        self.status = 0

    def receive(self) -> bool:
        """Read what is there; True when the answer is complete."""
        data = self.socket.recv(65_536)
        if not data:
            raise ClientError("the server closed a connection")
        if self._missing:
            self._missing -= len(data)
            return self._missing <= 0
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = LENGTH.search(self._received, 0, end + 2)
        if length is None:
            raise ClientError(f"an answer without Content-Length: {self._received[:200]!r}")
        self.status = int(self._received[9:12])
        self._missing = end + 4 + int(length[1]) - len(self._received)
        self._received = b""
        return self._missing <= 0


def drive(
    port: int,
    requests: Iterator[bytes],
    *,
    clients: int,
    seconds: float = float("inf"),
    server_cpu: Callable[[], float] = lambda: 0.0,
) -> Run:
    """Keep `clients` requests under way for `seconds`, or until `requests` ends; then wait for what is under way.

    `server_cpu` gives the CPU seconds that the server has used so far. Raises ClientError.
    """
    connections = [Connection(port) for _ in range(clients)]
    try:
        return _Driver(requests, seconds, server_cpu).run(connections)
    finally:
        for connection in connections:
            connection.socket.close()


class _Driver:
    """One run: the clock starts with the first request and stops at the first answer after `seconds`."""

    def __init__(self, requests: Iterator[bytes], seconds: float, server_cpu: Callable[[], float]) -> None:
        self._requests = requests
        self._server_cpu = server_cpu
        self._run = Run()
        self._own_cpu_before, self._server_cpu_before = time.process_time(), server_cpu()
        self._began = time.perf_counter()
        self._deadline = self._began + seconds
        self._ended = False

    def run(self, connections: Sequence[Connection]) -> Run:
        """Drive the connections until nothing is under way any more."""
        under_way = sum(self._send(connection) for connection in connections)
        by_number = {connection.socket.fileno(): connection for connection in connections}
        with select.epoll() as poll:
            for number in by_number:
                poll.register(number, select.EPOLLIN)
            while under_way:
                events = poll.poll(STUCK_SECONDS)
                if not events:
                    raise ClientError(f"no answer within {STUCK_SECONDS} s")
                for number, _ in events:
                    connection = by_number[number]
                    if connection.receive() and not self._next(connection):
                        under_way -= 1
        if not self._ended:
            self._end()
        return self._run

    def _next(self, connection: Connection) -> bool:
        """Note the answer that has come; True when another request is under way in its place."""
        arrived = time.perf_counter()
        self._run.latencies.append(arrived - connection.sent_at)
        self._run.failures += connection.status != OK
        if arrived >= self._deadline and not self._ended:
            self._end()
        return not self._ended and self._send(connection)

    def _send(self, connection: Connection) -> bool:
        request = next(self._requests, None)
        if request is None:
            return False
        connection.sent_at = time.perf_counter()
        connection.socket.sendall(request)
        return True

    def _end(self) -> None:
        self._ended = True
        self._run.seconds = time.perf_counter() - self._began
        self._run.completed = len(self._run.latencies)
        self._run.client_cpu_seconds = time.process_time() - self._own_cpu_before
        self._run.server_cpu_seconds = self._server_cpu() - self._server_cpu_before
