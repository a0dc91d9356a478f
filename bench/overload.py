"""Ten times more than the service can do, with hits among it: python -m bench.overload [--seconds 10] [--json FILE].

An open loop, so that nothing slows down with the server. Capacity is measured first, in texts a second; cold requests
then carry several texts each, since the client shares the cores with the server. Exit status 1 when a promise is
broken. Linux only: memory is read from /proc.
"""

import argparse
import re
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, cycle
from pathlib import Path
from statistics import quantiles

from bench.client import OK, ClientError, cold_requests, drive, request_bytes, warm_requests
from bench.open_loop import Answer, OpenRun, Phase, drive_open
from bench.promises import Promise, finish
from bench.sides import Side, find_machine, running, service
from load.machine import describe_machine
from load.open_files import FileLimitError
from load.programs import ROOT, ProcessError, resident_mb, run_program
from load.texts import cold_text, load_texts

TIMES = 10
HITS_PER_SECOND = 100
BASELINE_SECONDS, AFTER_SECONDS, DRAIN_SECONDS = 4.0, 4.0, 30.0
BASELINE_SHARE = 0.5
CALIBRATION_CLIENTS = 64
QUEUE_TOKENS, TEXT_TOKENS, SPARE_CONNECTIONS = 65_536, 25, 200
"""Only when VALENCE_MAX_QUEUE_TOKENS wait is a request refused: it takes so many requests under way, and some more."""
REFUSED = 429
REFUSAL_BUCKET = re.compile(
    r'^http_request_duration_seconds_bucket\{le="([^"]+)",method="POST",route="/predict",status="429"\} (\S+)$',
    re.MULTILINE,
)


def cold_batches(texts: int) -> Iterator[bytes]:
    """Requests of so many texts that no cache can know."""
    source, nonces = cycle(load_texts()["cold"]), count()
    while True:
        batch = [cold_text(next(source), f"o{next(nonces):09d}") for _ in range(texts)]
        yield request_bytes("", body=partial(_body, batch))


def _body(batch: list[str], _: str) -> dict[str, list[str]]:
    return {"text": batch}


def measure_capacity(port: int, seconds: float) -> float:
    """Cold texts a second, closed loop, one text a request."""
    requests = cold_requests(load_texts()["cold"], 0)
    drive(port, requests, clients=CALIBRATION_CLIENTS, seconds=min(1.0, seconds))
    run = drive(port, requests, clients=CALIBRATION_CLIENTS, seconds=seconds)
    return run.completed / run.seconds


