"""A hundred thousand texts of random lengths, then nothing: python -m bench.soak [--texts 100000] [--json FILE].

Lengths are log-uniform from 3 to 512 tokens (mean 99): short texts are many, as in life, and every length comes up;
drawn uniformly the run would take 2.6 times as long. Says whether memory stays flat and what the idle
service costs. Exit status 1 when a promise is broken. Linux only.
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from bench.client import ClientError, drive, request_bytes
from bench.promises import Promise, finish
from bench.sides import find_machine, running, service
from load.machine import describe_machine
from load.programs import ROOT, ProcessError, Program, proportional_mb, resident_mb, run_program

CLIENTS = 32
CHUNKS = 50
"""Memory is read so many times in a run."""
MIN_TOKENS, MAX_TOKENS = 3, 512
SPECIAL_TOKENS = 2
PLAIN_WORD = re.compile(r"[a-z]{3,12}")
SEED = 20_261_121
MAX_RSS_MB, MAX_GROWTH_MB, MAX_IDLE_SHARE = 200, 5, 0.005


def random_texts(tokenizer: Path, seed: int = SEED) -> Iterator[str]:
    """Texts of known lengths, made of words that are one token each."""
    vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    words = [word for word in vocabulary if PLAIN_WORD.fullmatch(word)]
    source = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
    while True:
        tokens = round(MIN_TOKENS * (MAX_TOKENS / MIN_TOKENS) ** source.random())
        yield " ".join(source.choices(words, k=tokens - SPECIAL_TOKENS))


def soak(options: argparse.Namespace) -> tuple[dict[str, float], list[tuple[int, float]]]:
    """Every figure, and the samples of memory: (texts so far, MB of the worker)."""
    machine = find_machine()
    side = service(options.model_dir, threads=str(len(machine.both)), log_level="warning")
    requests = map(request_bytes, random_texts(options.model_dir / "tokenizer.json"))
    with running(machine, side) as (port, program):
        pids = program.pids()
        worker = max(pids, key=lambda pid: resident_mb([pid]))  # gunicorn's parent shares most of its pages with it
        samples = [(0, resident_mb([worker]))]
        began, failures = time.perf_counter(), 0
        chunk = max(1, options.texts // CHUNKS)
        while samples[-1][0] < options.texts and time.perf_counter() - began < options.max_seconds:
            failures += drive(port, islice(requests, chunk), clients=CLIENTS).failures
            samples.append((samples[-1][0] + chunk, resident_mb([worker])))
            sys.stderr.write(f"{samples[-1][0]} texts, {samples[-1][1]:.1f} MB\n")
        seconds = time.perf_counter() - began
        figures = {
            "texts": samples[-1][0],
            "failures": failures,
            "seconds": seconds,
            "texts_per_second": samples[-1][0] / seconds,
            "peak_rss_mb": resident_mb([worker], "VmHWM"),
            "pss_mb_with_parent": proportional_mb(pids),
            "growth_mb": growth(samples),
            "idle_share": idle_share(program, options.idle_seconds),
        }
        return figures, samples


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """MB by which the largest size of the last quarter exceeds that of the second quarter."""
    quarter = len(samples) // 4
    return max(mb for _, mb in samples[-quarter:]) - max(mb for _, mb in samples[quarter : 2 * quarter])


def idle_share(program: Program, seconds: float) -> float:
    """Share of one core that all its processes take while nobody asks anything; the clock ticks every 10 ms."""
    time.sleep(1)  # what the last answers left to do is not idleness
    before = program.cpu_seconds()
    time.sleep(seconds)
    return (program.cpu_seconds() - before) / seconds


def promises(found: dict[str, float], texts: int) -> list[Promise]:
    """What the service must keep."""
    return [
        Promise("texts answered, of those that were to be sent", found["texts"], ">=", texts),
        Promise("failures", found["failures"], "<=", 0),
        Promise("peak memory of the worker, MB", found["peak_rss_mb"], "<=", MAX_RSS_MB),
        Promise("memory: last quarter over the second, MB", found["growth_mb"], "<=", MAX_GROWTH_MB),
        Promise("idle: share of one core", found["idle_share"], "<=", MAX_IDLE_SHARE),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; 1 when a promise was broken, or with one line when nothing could be measured."""
    options = _parser().parse_args(arguments)
    try:
        figures, samples = soak(options)
    except (ClientError, ProcessError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    report = {**describe_machine(options.model_dir), **figures, "rss_mb": samples}
    return finish(figures, promises(figures, options.texts), report, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000, help="how many texts (%(default)s)")
    parser.add_argument("--max-seconds", type=float, default=900.0, help="stop sending after this (%(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=30.0, help="then watch it idle (%(default)s)")
    parser.add_argument("--model-dir", type=Path, default=ROOT / "models" / "distilbert-sst2-mini")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser


if __name__ == "__main__":
    run_program(main)
