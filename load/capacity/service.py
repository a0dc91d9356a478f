"""The service for the measurements of load.capacity.costs, and clients that never pause."""

import http.client
import json
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from load.programs import ROOT, Program, free_port


class Service:
    """The service with one worker, as long as the `with` block lasts. Raises ProcessError when it does not start."""

    def __init__(self, **variables: str) -> None:
        self._port, metrics_port = free_port(), free_port()
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        ours = {"VALENCE_BIND": f"127.0.0.1:{self._port}", "VALENCE_METRICS_BIND": f"127.0.0.1:{metrics_port}"}
        self._program = Program(
            [sys.executable, "-m", "gunicorn"],
            port=self._port,
            env=ours | variables,
            cwd=ROOT,
            cores=frozenset(os.sched_getaffinity(0)),
            ready_path="/readyz",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.stop()

    def drive(self, texts: Callable[[random.Random], str], seconds: float, clients: int) -> None:
        """`clients` send texts for that long, each the next when the last is answered. Raises OSError, RuntimeError."""
        end = time.monotonic() + seconds
        sources = [random.Random(time.time_ns() + number) for number in range(clients)]  # noqa: S311 - guards nothing
        with ThreadPoolExecutor(clients) as pool:
            for done in [pool.submit(self._send, texts, source, end) for source in sources]:
                done.result()

    def _send(self, texts: Callable[[random.Random], str], source: random.Random, end: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while time.monotonic() < end:
            connection.request("POST", "/predict", json.dumps({"text": [texts(source)]}))
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"the service answered {answer.status}")
        connection.close()
