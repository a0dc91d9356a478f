"""The service and a Redis for the measurements of load.capacity.costs, and clients that never pause."""

import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


class Service:
    """The service with one worker, as long as the `with` block lasts."""

    def __init__(self, **variables: str) -> None:
        self.port, self._metrics_port = free_port(), free_port()
        self.metrics_url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        ours = {"VALENCE_BIND": f"127.0.0.1:{self.port}", "VALENCE_METRICS_BIND": f"127.0.0.1:{self._metrics_port}"}
        self._environment = {**os.environ, **ours, **variables}

    def __enter__(self) -> Self:
        command, log = [sys.executable, "-m", "gunicorn"], subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: S603 - our own service
            command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
        )
        wait_for(self.ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def ready(self) -> bool:
        """Whether it answers; ends the program if it has ended."""
        if self._process.poll() is not None:
            sys.exit("error: the service did not start; `make run` says why")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == http.client.OK)
        except OSError:
            return False

    def drive(self, texts: Callable[[random.Random], str], seconds: float, clients: int) -> None:
        """`clients` send texts for that long, each the next when the last is answered. Raises OSError, RuntimeError."""
        end = time.monotonic() + seconds
        sources = [random.Random(time.time_ns() + number) for number in range(clients)]  # noqa: S311 - guards nothing
        with ThreadPoolExecutor(clients) as pool:
            for done in [pool.submit(self._send, texts, source, end) for source in sources]:
                done.result()

    def _send(self, texts: Callable[[random.Random], str], source: random.Random, end: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while time.monotonic() < end:
            connection.request("POST", "/predict", json.dumps({"text": [texts(source)]}))
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"the service answered {answer.status}")
        connection.close()


def process_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def redis() -> Iterator[tuple[str, int] | None]:
    """(URL, process id) of a Redis without persistence; None where redis-server is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - found on the PATH
    try:
        wait_for(lambda: listens(port))
        yield f"redis://127.0.0.1:{port}/0", process.pid
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return once it holds; ends the program if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"error: not up after {seconds:.0f} s")
        time.sleep(0.05)
