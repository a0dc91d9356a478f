"""Requests without a pause, sent as a load balancer would: only to pods that are ready."""

import itertools
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import httpx

from tests.e2e.stack import Pod

PROBE_SECONDS = 0.25
"""How often readiness is asked. Slower than any mesh notices, faster than the drain lasts."""


class Traffic:
    """Keeps `clients` requests under way while the `with` block lasts; every other text was never seen before."""

    def __init__(self, pods: Sequence[Pod], clients: int = 4) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._pods = pods
        self._ready = list(pods)
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]
        self._threads.append(threading.Thread(target=self._balance))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, requests: int = 50) -> bool:
        """Whether that many more requests were answered since the call before."""
        if self.answered < getattr(self, "_mark", 0) + requests:
            return False
        self._mark = self.answered
        return True

    def _balance(self) -> None:
        while not self._stop.wait(PROBE_SECONDS):
            self._ready = [pod for pod in self._pods if pod.ready()]

    def _send(self) -> None:
        with ExitStack() as stack:
            clients = {pod.name: stack.enter_context(httpx.Client(timeout=15)) for pod in self._pods}
            while not self._stop.is_set():
                number = next(self._numbers)
                ready = self._ready
                if not ready:
                    self._report("no pod was ready")
                    return
                pod = ready[number % len(ready)]
                texts = [f"text {number} was a pleasure to read", "a text that comes again and again"]
                try:
                    answer = clients[pod.name].post(f"{pod.url}/predict", json={"text": texts})
                except httpx.HTTPError as exc:
                    self._report(f"{time.strftime('%T')} {pod.name}: {exc!r}")
                else:
                    if answer.status_code == httpx.codes.OK:
                        with self._lock:
                            self.answered += 1
                    else:
                        self._report(f"{pod.name}: {answer.status_code} {answer.text}")

    def _report(self, failure: str) -> None:
        with self._lock:
            self.failures.append(failure)
