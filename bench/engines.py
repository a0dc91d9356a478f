"""Inference alone, graph against graph.

python -m bench.engines ours=A/model.onnx optimum=B/model.onnx [openvino=C.xml]

Medians over alternating rounds, each the best of some calls. After a name, options of ONNX Runtime may stand, such as
ours+binding=... (inputs and outputs bound once), ours+no-arena=..., ours+spinning=... A folder is a model package, for
the native engine. A file that ends in .xml runs in OpenVINO; then this needs a Python with both (bench/README.md).
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

SHAPES = ((1, 16, 1), (1, 32, 1), (1, 128, 1), (32, 32, 2))
"""(texts, tokens, threads) of the timed calls."""
WARM_UP = 3
VOCABULARY = 30_000
NATIVE_BATCH_TOKENS = 128
"""The service's default, VALENCE_MAX_BATCH_TOKENS."""
OPTIONS = {"binding", "no-arena", "spinning"}
Run = Callable[[], object]
Feed = dict[str, npt.NDArray[np.int64]]


def onnxruntime_run(path: Path, feed: Feed, threads: int, options: frozenset[str]) -> Run:
    """A call of the graph on this input, in a session of its own."""
    wanted = ort.SessionOptions()
    wanted.intra_op_num_threads, wanted.inter_op_num_threads = threads, 1
    wanted.enable_mem_pattern = False
    wanted.enable_cpu_mem_arena = "no-arena" not in options
    wanted.log_severity_level = 3
    wanted.add_session_config_entry("session.intra_op.allow_spinning", "1" if "spinning" in options else "0")
    session = ort.InferenceSession(path, wanted, providers=["CPUExecutionProvider"])
    inputs = {node.name: feed[node.name] for node in session.get_inputs()}
    if "binding" not in options:
        return lambda: session.run(None, inputs)
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    logits = ort.OrtValue.ortvalue_from_shape_and_type((len(feed["input_ids"]), 2), np.float32, "cpu")
    binding.bind_ortvalue_output("logits", logits)

    def bound() -> list[npt.NDArray[np.float32]]:
        session.run_with_iobinding(binding)
        return [logits.numpy()]

    return bound


def openvino_run(path: Path, feed: Feed, threads: int) -> Run:
    """The same in OpenVINO."""
    import openvino  # noqa: PLC0415 - not one of the project's dependencies

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    inputs: dict[Any, npt.NDArray[np.int64]] = {
        port: feed[port.any_name] for port in request.get_compiled_model().inputs
    }
    return lambda: request.infer(inputs)


def native_run(folder: Path, feed: Feed, threads: int) -> Run:
    """A model package in the native engine: as many texts a call as in the service, a call on each thread at once."""
    from app.model.native.transformer import Transformer  # noqa: PLC0415 - graphs alone need no service beside them
    from app.model.package import Package  # noqa: PLC0415

    transformer = Transformer.of(Package(folder))
    rows: list[list[int]] = feed["input_ids"].tolist()
    size = max(1, NATIVE_BATCH_TOKENS // len(rows[0]))
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    pool = ThreadPoolExecutor(threads)
    return lambda: [*map(transformer.logits, batches)] if threads == 1 else [*pool.map(transformer.logits, batches)]


def make_feed(texts: int, tokens: int) -> Feed:
    """Random tokens, nothing padded."""
    ids = np.random.default_rng(0).integers(5, VOCABULARY, (texts, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def milliseconds(engines: dict[str, Path], rounds: int, calls: int) -> dict[str, list[list[float]]]:
    """Engine -> for each of SHAPES the best call of each round."""
    found: dict[str, list[list[float]]] = {name: [] for name in engines}
    for texts, tokens, threads in SHAPES:
        feed = make_feed(texts, tokens)
        runs = {name: make_run(name, path, feed, threads) for name, path in engines.items()}
        for times in found.values():
            times.append([])
        for turn in range(WARM_UP + rounds):
            order = list(runs) if turn % 2 == 0 else list(runs)[::-1]
            for name in order:
                best = min(seconds(runs[name]) for _ in range(calls))
                if turn >= WARM_UP:
                    found[name][-1].append(1000 * best)
    return found


def make_run(name: str, path: Path, feed: Feed, threads: int) -> Run:
    """By what the path is, and the options in the engine's name."""
    if path.suffix == ".xml":
        return openvino_run(path, feed, threads)
    if path.is_dir():
        return native_run(path, feed, threads)
    return onnxruntime_run(path, feed, threads, frozenset(name.split("+")[1:]))


def seconds(run: Run) -> float:
    """One call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def table(found: dict[str, list[list[float]]]) -> list[str]:
    """Medians, and tokens a second of the largest shape over those of each other engine in the same rounds."""
    texts, tokens, _ = SHAPES[-1]
    shapes = "".join(f"{f'{t}x{n}/{k}t ms':>16}" for t, n, k in SHAPES)
    lines = [f"{'engine':<24}{shapes}{'tokens/s':>12}   first engine's tokens/s over its"]
    first = next(iter(found.values()))[-1]
    for name, times in found.items():
        ratio = median(theirs / ours for ours, theirs in zip(first, times[-1], strict=True))
        cells = "".join(f"{median(values):>16.2f}" for values in times)
        lines.append(f"{name:<24}{cells}{1000 * texts * tokens / median(times[-1]):>12.0f}   {ratio:.2f}")
    return [*lines, f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("engines", nargs="+", type=_engine, metavar="NAME[+OPTION]=FILE")
    parser.add_argument("--rounds", type=int, default=15, help="(%(default)s)")
    parser.add_argument("--calls", type=int, default=5, help="of which the best counts in a round (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all times here")
    options = parser.parse_args(arguments)
    found = milliseconds(dict(options.engines), options.rounds, options.calls)
    sys.stdout.write("\n".join([*table(found), ""]))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"shapes": SHAPES, "milliseconds": found}, indent=1) + "\n")
    return 0


def _engine(value: str) -> tuple[str, Path]:
    name, _, file = value.partition("=")
    if not file or not Path(file).exists():
        raise argparse.ArgumentTypeError(f"no file {file!r} in {value!r}; it should be NAME=FILE")
    if unknown := set(name.split("+")[1:]) - OPTIONS:
        raise argparse.ArgumentTypeError(f"no option {', '.join(sorted(unknown))}; there are {', '.join(OPTIONS)}")
    return name, Path(file)


if __name__ == "__main__":
    sys.exit(main())