def refused_within(side: Side, seconds: str) -> float:
    """The share of refusals that the server answered within so many seconds, a bound of its histogram's buckets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{side.metrics_port}/metrics", timeout=30) as answer:
        buckets = dict(REFUSAL_BUCKET.findall(answer.read().decode()))
    return float(buckets[seconds]) / float(buckets["+Inf"]) if buckets else float("nan")


def milliseconds(answers: Sequence[Answer], percentile: int) -> float:
    """Percentile of the time from sending to the whole answer; NaN without answers."""
    latencies = [one.arrived - one.sent for one in answers]
    if len(latencies) < 2:  # noqa: PLR2004 - quantiles needs two
        return float("nan")
    return quantiles(latencies, n=100, method="inclusive")[percentile - 1] * 1000


def texts_per_second(run: OpenRun, begin: float, end: float, texts: int) -> float:
    """Cold texts whose answers came between two moments."""
    done = sum(one.kind == "cold" and one.status == OK and begin <= one.arrived < end for one in run.answers)
    return done * texts / (end - begin)


def figures(run: OpenRun, seconds: float, capacity: float, texts: int) -> dict[str, float]:
    """Everything that is reported, by name with its unit."""
    start = BASELINE_SECONDS
    after = start + seconds
    end = after + AFTER_SECONDS
    refusals = run.during("overload", "cold", REFUSED)
    hits = {phase: run.during(phase, "hit", OK) for phase in ("before", "overload", "after")}
    sent = sum((one.phase, one.kind) == ("overload", "cold") for one in run.answers)
    halfway = (start + after) / 2
    return {
        "capacity_texts_per_second": capacity,
        "offered_texts_per_second": sent * texts / (after - start),
        "refused_share": len(refusals) / max(1, sent),
        "unsent": run.unsent["overload"],
        "unanswered": run.unanswered,
        "other_answers": sum(one.status not in {OK, REFUSED} for one in run.answers),
        "hits_refused": sum(one.kind == "hit" and one.status != OK for one in run.answers),
        "client_busy": run.client_busy,
        "client_late_ms_p99": 1000 * quantiles([one.sent - one.due for one in run.answers], n=100)[98],
        **{f"hit_ms_p50_{phase}": milliseconds(found, 50) for phase, found in hits.items()},
        **{f"hit_ms_p99_{phase}": milliseconds(found, 99) for phase, found in hits.items()},
        "refusal_ms_p50": milliseconds(refusals, 50),
        "refusal_ms_p99": milliseconds(refusals, 99),
        "texts_per_second_overload": texts_per_second(run, start, after, texts),
        "texts_per_second_first_second_after": texts_per_second(run, after, after + 1, texts),
        "texts_per_second_after": texts_per_second(run, after, end, texts),
        "rss_mb_before": max(mb for at, mb in run.samples if at < start),
        "rss_mb_halfway": max(mb for at, mb in run.samples if at < halfway),
        "rss_mb_overload": max(mb for at, mb in run.samples if at < after),
        "rss_mb_after": run.samples[-1][1],
    }


def promises(found: dict[str, float]) -> list[Promise]:
    """What an overload must not do."""
    return [
        Promise("hits during overload: p99 in ms", found["hit_ms_p99_overload"], "<=", 100),
        Promise("hits that were not answered with 200", found["hits_refused"], "<=", 0),
        Promise("refusals: p99 in ms, as the client sees it", found["refusal_ms_p99"], "<=", 10),
        Promise("refusals within 10 ms in the server", found["refused_within_10_ms"], ">=", 0.99),
        Promise("answers that were neither 200 nor 429", found["other_answers"], "<=", 0),
        Promise("memory, second half of the overload over its first, in MB",
                found["rss_mb_overload"] - found["rss_mb_halfway"], "<=", 8),
        Promise("texts/s in the second after, over capacity",
                found["texts_per_second_first_second_after"] / found["capacity_texts_per_second"], ">=", 0.9),
    ]  # fmt: skip


def overload(options: argparse.Namespace) -> dict[str, object]:
    """Start the service, measure its capacity, overload it; every figure, and what was promised."""
    machine = find_machine()
    side = service(options.model_dir, threads=str(len(machine.both)))
    with running(machine, side) as (port, program):
        capacity = measure_capacity(port, options.capacity_seconds)
        warm = load_texts()["warm"]
        drive(port, iter([request_bytes(text) for text in warm]), clients=8)
        rate = capacity / options.texts
        hits = {"hit": float(options.hits)}
        phases = (
            Phase("before", BASELINE_SECONDS, {"cold": rate * BASELINE_SHARE, **hits}),
            Phase("overload", options.seconds, {"cold": rate * TIMES, **hits}),
            Phase("after", AFTER_SECONDS, {"cold": rate, **hits}),
        )
        pids = program.pids()
        run = drive_open(
            port,
            {"hit": warm_requests(warm), "cold": cold_batches(options.texts)},
            phases,
            connections=QUEUE_TOKENS // (TEXT_TOKENS * options.texts) + SPARE_CONNECTIONS,
            drain_seconds=DRAIN_SECONDS,
            sample=lambda: resident_mb(pids),
        )
        found = figures(run, options.seconds, capacity, options.texts)
        found["refused_within_10_ms"] = refused_within(side, "0.01")
    return {
        **describe_machine(options.model_dir),
        "seconds": options.seconds,
        "texts_per_request": options.texts,
        "figures": found,
        "rss_mb": run.samples,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; 1 when a promise was broken, or with one line when nothing could be measured."""
    options = _parser().parse_args(arguments)
    try:
        report = overload(options)
    except (ClientError, FileLimitError, ProcessError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    found = report["figures"]
    assert isinstance(found, dict)
    return finish(found, promises(found), report, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the overload (%(default)s)")
    parser.add_argument("--capacity-seconds", type=float, default=5.0, help="of the calibration (%(default)s)")
    parser.add_argument("--texts", type=int, default=16, help="texts in a cold request (%(default)s)")
    parser.add_argument("--hits", type=float, default=HITS_PER_SECOND, help="hits a second (%(default)s)")
    parser.add_argument("--model-dir", type=Path, default=ROOT / "models" / "distilbert-sst2-mini")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser


if __name__ == "__main__":
    run_program(main)
