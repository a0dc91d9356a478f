"""What the server says of itself during a run: one line of JSON for each second.

    {"time": 1795232812.2, "metrics": {"http_requests_total{...}": 12.0}, "redis": {"keys": 9, "bytes": 900}}

Several metrics pages (one for each pod) are added up. What cannot be had at a moment is absent from that line.
"""

import json
import re
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

PERIOD_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0
WANTED = re.compile(
    r"^((?:http_requests|valence|process)_\w+(?<!_created)(?<!_bucket)(?:\{[^}]*\})?) (\S+)$", re.MULTILINE
)
COUNTER = re.compile(r"\w+_(?:total|count|sum)\b")
Sample = dict[str, Any]


class SourceError(Exception):
    """A source cannot tell; the message says why."""


class Sampler:
    """Writes samples to `file` from `__enter__` to `__exit__`, where it takes a last one."""

    def __init__(self, file: Path, sources: Mapping[str, Callable[[], Any]]) -> None:
        self._file = file
        self._sources = sources
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._file.open("w", encoding="utf-8") as lines:
            due = time.monotonic()
            last = False
            while not last:
                last = self._stop.is_set()
                lines.write(json.dumps(self._sample()) + "\n")
                due = max(due + PERIOD_SECONDS, time.monotonic())
                self._stop.wait(due - time.monotonic())

    def _sample(self) -> Sample:
        sample: Sample = {"time": time.time()}
        for name, read in self._sources.items():
            with suppress(OSError, ValueError, RedisError, SourceError):  # a pod that goes away, a Redis that is down
                sample[name] = read()
        return sample


class MetricsPages:
    """Several metrics pages, one for each pod, added up by name and labels.

    A pod that is gone keeps its last counts, one that began anew goes on from them: a sum never falls.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._last: dict[str, dict[str, float]] = {}
        self._earlier: dict[str, float] = defaultdict(float)
        """What processes had counted that have ended."""

    def read(self) -> dict[str, float]:
        """The sums now. Raises SourceError while a page has never answered."""
        for url in self._urls:
            self._see(url)
        total = self._earlier.copy()
        for url in self._urls:
            for name, value in self._last[url].items():
                total[name] += value
        return dict(total)

    def _see(self, url: str) -> None:
        try:
            page = read_page(url)
        except SourceError:
            if url in self._last:
                return
            raise
        for name, value in self._last.get(url, {}).items():
            if COUNTER.match(name) and page.get(name, 0.0) < value:
                self._earlier[name] += value
        self._last[url] = page


def read_page(url: str) -> dict[str, float]:
    """The samples of one metrics page that a report may need. Raises SourceError."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - the user named it
            page = answer.read().decode()
    except (OSError, ValueError) as exc:
        raise SourceError(f"{url}: {exc}") from exc
    return {name: float(value) for name, value in WANTED.findall(page)}


def redis_reader(url: str) -> Callable[[], dict[str, int]]:
    """A function that tells the keys that Redis holds and the bytes that it uses; raises RedisError."""
    client = Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)

    def read() -> dict[str, int]:
        info: Any = client.info("memory")
        keys: Any = client.dbsize()
        return {"keys": int(keys), "bytes": int(info["used_memory"])}

    return read


def cluster_reader(namespace: str, deployment: str) -> Callable[[], dict[str, Any]]:
    """A function that tells how the Deployment stands, as `load.observe.cluster.State` has it.

    Raises SourceError when there is no cluster.
    """
    # The client takes a second to import, and is wanted only where there is a cluster.
    from load.observe.cluster import Cluster, ClusterError  # noqa: PLC0415

    try:
        cluster = Cluster(namespace, deployment)
    except ClusterError as exc:
        raise SourceError(str(exc)) from exc

    def read() -> dict[str, Any]:
        try:
            return asdict(cluster.state())
        except ClusterError as exc:
            raise SourceError(str(exc)) from exc

    return read
