"""The raw limit: ONNX Runtime alone on the texts that the service gets, in as many threads and as large batches.

A program of its own, so that its memory and threads are its own: prints one line of JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from statistics import median
from typing import TypeVar

from bench.rivals.engine import Engine
from load.texts import cold_text, load_texts

WINDOW = 64
"""Texts that are sorted by length before they are cut into batches: as many as the clients keep waiting."""
T = TypeVar("T")


def batches(rows: list[list[int]], size: int) -> list[list[list[int]]]:
    """Rows -> batches of `size` rows of near length, sorted within a window."""
    windows = [sorted(rows[start : start + WINDOW], key=len) for start in range(0, len(rows), WINDOW)]
    return [window[start : start + size] for window in windows for start in range(0, len(window), size)]


def texts_per_second(threads: int, seconds: float, work: Sequence[tuple[int, T]], do: Callable[[T], object]) -> float:
    """How many texts `do` finishes when `threads` threads take pieces of `work`, each (texts, argument), in turn."""
    taken = count()
    deadline = time.perf_counter() + seconds

    def one_thread() -> int:
        done = 0
        while time.perf_counter() < deadline:
            texts, argument = work[next(taken) % len(work)]
            do(argument)
            done += texts
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(future.result() for future in [pool.submit(one_thread) for _ in range(threads)])
    return done / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rivals.onnxruntime_alone", description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch-texts", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    engine = Engine(options.model_dir, threads=1)
    texts = [cold_text(text, f"{number:010d}") for number, text in enumerate(load_texts()["cold"])]
    rows = [engine.token_ids(text) for text in texts]
    grouped = batches(rows, options.batch_texts)
    ready = [(len(batch), engine.feed(batch)) for batch in grouped]
    by_row = {id(row): text for row, text in zip(rows, texts, strict=True)}
    as_texts = [(len(batch), [by_row[id(row)] for row in batch]) for batch in grouped]

    def tokenise_and_run(batch: list[str]) -> None:
        engine.logits(engine.feed([engine.token_ids(text) for text in batch]))

    latencies = []
    for index in range(-10, 300):  # ten to warm up
        began = time.perf_counter()
        tokenise_and_run([texts[index]])
        if index >= 0:
            latencies.append(time.perf_counter() - began)
    result = {
        "run_texts_per_second": texts_per_second(options.threads, options.seconds, ready, engine.logits),
        "tokenise_and_run_texts_per_second": texts_per_second(
            options.threads, options.seconds, as_texts, tokenise_and_run
        ),
        "tokenise_and_run_p50_ms": median(latencies) * 1000,
        "mean_tokens": sum(map(len, rows)) / len(rows),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
