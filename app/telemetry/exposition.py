"""`/metrics`: every metric of this process, or of all workers, on a port of its own.

With one worker, gunicorn's parent owns the listening socket and the worker answers on it. With several, each writes
its metrics to files in PROMETHEUS_MULTIPROC_DIR, and the parent answers for all of them; so it must not import the
metrics themselves (metrics.py), which would make it a process with metrics of its own.
"""

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import REGISTRY, CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.cpu import cpu_throttling
from app.telemetry import listener

SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ
"""Whether this process is one of several workers, or their parent."""

IDLE_SECONDS = 30.0
Samples = dict[str, list[tuple[Mapping[str, str], float]]]
"""(labels, value) of every series, by the name of the sample, such as `http_requests_total`."""
Around = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes one WSGI application of another."""


class CpuThrottling(Collector):
    """How often the kernel stopped this container because its CPU quota was used up; nothing without a quota."""

    def collect(self) -> Iterable[Metric]:
        """Read at each scrape."""
        throttling = cpu_throttling()
        if throttling is not None:
            yield CounterMetricFamily("valence_cpu_periods", "Periods of the CPU quota.", throttling.periods)
            yield CounterMetricFamily(
                "valence_cpu_throttled_periods", "Periods in which the quota was used up.", throttling.throttled_periods
            )
            yield CounterMetricFamily(
                "valence_cpu_throttled_seconds", "Time for which threads were stopped.", throttling.throttled_seconds
            )


class Registry(CollectorRegistry):
    """A registry that finds each sample by its name for `?name[]=`, whatever collector it comes from."""

    def restricted_registry(self, names: Iterable[str]) -> Any:
        """What `collect` gives are the metrics that have samples of these names, with those samples."""
        wanted = frozenset(names)
        registry = Registry()
        registry.register(Restricted(self, wanted))
        return registry


class Restricted(Collector):
    """Some samples of a registry."""

    def __init__(self, registry: CollectorRegistry, names: frozenset[str]) -> None:
        self._registry, self._names = registry, names

    def collect(self) -> Iterable[Metric]:
        """Read at each scrape."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if sample.name in self._names]
            if metric.samples:
                yield metric


@cache
def every_metric() -> CollectorRegistry:
    """All metrics of this process, or of all workers where there are several."""
    registry = Registry()
    registry.register(CpuThrottling())
    if SHARED:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    return registry


def read(registry: CollectorRegistry) -> Samples:
    """Every sample by its name."""
    samples: Samples = {}
    for metric in registry.collect():
        for sample in metric.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


class Server(ThreadingWSGIServer):
    """Answers on a socket that listens already."""

    def __init__(self, listening: socket.socket, around: Around) -> None:
        super().__init__(listening.getsockname()[:2], QuietHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.setup_environ()
        self.set_app(around(get_or_head(make_wsgi_app(every_metric()))))


class QuietHandler(WSGIRequestHandler):
    """Logs no scrapes, and ends a connection on which nothing comes or goes."""

    timeout = IDLE_SECONDS

    def handle(self) -> None:
        """Answer one request."""
        with suppress(TimeoutError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def get_or_head(application: Callable[..., Any]) -> Callable[..., Any]:
    """The same WSGI application, which answers HEAD as GET without a body."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        head = environ["REQUEST_METHOD"] == "HEAD"
        body = application(environ | {"REQUEST_METHOD": "GET"} if head else environ, start_response)
        return [] if head else body

    return answer


def serve_metrics(bind: str, around: Around) -> Callable[[], None]:
    """Serve `/metrics` on the inherited socket or on "address:port", in a thread; nothing for an empty `bind`.

    `around` makes of that WSGI application the one that answers. Returns what ends it; no context manager, whose exit a
    forked worker would inherit. Raises SettingsError when the address cannot be had.
    """
    if not bind:
        return lambda: None
    server = Server(listener.inherited or listener.listen(bind), around)
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end
