"""The table in docs/quantisation.md: ways to quantise one checkpoint, side by side.

python -m model_export.compare --model CHECKPOINT --data DEV.tsv [--only NAME,NAME]

Latency is the median over alternating rounds of the best of five calls; other work on the machine raises all alike.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from model_export import checkpoint
from model_export.checkpoint import Checkpoint
from model_export.export import export_graph
from model_export.labelled import read_labelled
from model_export.optimise import optimise
from model_export.quantise import quantise
from model_export.scores import FloatArray, activate
from model_export.texts import verification_texts
from model_export.verify import random_batches

SHAPES = ((1, 16, 1), (1, 32, 1), (1, 128, 1), (8, 32, 1), (32, 32, 2))
"""(texts, tokens, threads) of the timed calls."""

ROUNDS, CALLS, WARM_UP = 15, 5, 3
CALIBRATION_TEXTS = 100

IntArray = npt.NDArray[np.int64]
Feed = dict[str, IntArray]


@dataclass(frozen=True)
class Workshop:
    """A folder with the checkpoint's fp32 graphs, in which candidates are built."""

    folder: Path
    loaded: Checkpoint
    exported: Path
    optimised: Path

    @classmethod
    def open(cls, model: Path, folder: Path) -> "Workshop":
        """Export and optimise the checkpoint in `folder`."""
        loaded = checkpoint.load(model)
        exported, optimised = export_graph(loaded, folder), folder / "optimised.onnx"
        optimise(exported, optimised)
        return cls(folder, loaded, exported, optimised)

    def token_ids(self, text: str) -> IntArray:
        """One text's ids, truncated to what the model takes."""
        ids = self.loaded.tokenizer(text, truncation=True, max_length=self.loaded.max_tokens).input_ids
        return np.asarray(ids, np.int64)

    def feed(self, texts: Sequence[IntArray]) -> Feed:
        """One padded batch as the graph's inputs."""
        shape = (len(texts), max(map(len, texts)))
        ids, mask = np.full(shape, self.loaded.model.config.pad_token_id or 0, np.int64), np.zeros(shape, np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int64)}

    def scores(self, session: ort.InferenceSession, texts: Sequence[IntArray]) -> FloatArray:
        """Scores (texts, labels) of one padded batch."""
        feed = self.feed(texts)
        (logits,) = session.run(["logits"], {node.name: feed[node.name] for node in session.get_inputs()})
        return activate(logits, self.loaded.activation)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the project's own texts, one at a time."""

    def __init__(self, workshop: Workshop, names: Sequence[str]) -> None:
        self._feeds: Iterator[Feed] = (
            {name: workshop.feed([workshop.token_ids(text)])[name] for name in names}
            for text in verification_texts()[:CALIBRATION_TEXTS]
        )

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _dynamic(workshop: Workshop, target: Path) -> None:
    """What optimum's `avx512_vnni(is_static=False, per_channel=True)` does: products of activations are int8, too."""
    options = {"MatMulConstBOnly": False}
    quantize_dynamic(workshop.exported, target, weight_type=QuantType.QInt8, per_channel=True, extra_options=options)


def _static(workshop: Workshop, target: Path) -> None:
    """QDQ with one range a tensor."""
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(workshop.exported, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        _Calibration(workshop, [node.name for node in onnx.load(prepared).graph.input]),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"], "MatMulConstBOnly": True},
    )


def _blocks(block_size: int) -> Callable[[Workshop, Path], None]:
    """MatMulNBits: activations quantised a block at a time inside the kernel."""

    def build(workshop: Workshop, target: Path) -> None:
        from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415 - wants onnx-ir, see EXTRAS
            DefaultWeightOnlyQuantConfig,
            MatMulNBitsQuantizer,
        )

        config = DefaultWeightOnlyQuantConfig(block_size, is_symmetric=True, accuracy_level=4, bits=8)
        quantizer = MatMulNBitsQuantizer(onnx.load(workshop.optimised), algo_config=config)
        quantizer.process()
        onnx.save(quantizer.model.model, target)

    return build


def _ours_as_exported(workshop: Workshop, target: Path) -> None:
    """Without the fused attention and the narrow last layer; QuantizeLinear needs the newer opset all the same."""
    newer = target.with_suffix(".newer.onnx")
    onnx.save(onnx.version_converter.convert_version(onnx.load(workshop.exported), 23), newer)
    quantise(newer, target)


