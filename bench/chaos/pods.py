"""What happens to pods: one is killed, told to stop, loses its worker, or Redis goes."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from bench.pods import API, REDIS, Pods


@dataclass(frozen=True)
class PodFault:
    """One way to break one of two pods, or their Redis, and what is promised meanwhile."""

    name: str
    strike: Callable[[Pods], AbstractContextManager[object]]
    may_lose: int = 0
    """Requests, of those that were under way."""
    promised_seconds: float = 10.0
    """For an answer: VALENCE_TIMEOUT of the overlay. A new worker takes seconds to load with half a core."""


@contextmanager
def ended(verb: str, container: str, pods: Pods) -> Iterator[None]:
    """By `podman kill` or `podman stop`, and started again behind."""
    pods.podman(verb, container)
    yield
    pods.podman("start", container)


@contextmanager
def paused(container: str, pods: Pods) -> Iterator[None]:
    """Frozen: its connections stay open, and nobody answers."""
    pods.podman("pause", container)
    yield
    pods.podman("unpause", container)


@contextmanager
def worker_killed(pods: Pods) -> Iterator[None]:
    """SIGKILL of the process that answers, below gunicorn."""
    processes = sorted(int(line) for line in pods.podman("top", API, "hpid").splitlines()[1:])
    os.kill(processes[-1], signal.SIGKILL)
    yield


POD_FAULTS = (
    PodFault("one pod of two killed", partial(ended, "kill", API), may_lose=8),
    PodFault("one pod of two told to stop", partial(ended, "stop", API)),
    PodFault("worker of a pod killed", worker_killed, may_lose=8),
    PodFault("Redis killed, two pods", partial(ended, "kill", REDIS)),
    PodFault("Redis paused, two pods", partial(paused, REDIS)),
)
