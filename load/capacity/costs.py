"""The unit costs of load.capacity on this machine, and whether what they predict is so.

    python -m load.capacity.costs --output build/costs.json     measures (a minute), then checks a mix of its own
    python -m load.capacity.costs --check URL --costs FILE      compares with a service under load, by its metrics page

Starts the service (and a Redis where redis-server is installed), sends hits, texts of several lengths and hits from
Redis with some clients that never pause, and reads the CPU time from the metrics page. Exit status 1: the prediction is
off by more than a fifth.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from redis import Redis

from load.capacity.plan import Costs, read_costs
from load.capacity.service import Service
from load.programs import ProcessError, redis_server, run_program

WORDS = (
    "the",
    "a",
    "good",
    "bad",
    "film",
    "story",
    "actor",
    "plot",
    "long",
    "very",
    "quite",
    "never",
    "always",
    "it",
    "was",
)
"""Each is one token of the bundled model's vocabulary."""
LENGTHS = (8, 25, 64, 128)
"""Tokens of the texts that are measured, the two that frame a text included."""
CLIENTS = 2
"""Few, so that each request wakes the service and each text is computed alone, as between its peaks. At a full load
requests share both and cost less."""
HIT_RATE = 0.95
WITHIN = 0.2
SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    """What a service has done up to a moment."""

    requests: float
    texts: float
    from_memory: float
    from_redis: float
    from_model: float
    tokens: float
    cpu_seconds: float

    def since(self, before: "Counts") -> "Counts":
        """The difference."""
        ours, theirs = asdict(self), asdict(before)
        return Counts(**{name: ours[name] - theirs[name] for name in ours})

    @property
    def mean_tokens(self) -> float:
        """Of the texts that the model read."""
        return self.tokens / self.from_model if self.from_model else 0.0


def read_counts(metrics_url: str) -> Counts:
    """From the service's metrics page; raises OSError where there is none."""
    with urllib.request.urlopen(metrics_url, timeout=10) as page:  # noqa: S310 - a URL that the user gave
        samples = SAMPLE.findall(page.read().decode())

    def total(name: str, label: str = "") -> float:
        return sum(float(value) for found, labels, value in samples if found == name and label in labels)

    by_source = {
        source: total("valence_cache_texts_total", f'source="{source}"') for source in ("memory", "redis", "model")
    }
    return Counts(
        requests=total("http_requests_total", 'route="/predict"'),
        texts=total("valence_cache_texts_total"),
        from_memory=by_source["memory"],
        from_redis=by_source["redis"],
        from_model=by_source["model"],
        tokens=total("valence_inference_tokens_total"),
        cpu_seconds=total("process_cpu_seconds_total"),
    )


def predicted_seconds(done: Counts, costs: Costs) -> float:
    """CPU seconds that the service should have taken for what it did."""
    model = done.from_model * costs.miss_us + done.tokens * costs.token_us
    looked_up = done.from_redis + done.from_model
    return (done.requests * costs.request_us + looked_up * costs.redis_us + model) / 1e6


def drive(service: Service, texts: Callable[[random.Random], str], seconds: float, clients: int) -> Counts:
    """What the service does meanwhile."""
    before = read_counts(service.metrics_url)
    service.drive(texts, seconds, clients)
    return read_counts(service.metrics_url).since(before)


def measure(seconds: float) -> tuple[Costs, list[str]]:
    """Unit costs of this machine, and what was measured, in lines."""
    with Service() as service:
        drive(service, repeated, 1, CLIENTS)  # caches are warm, the CPU awake
        hits = drive(service, repeated, seconds, CLIENTS)
        misses = [drive(service, partial(unique, tokens=length), seconds, CLIENTS) for length in LENGTHS]
    request_us = hits.cpu_seconds / hits.requests * 1e6
    points = [(done.mean_tokens, done.cpu_seconds / done.from_model * 1e6 - request_us) for done in misses]
    miss_us, token_us = straight_line(points)
    costs = replace(Costs(), request_us=request_us, miss_us=miss_us, token_us=token_us)
    lines = [f"a hit in memory         {request_us:7.0f} us"]
    lines += [f"a miss of {tokens:5.0f} tokens  {added + request_us:7.0f} us" for tokens, added in points]
    program = shutil.which("redis-server")
    if program is None:
        return costs, [*lines, "redis-server is not installed: its costs are the defaults"]
    with redis_server(program, frozenset(os.sched_getaffinity(0))) as url:
        costs = measure_redis(url, costs, seconds)
    lines.append(
        f"a hit from Redis        {costs.request_us + costs.redis_us:7.0f} us, and {costs.redis_server_us:.0f} of Redis"
    )
    return costs, lines


