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

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from load.texts import cold_text, load_texts

WINDOW = 64
"""Texts that are sorted by length before they are cut into batches: as many as the clients keep waiting."""
Feed = dict[str, npt.NDArray[np.int64]]
T = TypeVar("T")


class Engine:
    """A model package in a session with one thread for each run, as the service has it."""

    def __init__(self, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        self._session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(json.loads((folder / "manifest.json").read_text())["max_tokens"])

    def tokenise(self, text: str) -> list[int]:
        """Token ids of one text."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def feed(self, rows: list[list[int]]) -> Feed:
        """The inputs of one batch, int64 (batch, tokens), padded to its longest row."""
        ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {name: known[name] for name in self._inputs}

    def run(self, feed: Feed) -> None:
        """One inference."""
        self._session.run(None, feed)


def batches(rows: list[list[int]], size: int) -> list[list[list[int]]]:
    """Rows -> batches of `size` rows of near length, sorted within a window."""
    windows = [sorted(rows[start : start + WINDOW], key=len) for start in range(0, len(rows), WINDOW)]
    return [window[start : start + size] for window in windows for start in range(0, len(window), size)]


def texts_per_second(threads: int, seconds: float, work: Sequence[tuple[int, T]], do: Callable[[T], None]) -> float:
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
    parser = argparse.ArgumentParser(prog="python -m load.bench_raw", description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch-texts", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    engine = Engine(options.model_dir)
    texts = [cold_text(text, f"{number:010d}") for number, text in enumerate(load_texts()["cold"])]
    rows = [engine.tokenise(text) for text in texts]
    grouped = batches(rows, options.batch_texts)
    ready = [(len(batch), engine.feed(batch)) for batch in grouped]
    by_row = {id(row): text for row, text in zip(rows, texts, strict=True)}
    as_texts = [(len(batch), [by_row[id(row)] for row in batch]) for batch in grouped]

    def tokenise_and_run(batch: list[str]) -> None:
        engine.run(engine.feed([engine.tokenise(text) for text in batch]))

    latencies = []
    for index in range(-10, 300):  # ten to warm up
        began = time.perf_counter()
        tokenise_and_run([texts[index]])
        if index >= 0:
            latencies.append(time.perf_counter() - began)
    result = {
        "run_texts_per_second": texts_per_second(options.threads, options.seconds, ready, engine.run),
        "tokenise_and_run_texts_per_second": texts_per_second(
            options.threads, options.seconds, as_texts, tokenise_and_run
        ),
        "tokenise_and_run_p50_ms": median(latencies) * 1000,
        "mean_tokens": sum(map(len, rows)) / len(rows),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
