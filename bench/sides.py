"""A side of a comparison: a program, started afresh, the load that it gets, and what is measured of both."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from bench.client import cold_requests, drive, mixed_requests, request_bytes, warm_requests
from load.programs import ROOT, Cores, Program, free_port, on_cores, redis_server
from load.texts import load_texts

WARM_UP_SECONDS = 1.0
CACHE_RATE = 0.95
SERVED_BY = re.compile(r'^valence_cache_texts_total\{source="(\w+)"\} (\S+)$', re.MULTILINE)
BATCHES = re.compile(r"^valence_batch_texts_(count|sum) (\S+)$", re.MULTILINE)
Figures = dict[str, float]
Kind = Literal["hits", "misses", "mix"]

_nonces = count(0, 1_000_000)


@dataclass(frozen=True)
class Machine:
    """The cores in use, and the programs that a comparison may need."""

    server: Cores
    client: Cores
    redis_program: str | None

    @property
    def both(self) -> Cores:
        """Where server and client share."""
        return self.server | self.client


def find_machine() -> Machine:
    """The first two cores that we may use: one for servers, one for the client; with a single core both share it."""
    cores = sorted(os.sched_getaffinity(0))
    return Machine(frozenset(cores[:1]), frozenset(cores[1:2] or cores), shutil.which("redis-server"))


@dataclass(frozen=True)
class Load:
    """What the client does for `seconds`.

    Pinned: the server has one core, client and Redis the other; otherwise all share both.
    """

    kind: Kind
    clients: int
    seconds: float
    pinned: bool

    def requests(self, request: Callable[[str], bytes] = request_bytes) -> Iterator[bytes]:
        """A fresh, endless stream of requests, each made by `request` from its text."""
        texts = load_texts()
        warm, cold = warm_requests(texts["warm"], request), cold_requests(texts["cold"], next(_nonces), request)
        streams = {"hits": warm, "misses": cold, "mix": mixed_requests(warm, cold, CACHE_RATE, seed=next(_nonces))}
        return streams[self.kind]


@dataclass(frozen=True)
class Side:
    """A server program: `command` and `env` are called with its port and the URL of its Redis."""

    command: Callable[[int], list[str]]
    env: Callable[[int, str], dict[str, str]]
    cwd: Path
    ready_path: str
    redis: bool = False
    metrics_port: int | None = None
    """Where the service tells its own counts; the other sides have none."""
    request: Callable[[str], bytes] = request_bytes
    """The request for one text, as this server takes it."""


def service(model_dir: Path, *, redis: bool = False, **settings: str) -> Side:
    """This project's service; `settings` without their prefix, in lower case."""
    metrics_port = free_port()

    def env(port: int, redis_url: str) -> dict[str, str]:
        ours = {
            "bind": f"127.0.0.1:{port}",
            "metrics_bind": f"127.0.0.1:{metrics_port}",
            "model_dir": str(model_dir),
            **({"redis_url": redis_url} if redis else {}),
            **settings,
        }
        return {f"VALENCE_{name.upper()}": value for name, value in ours.items()}

    return Side(lambda _: [sys.executable, "-m", "gunicorn"], env, ROOT, "/readyz", redis, metrics_port)


@contextmanager
def running(machine: Machine, side: Side, *, pinned: bool = False) -> Iterator[tuple[int, Program]]:
    """Start the side, and stop it at the end; gives its port. This process runs on the client's cores meanwhile."""
    server_cores = machine.server if pinned else machine.both
    client_cores = machine.client if pinned else machine.both
    with ExitStack() as stack:
        redis_url = ""
        if side.redis:
            assert machine.redis_program is not None  # such sides are not planned without
            redis_url = stack.enter_context(redis_server(machine.redis_program, client_cores))
        port = free_port()
        program = Program(
            side.command(port), port=port, env=side.env(port, redis_url), cwd=side.cwd, cores=server_cores,
            ready_path=side.ready_path,
        )  # fmt: skip
        stack.callback(program.stop)
        stack.enter_context(on_cores(client_cores))
        yield port, program


def measure(machine: Machine, side: Side, load: Load) -> Figures:
    """Start the side, warm it up, load it, stop it."""
    with running(machine, side, pinned=load.pinned) as (port, program):
        if load.kind != "misses":
            drive(port, iter([side.request(text) for text in load_texts()["warm"]]), clients=load.clients)
        requests = load.requests(side.request)
        drive(port, requests, clients=load.clients, seconds=min(WARM_UP_SECONDS, load.seconds))
        before = read_metrics(side)
        run = drive(port, requests, clients=load.clients, seconds=load.seconds, server_cpu=program.cpu_seconds)
        after = read_metrics(side)
        percentiles = quantiles(run.latencies, n=100, method="inclusive")
        return {
            "requests_per_second": run.completed / run.seconds,
            "p50_ms": median(run.latencies) * 1000,
            "p99_ms": percentiles[98] * 1000,
            "cpu_us_per_request": run.server_cpu_seconds / run.completed * 1e6,
            "client_busy": run.client_cpu_seconds / run.seconds,
            "failures": run.failures,
            "peak_rss_mb": program.peak_rss_mb(),
            "ready_seconds": program.ready_seconds,
            **{name: after[name] - before.get(name, 0.0) for name in after},
        }


def read_metrics(side: Side) -> Figures:
    """The service's own counts of texts by source, and of batches; empty for other sides."""
    if side.metrics_port is None:
        return {}
    with urllib.request.urlopen(f"http://127.0.0.1:{side.metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counts = {f"texts_from_{source}": float(value) for source, value in SERVED_BY.findall(text)}
    return counts | {f"batch_texts_{name}": float(value) for name, value in BATCHES.findall(text)}


def measure_raw(machine: Machine, model_dir: Path, *, threads: int, batch_texts: int, seconds: float) -> Figures:
    """ONNX Runtime alone, on the cores that server and client otherwise share."""
    command = [
        sys.executable, "-m", "bench.rivals.onnxruntime_alone", str(model_dir), "--threads", str(threads),
        "--batch-texts", str(batch_texts), "--seconds", str(seconds),
    ]  # fmt: skip
    with on_cores(machine.both):
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
    figures: Figures = json.loads(output)
    return figures
