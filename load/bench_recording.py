"""What a cache hit spends on metrics: the calls that `app` makes for it, and what prometheus-client's own would cost.

python -m load.bench_recording [--hit-us 15]

One text that repeats: a request by route and status, its time, its source, and what its answer was. `--hit-us` is the
CPU time of a whole hit, as `make bench` tells it; the share of it is printed, too.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import median

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.metrics import LATENCY_BUCKETS, REQUEST_SECONDS, REQUESTS, SCORE_BUCKETS, TOKEN_BUCKETS
from app.model import Answer
from app.recording import LoopCounter, LoopHistogram
from app.served import ServedTexts

CALLS = 100_000
ROUNDS = 7
ANSWERS = [Answer(b"[{}]", 1, 0.97, 23, 0, truncated=False)]


def ours() -> Callable[[], None]:
    """As app/middleware.py and app/served.py record it."""
    served = ServedTexts(["NEGATIVE", "POSITIVE"])
    requests = {("/predict", "POST", 200): LoopCounter(REQUESTS.labels("/predict", "POST", 200))}
    seconds = {("/predict", 200): LoopHistogram(REQUEST_SECONDS.labels("/predict", 200), LATENCY_BUCKETS)}

    def record() -> None:
        served.add_repeated(ANSWERS)
        requests["/predict", "POST", 200].count += 1
        seconds["/predict", 200].observe(0.0002)

    return record


def theirs() -> Callable[[], None]:
    """The same figures by prometheus-client's own calls, with their children looked up once."""
    registry = CollectorRegistry()
    requests = Counter("requests", "x", ["route", "method", "status"], registry=registry).labels(
        "/predict", "POST", 200
    )
    seconds = Histogram("seconds", "x", ["route", "status"], buckets=LATENCY_BUCKETS, registry=registry)
    source = Counter("texts", "x", ["source"], registry=registry).labels("memory")
    label = Counter("labels", "x", ["label"], registry=registry).labels("POSITIVE")
    score = Histogram("score", "x", buckets=SCORE_BUCKETS, registry=registry)
    tokens = Histogram("tokens", "x", buckets=TOKEN_BUCKETS, registry=registry)
    unknown = Counter("unknown", "x", registry=registry)
    of_route = seconds.labels("/predict", 200)

    def record() -> None:
        requests.inc()
        of_route.observe(0.0002)
        source.inc()
        label.inc()
        score.observe(0.97)
        tokens.observe(23)
        unknown.inc(0)

    return record


def microseconds(call: Callable[[], None]) -> float:
    """CPU time of one call, median of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        rounds.append((time.process_time() - began) / CALLS * 1e6)
    return median(rounds)


def main() -> None:
    """Print JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m load.bench_recording", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--hit-us", type=float, help="CPU time of a whole hit in microseconds")
    options = parser.parse_args()
    figures = {"recorded_us": microseconds(ours()), "prometheus_client_us": microseconds(theirs())}
    if options.hit_us:
        figures["share_of_a_hit"] = figures["recorded_us"] / options.hit_us
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in figures.items()}) + "\n")


if __name__ == "__main__":
    main()
