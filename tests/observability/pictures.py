"""The run that docs/dashboards.md shows: `python -m tests.observability.pictures [MINUTES] [FOLDER]`.

Two real services share a Redis that hangs for an eighth of the time; k6 loads the first, other traffic the second.
A third one answers for a table, in a namespace of its own.
Redis' own metrics are real where prometheus-redis-exporter (Debian) is on the PATH. Needs the group `load`.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench.dashboards import main as draw
from load.k6 import find_k6, run_k6
from load.texts import load_texts
from tests.conftest import ROOT, RedisServer, Service, free_port, until
from tests.observability.exporters import serve_recorded
from tests.observability.prometheus_server import SCRAPE_SECONDS, Prometheus, beside, jobs
from tests.observability.traffic import FOREIGN, TRUNCATED, WINE, new

MISSION_MINUTES = 10.5
SERVICE = {
    "VALENCE_CACHE_MAX_ENTRIES": "60",  # fewer than the warm texts, so that Redis has something to answer
    "VALENCE_CACHE_TTL_SECONDS": "40",
    "VALENCE_THREADS": "1",
    "VALENCE_DRAIN_SECONDS": "0",
    "VALENCE_LOG_LEVEL": "warning",
}
LOAD = {
    "PROFILE": "mission",
    "BAD_RATE": "0.02",
    "CACHE_RATE": "0.9",
    "TEXTS_PER_REQUEST": "3",
    "THINK_SECONDS": "0.04",
}
WINDOW_SCRAPES = 3
"""Rates over four times this many scrapes: over four, on a shared machine, every hiccup is a spike."""

TABLE = "wine"
"""Namespace of the third service, which serves a table."""


def main() -> None:
    """Load for so many minutes, and draw."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    out = sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "docs" / "dashboards")
    k6 = find_k6()
    assert k6, "no k6: make load installs it"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = RedisServer(folder)
        stack.callback(redis.kill)
        redis.kill()
        redis.start("--maxmemory", "96mb", "--maxmemory-policy", "allkeys-lru")  # as base/redis/redis.conf
        first, second = (
            Service(folder / f"{name}.log", VALENCE_REDIS_URL=redis.url, **SERVICE) for name in ("first", "second")
        )
        stack.callback(first.stop)
        stack.callback(second.stop)
        exporters, redis_page = stack.enter_context(serve_recorded()), stack.enter_context(redis_exporter(redis))
        scraped = jobs(first.wait_ready().metrics_url, exporters, redis_page)
        beside(scraped, second.wait_ready().metrics_url)
        third = Service(folder / "third.log", VALENCE_MODEL_DIR=str(ROOT / "models" / "wine-quality"), **SERVICE)
        stack.callback(third.stop)
        beside(scraped, third.wait_ready().metrics_url, namespace=TABLE)
        prometheus = Prometheus(folder, scraped)
        stack.callback(prometheus.stop)
        until(lambda: set(prometheus.targets().values()) == {"up"}, "every target is scraped")
        began, over = time.time(), threading.Event()
        stack.callback(over.set)
        for run, service in ((hang_in_the_middle, second), (other_traffic, second), (rows, third)):
            threading.Thread(target=run, args=(service, redis, over, 60 * minutes), daemon=True).start()
        environment = {
            **os.environ,
            **LOAD,
            "BASE_URL": first.url,
            "DURATION_SCALE": f"{minutes / MISSION_MINUTES:.4f}",
        }
        run_k6(k6, environment, folder)
        ended = time.time()
        span = ["--minutes", str((ended - began) / 60), "--end", str(ended)]
        span += ["--scrape-seconds", str(WINDOW_SCRAPES * SCRAPE_SECONDS)]
        draw(["--prometheus", prometheus.url, *span, "--output", out])
        draw(["--prometheus", prometheus.url, *span, "--namespace", TABLE, "--output", str(folder)])
        shutil.copyfile(folder / "model.png", Path(out) / "model-of-a-table.png")


@contextmanager
def redis_exporter(redis: RedisServer) -> Iterator[str]:
    """The address of its page; empty where it is not installed."""
    program = shutil.which("prometheus-redis-exporter")
    if program is None:
        yield ""
        return
    address = f"127.0.0.1:{free_port()}"
    command = [program, "-redis.addr", redis.url.removesuffix("/0"), "-web.listen-address", address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://{address}/metrics"
    finally:
        process.kill()
        process.wait()


def hang_in_the_middle(_: Service, redis: RedisServer, over: threading.Event, seconds: float) -> None:
    """For an eighth of the time."""
    over.wait(seconds * 0.45)
    redis.hang()
    over.wait(seconds * 0.125)
    redis.resume()


def other_traffic(service: Service, _: RedisServer, over: threading.Event, __: float) -> None:
    """Two texts at a time, most of them known, some foreign, some too long."""
    texts = load_texts()
    with httpx.Client(base_url=service.url, timeout=30) as client:
        while not over.wait(0.02):
            kind = random.choices(("warm", "cold", "foreign", "long"), (88, 10, 1.5, 0.5))[0]
            text = {"warm": random.choice(texts["warm"]), "cold": new(random.choice(texts["cold"]))}
            text |= {"foreign": new(FOREIGN), "long": new(TRUNCATED)}
            client.post("/predict", json={"text": [text[kind], random.choice(texts["warm"])]})


def rows(service: Service, _: RedisServer, over: threading.Event, seconds: float) -> None:
    """Wines like one of the training table; in the second half a sixth of them have more alcohol than any there."""
    began = time.monotonic()
    with httpx.Client(base_url=service.url, timeout=30) as client:
        while not over.wait(0.1):
            row = {name: value * random.uniform(0.995, 1.005) for name, value in WINE.items()}
            if time.monotonic() - began > seconds / 2 and random.random() < 1 / 6:
                row["alcohol"] *= 4
            client.post("/predict", json={"rows": [row]})


if __name__ == "__main__":
    main()