def measure_redis(url: str, costs: Costs, seconds: float) -> Costs:
    """With what a hit from Redis adds in the pod, and takes in Redis: there at a full load, where its limit is."""
    with Service(VALENCE_REDIS_URL=url, VALENCE_CACHE_MAX_ENTRIES="0") as service, Redis.from_url(url) as redis:
        drive(service, repeated, 1, CLIENTS)
        few = drive(service, repeated, seconds, CLIENTS)
        before = redis_cpu_seconds(redis)
        many = drive(service, repeated, seconds, CLIENTS * 8)
        redis_seconds = redis_cpu_seconds(redis) - before
    here = few.cpu_seconds / few.requests * 1e6 - costs.request_us
    return replace(costs, redis_us=max(0.0, here), redis_server_us=redis_seconds / many.requests * 1e6)


def redis_cpu_seconds(redis: Redis) -> float:
    """User and system time of the server so far."""
    used = redis.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def check_own_mix(costs: Costs, seconds: float, clients: int) -> tuple[float, float]:
    """(predicted, measured) CPU seconds of a mix that no cost was measured with: 95 % known, others of all lengths."""
    with Service() as service:
        drive(service, mixed, 1, clients)
        done = drive(service, mixed, seconds, clients)
    return predicted_seconds(done, replace(costs, redis_us=0)), done.cpu_seconds


def repeated(source: random.Random) -> str:
    """One of a hundred texts."""
    return unique(random.Random(source.randrange(100)), 20)  # noqa: S311


def unique(source: random.Random, tokens: int) -> str:
    """A text of this many tokens that most likely was never sent."""
    return " ".join(source.choices(WORDS, k=tokens - 2))


def mixed(source: random.Random) -> str:
    """Mostly known texts; the others as long as messages are: lognormal around 20 tokens."""
    known = source.random() < HIT_RATE
    return repeated(source) if known else unique(source, 6 + min(120, round(source.lognormvariate(2.7, 0.5))))


def straight_line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(intercept, slope) by least squares of relative errors, so that short texts count as much as long ones."""
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    x_mean = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    y_mean = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    slope = sum(w * (x - x_mean) * (y - y_mean) for w, (x, y) in zip(weights, points, strict=True)) / sum(
        w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, points, strict=True)
    )
    return y_mean - slope * x_mean, slope


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and check, or only check; 1 when the prediction is off."""
    options = _parser().parse_args(arguments)
    try:
        predicted, measured = _check_other(options) if options.check else _measure(options)
    except ProcessError as exc:
        sys.exit(f"error: {exc}")
    off = predicted / measured - 1 if measured else float("inf")
    sys.stdout.write(f"CPU predicted {predicted:.2f} s, measured {measured:.2f} s: {off:+.0%}\n")
    return int(abs(off) > WITHIN)


def _check_other(options: argparse.Namespace) -> tuple[float, float]:
    """(predicted, measured) CPU seconds of a service that is under load already."""
    before = read_counts(options.check)
    time.sleep(options.seconds)
    done = read_counts(options.check).since(before)
    return predicted_seconds(done, read_costs(options.costs)), done.cpu_seconds


def _measure(options: argparse.Namespace) -> tuple[float, float]:
    """The same of a service of our own, by costs that are measured, shown and written before."""
    costs, lines = measure(options.seconds)
    sys.stdout.write("\n".join([*lines, ""]))
    found = check_own_mix(costs, options.seconds * 2, options.clients)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"costs": asdict(costs)}, indent=1) + "\n", encoding="utf-8")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load.capacity.costs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--clients", type=int, default=10, help="requests under way in the check (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the costs here, for load.capacity --costs")
    parser.add_argument("--check", metavar="URL", help="metrics page of a service that is under load already")
    parser.add_argument("--costs", type=Path, help="with --check: JSON of an earlier measurement")
    return parser


if __name__ == "__main__":
    run_program(main)
