"""An open-loop HTTP client: requests leave when they are due, whether or not earlier ones were answered.

A closed loop slows down with its server and so can never overload it. Arrivals are random (Poisson) at a rate for each
kind of request. All connections are opened at the start, as a connection pool's are, and what is due while all are busy
counts as unsent.

Why not k6's constant-arrival-rate: on the two cores that it shares with the service it measures itself. 1,000
requests/s of 16 cold texts beside 100 hits/s, three runs each, in turns, on a busy machine: this client took 84 us of
CPU a request (a tenth of a core) and sent every one; k6 took 740 to 870 us (half a core), could not send 36 to 57 % of
them, and saw hits with a p99 of 710 to 3,550 ms where this one saw 15 to 38 ms.
"""

import random
import select
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.client import Connection
from load.open_files import allow_users

SAMPLE_SECONDS = 0.25


class Phase(NamedTuple):
    """For `seconds`, requests of each kind at so many a second."""

    name: str
    seconds: float
    rates: Mapping[str, float]


class Answer(NamedTuple):
    """One request that was answered; times in seconds since the client's start."""

    phase: str
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
    client_busy: float = 0.0
    """Share of a core that the client took while requests were sent."""
    unanswered: int = 0

    def during(self, phase: str, kind: str, status: int) -> list[Answer]:
        """Answers of this kind and status to requests that were due in this phase."""
        return [one for one in self.answers if (one.phase, one.kind, one.status) == (phase, kind, status)]


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
    """Send what is due in all phases, then wait up to `drain_seconds` for what is under way.

    `sample` is called every SAMPLE_SECONDS. Raises ClientError, and FileLimitError where files are too few.
    """
    allow_users(connections)
    with ExitStack() as stack:
        poll, free = stack.enter_context(select.epoll()), []
        for _ in range(connections):
            free.append(Connection(port))
            poll.register(stack.enter_context(free[-1].socket), select.EPOLLIN)
        return _OpenClient(requests, free, poll, sample).run(phases, drain_seconds)


class _OpenClient:
    """One run; the clock starts with it."""

    def __init__(
        self,
        requests: Mapping[str, Iterator[bytes]],
        free: list[Connection],
        poll: select.epoll,
        sample: Callable[[], float],
    ) -> None:
        self._requests, self._free, self._poll, self._sample = requests, free, poll, sample
        self._busy: dict[int, tuple[Connection, str, str, float]] = {}
        self._run = OpenRun()
        self._began = time.perf_counter()

    def run(self, phases: Sequence[Phase], drain_seconds: float) -> OpenRun:
        """All phases, then the drain."""
        due = due_times(phases, seed=1)
        own = time.process_time()
        self._began = time.perf_counter()
        for at, kind, phase in due:
            self._receive(0)  # even when it is late: answers are part of the load
            while (left := at - self._now()) > 0:
                self._receive(left)
            self._send(phase, kind, at)
        self._run.client_busy = (time.process_time() - own) / self._now()
        drained = sum(phase.seconds for phase in phases) + drain_seconds
        while self._busy and self._now() < drained:
            self._receive(SAMPLE_SECONDS)
        self._run.unanswered = len(self._busy)
        return self._run

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _send(self, phase: str, kind: str, at: float) -> None:
        if not self._free:
            self._run.unsent[phase] += 1
            return
        connection = self._free.pop()
        connection.sent_at = self._now()
        self._busy[connection.socket.fileno()] = connection, phase, kind, at
        connection.socket.sendall(next(self._requests[kind]))

    def _receive(self, timeout: float) -> None:
        """Wait for answers, note them; and the sample, when it is time."""
        for number, _ in self._poll.poll(timeout):
            connection, phase, kind, at = self._busy[number]
            if connection.receive():
                del self._busy[number]
                self._free.append(connection)
                self._run.answers.append(Answer(phase, kind, connection.status, at, connection.sent_at, self._now()))
        now = self._now()
        if not self._run.samples or now >= self._run.samples[-1][0] + SAMPLE_SECONDS:
            self._run.samples.append((now, self._sample()))
