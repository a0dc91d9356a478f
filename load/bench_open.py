"""An open-loop HTTP client: requests leave when they are due, whether or not earlier ones were answered.

A closed loop slows down with its server and so can never overload it. Arrivals are random (Poisson) at a rate for each
kind of request. One process, plain sockets, epoll; all connections are opened at the start, as a connection pool's are,
and what is due while all are busy counts as unsent.
"""

import random
import resource
import select
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from load.bench_client import ClientError, Connection

SAMPLE_SECONDS = 0.25
SPARE_FILES = 64


class Phase(NamedTuple):
    """For `seconds`, requests of each kind at so many a second."""

    name: str
    seconds: float
    rates: Mapping[str, float]


class Answer(NamedTuple):
    """One request that was answered; times in seconds since the client's start."""

    kind: str
    status: int
    due: float
    sent: float
    arrived: float


@dataclass
class OpenRun:
    """What the client saw."""

    answers: list[Answer] = field(default_factory=list)
    unsent: Counter[str] = field(default_factory=Counter)
    """By phase: due while all connections were busy."""
    samples: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the start, what `sample` gave)."""
    starts: dict[str, float] = field(default_factory=dict)
    """Phase -> seconds since the start; "end" is where the last one ends."""
    client_busy: float = 0.0
    """Share of a core that the client took while requests were sent."""
    unanswered: int = 0

    def during(self, phase: str, kind: str, status: int) -> list[Answer]:
        """Answers of this kind and status to requests sent in this phase."""
        ends = dict(pairwise([*self.starts]))
        begin, end = self.starts[phase], self.starts[ends[phase]]
        return [one for one in self.answers if one.kind == kind and one.status == status and begin <= one.sent < end]


def due_times(phases: Sequence[Phase], seed: int) -> list[tuple[float, str, str]]:
    """(seconds since the start, kind, phase) of every request, in order."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
    due, begin = [], 0.0
    for phase in phases:
        for kind, rate in phase.rates.items():
            at = begin + chance.expovariate(rate)
            while at < begin + phase.seconds:
                due.append((at, kind, phase.name))
                at += chance.expovariate(rate)
        begin += phase.seconds
    return sorted(due)


def drive_open(
    port: int,
    requests: Mapping[str, Iterator[bytes]],
    phases: Sequence[Phase],
    *,
    connections: int,
    drain_seconds: float,
    sample: Callable[[], float],
) -> OpenRun:
    """Send what is due in all phases, then wait up to `drain_seconds` for what is under way. Raises ClientError."""
    _allow_files(connections)
    client = _OpenClient(port, requests, connections, sample)
    try:
        return client.run(phases, drain_seconds)
    finally:
        client.close()


def _allow_files(connections: int) -> None:
    """Raise the soft limit of open files as far as needed; our own programs inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ClientError(f"{connections} connections need {wanted} open files, the limit is {hard} (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _OpenClient:
    """One run. The clock starts in `run`."""

    def __init__(
        self, port: int, requests: Mapping[str, Iterator[bytes]], connections: int, sample: Callable[[], float]
    ) -> None:
        self._requests, self._sample = requests, sample
        self._free = [Connection(port) for _ in range(connections)]
        self._busy: dict[int, tuple[Connection, str, float]] = {}
        self._poll = select.epoll()
        for connection in self._free:
            self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        self._run = OpenRun()
        self._began = self._next_sample = 0.0

    def run(self, phases: Sequence[Phase], drain_seconds: float) -> OpenRun:
        """All phases, then the drain."""
        due, begin = due_times(phases, seed=1), 0.0
        for phase in phases:
            self._run.starts[phase.name] = begin
            begin += phase.seconds
        self._run.starts["end"] = begin
        own = time.process_time()
        self._began = time.perf_counter()
        for at, kind, phase_name in due:
            self._receive(0)  # even when it is late: answers are part of the load
            while (left := at - self._now()) > 0:
                self._receive(left)
            self._send(kind, at, phase_name)
        self._run.client_busy = (time.process_time() - own) / self._now()
        while self._busy and self._now() < begin + drain_seconds:
            self._receive(SAMPLE_SECONDS)
        self._run.unanswered = len(self._busy)
        return self._run

    def close(self) -> None:
        """All connections, those under way, too."""
        for connection in (*self._free, *(entry[0] for entry in self._busy.values())):
            connection.socket.close()
        self._poll.close()

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _send(self, kind: str, at: float, phase: str) -> None:
        if not self._free:
            self._run.unsent[phase] += 1
            return
        connection = self._free.pop()
        connection.sent_at = self._now()
        self._busy[connection.socket.fileno()] = connection, kind, at
        connection.socket.sendall(next(self._requests[kind]))

    def _receive(self, timeout: float) -> None:
        """Wait for answers, note them; and the sample, when it is time."""
        for number, _ in self._poll.poll(timeout):
            connection, kind, at = self._busy[number]
            if connection.receive():
                del self._busy[number]
                self._free.append(connection)
                self._run.answers.append(Answer(kind, connection.status, at, connection.sent_at, self._now()))
        now = self._now()
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE_SECONDS
            self._run.samples.append((now, self._sample()))