CANDIDATES: dict[str, Callable[[Workshop, Path], object]] = {
    "fp32": lambda workshop, target: target.write_bytes(workshop.exported.read_bytes()),
    "fp32-optimised": lambda workshop, target: target.write_bytes(workshop.optimised.read_bytes()),
    "dynamic": _dynamic,
    "static": _static,
    "blocks-32": _blocks(32),
    "blocks-128": _blocks(128),
    "per-token-as-exported": _ours_as_exported,
    "per-token": lambda workshop, target: quantise(workshop.optimised, target),
}

EXTRAS = {"blocks-32", "blocks-128"}
"""Only by name, after `pip install onnx-ir`: ONNX Runtime's quantiser for them imports it."""


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def quality(workshop: Workshop, paths: dict[str, Path], data: Path) -> dict[str, list[str]]:
    """Accuracy, differences to fp32 on the data and on the project's texts, and largest change in random batches."""
    examples = read_labelled(data)
    labelled = [workshop.token_ids(example.text) for example in examples]
    texts = labelled + [workshop.token_ids(text) for text in verification_texts()]
    batches = random_batches([len(text) for text in texts], Random(0))  # noqa: S311 - no secret
    truth = np.array([example.label for example in examples])
    reference: FloatArray | None = None
    cells = {}
    for name, path in {"fp32": paths["fp32"], **paths}.items():
        session = _session(path, 2)
        alone = np.concatenate([workshop.scores(session, [text]) for text in texts])
        reference = alone if reference is None else reference
        apart = np.abs(alone - reference).max(axis=1)
        inside = max(
            np.abs(workshop.scores(session, [texts[index] for index in batch]) - alone[batch]).max()
            for batch in batches
        )
        right = 100 * np.mean(alone[: len(truth)].argmax(axis=1) == truth)
        known, other = apart[: len(truth)], apart[len(truth) :]
        differences = [f"{part.max():.3f} / {part.mean():.4f}" for part in (known, other)]
        cells[name] = [f"{right:.2f}", *differences, f"{inside:.1e}"]
    return cells


def latency(workshop: Workshop, paths: dict[str, Path]) -> dict[str, list[float]]:
    """Milliseconds a call for each of SHAPES."""
    rng = np.random.default_rng(0)
    cells: dict[str, list[float]] = {name: [] for name in paths}
    for texts, tokens, threads in SHAPES:
        feed = workshop.feed(list(rng.integers(5, workshop.loaded.model.config.vocab_size, (texts, tokens))))
        sessions = {name: _session(path, threads) for name, path in paths.items()}
        rounds: dict[str, list[float]] = {name: [] for name in paths}
        for turn in range(WARM_UP + ROUNDS):
            for name, session in sessions.items():
                best = min(_seconds(session, feed) for _ in range(CALLS))
                if turn >= WARM_UP:
                    rounds[name].append(best)
        for name, seconds in rounds.items():
            cells[name].append(1000 * float(np.median(seconds)))
    return cells


def _seconds(session: ort.InferenceSession, feed: Feed) -> float:
    inputs = {node.name: feed[node.name] for node in session.get_inputs()}
    began = time.perf_counter()
    session.run(None, inputs)
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m model_export.compare")
    parser.add_argument("--model", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="labelled texts: label, tab, sentence; a header line")
    parser.add_argument("--only", type=lambda names: names.split(","), help="candidates, A,B,...")
    options = parser.parse_args(arguments)
    checkpoint.silence()
    with tempfile.TemporaryDirectory() as name:
        workshop = Workshop.open(options.model, Path(name))
        chosen = options.only or [candidate for candidate in CANDIDATES if candidate not in EXTRAS]
        paths = {candidate: Path(name) / f"{candidate}.onnx" for candidate in dict.fromkeys(["fp32", *chosen])}
        for candidate, path in paths.items():
            CANDIDATES[candidate](workshop, path)
        sys.stdout.write(_table(paths, latency(workshop, paths), quality(workshop, paths, options.data)))
    return 0


def _table(paths: dict[str, Path], timed: dict[str, list[float]], judged: dict[str, list[str]]) -> str:
    shapes = [f"{texts}x{tokens}/{threads}t" for texts, tokens, threads in SHAPES]
    head = ["candidate", "accuracy", "data max / mean", "own texts max / mean", "batch", *shapes, "tok/s", "MB"]
    rows = [head, ["---"] * len(head)]
    texts, tokens, _ = SHAPES[-1]
    for candidate, path in paths.items():
        speed, size = 1000 * texts * tokens / timed[candidate][-1], path.stat().st_size / 1e6
        milliseconds = [f"{value:.2f}" for value in timed[candidate]]
        rows.append([candidate, *judged[candidate], *milliseconds, f"{speed:.0f}", f"{size:.1f}"])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
