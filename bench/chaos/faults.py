"""The faults: each breaks a running service in its own way for as long as its block lasts, and mends it behind."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from redis import Redis

from load.programs import Program

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
QUESTION = b'{"text": ["One that nobody waits for."]}'
ASKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(QUESTION), QUESTION)
CHANGE_SECONDS = 30
"""In which workers must have been replaced."""


@dataclass(frozen=True)
class Target:
    """What is broken: the service's parent and its port, and its Redis, if it has one."""

    program: Program
    redis_url: str | None

    @property
    def workers(self) -> list[int]:
        """Process ids of what answers requests, the oldest first."""
        return sorted(set(self.program.pids()) - {self.program.pid})


@dataclass(frozen=True)
class Fault:
    """One way to break it, and what is promised meanwhile."""

    name: str
    strike: Callable[[Target], AbstractContextManager[object]]
    settings: dict[str, str] = field(default_factory=dict)
    """Of the service, as `bench.sides.service` takes them."""
    start: str = 'exec "$@"'
    """How bash starts the service."""
    redis: bool = False
    slow: bool = False
    """Whether each reply of Redis comes late (slow_redis.py)."""
    may_lose: int = 0
    """Requests, of those that were under way."""
    promised_seconds: float = 1.0
    """For an answer: what the fault costs at most, and what two busy cores need beside it."""


@contextmanager
def nothing(_: Target) -> Iterator[None]:
    """What is wrong was so from the start."""
    yield


@contextmanager
def kill_worker(target: Target) -> Iterator[None]:
    """SIGKILL."""
    os.kill(target.workers[0], signal.SIGKILL)
    yield


@contextmanager
def tell_parent(number: signal.Signals, target: Target) -> Iterator[None]:
    """A signal that has workers replaced, added or taken away."""
    before = target.workers
    os.kill(target.program.pid, number)
    deadline = time.monotonic() + CHANGE_SECONDS
    while target.workers == before and time.monotonic() < deadline:
        time.sleep(0.05)
    yield


@contextmanager
def add_and_take(target: Target) -> Iterator[None]:
    """TTIN, and TTOU when the block ends."""
    with tell_parent(signal.SIGTTIN, target):
        yield
    with tell_parent(signal.SIGTTOU, target):
        pass


@contextmanager
def signal_redis(number: signal.Signals, target: Target) -> Iterator[None]:
    """SIGKILL ends it for good, SIGSTOP until the block ends."""
    with _redis(target) as client:
        process = client.info()["process_id"]
    os.kill(process, number)
    yield
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


@contextmanager
def read_only_redis(target: Target) -> Iterator[None]:
    """As after a failover: the replica of a master that is not there."""
    with _redis(target) as client:
        client.replicaof("127.0.0.1", 1)
        yield
        client.replicaof("NO", "ONE")


def _redis(target: Target) -> Redis:
    assert target.redis_url is not None
    return Redis.from_url(target.redis_url)


@contextmanager
def connected(count: int, first: bytes, then: Callable[[list[socket.socket]], None], target: Target) -> Iterator[None]:
    """So many connections that send `first` and then what `then` does, again and again."""
    end = threading.Event()
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            sockets.append(
                stack.enter_context(socket.create_connection(("127.0.0.1", target.program.port), timeout=10))
            )
            with suppress(OSError):  # refused and closed is an answer, too
                sockets[-1].sendall(first)
            sockets[-1].setblocking(False)
        thread = threading.Thread(target=_again, args=(partial(then, sockets), end))
        thread.start()
        yield
        end.set()
        thread.join()


def _again(step: Callable[[], None], end: threading.Event) -> None:
    while not end.wait(0.1):
        step()


def send_each(content: bytes, sockets: list[socket.socket]) -> None:
    """To each as much as it takes."""
    for one in sockets:
        with suppress(OSError):
            one.send(content)


IDLE = partial(send_each, b"")
FAULTS = (
    Fault("no fault", nothing),
    Fault("kill -9 of the only worker", kill_worker, may_lose=8, promised_seconds=5),
    Fault("kill -9 of one worker of two", kill_worker, {"workers": "2"}, may_lose=8, promised_seconds=5),
    Fault("HUP, one worker", partial(tell_parent, signal.SIGHUP), {"drain_seconds": "1"}, promised_seconds=3),
    Fault(
        "HUP, two workers", partial(tell_parent, signal.SIGHUP), {"workers": "2", "drain_seconds": "1"},
        promised_seconds=3,
    ),
    Fault("TTIN, then TTOU", add_and_take, {"drain_seconds": "1"}, promised_seconds=3),
    Fault("log on a full disk", nothing, {"log_texts": "true"}, start='exec "$@" > /dev/full 2>&1'),
    Fault("log into a closed pipe", nothing, {"log_texts": "true"}, start='exec "$@" > >(exec true) 2>&1'),
    Fault("log into a full pipe", nothing, {"log_texts": "true"}, start='exec "$@" > >(exec sleep 600) 2>&1'),
    Fault("Redis killed", partial(signal_redis, signal.SIGKILL), redis=True),
    Fault("Redis paused", partial(signal_redis, signal.SIGSTOP), redis=True),
    Fault("Redis slow", nothing, redis=True, slow=True),
    Fault("Redis read-only", read_only_redis, redis=True),
    # The longest idle connections make room, ours between two requests among them: whoever sends just then sends again.
    Fault(
        "64 open files, 300 idle clients", partial(connected, 300, b"", IDLE), start='ulimit -n 64; exec "$@"',
        may_lose=8,
    ),
    Fault("200 slow heads", partial(connected, 200, HEAD, partial(send_each, b"x"))),
    Fault("200 slow bodies", partial(connected, 200, HEAD + b"\r\n", partial(send_each, b"x"))),
    Fault("50 clients that read nothing", partial(connected, 50, ASKED * 100, partial(send_each, ASKED * 20))),
    Fault("20 heads of 1 MB", partial(connected, 20, HEAD + b"a: b\r\n" * 170_000, IDLE)),
    Fault("100 unfinished bodies of 1 MB", partial(connected, 100, HEAD + b"\r\n" + b"x" * 999_000, IDLE)),
)  # fmt: skip
