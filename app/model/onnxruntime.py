"""A model package in ONNX Runtime: any architecture, any CPU."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from app.errors import PackageError, one_line
from app.model.package import Package

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

LONG_TOKENS = 256
"""A longer text's memory is given back after it: attention takes heads x tokens x tokens x 4 bytes, and two texts
of 512 tokens at once would leave 36 MB behind. To claim it anew costs such a text a tenth more time."""


class Session:
    """One session, whose `logits` may be called from several threads at once. Raises PackageError for another graph."""

    name = "onnxruntime"
    pads = True

    def __init__(self, package: Package) -> None:
        self._giving_back = ort.RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session = open_session(package.model_path)
        self._pairs = package.manifest.pairs
        self._takes_token_types = any(i.name == "token_type_ids" for i in self._session.get_inputs())

    def logits(self, rows: list[list[int]]) -> FloatArray:
        """Token ids of some texts -> float32 (texts, labels), not yet normalised.

        Blocks for the whole run, without holding the GIL.
        """
        input_ids, attention_mask = pad(rows)
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._takes_token_types:
            feed["token_type_ids"] = token_types(rows, input_ids.shape) if self._pairs else np.zeros_like(input_ids)
        how = self._giving_back if input_ids.shape[1] > LONG_TOKENS else None
        logits: FloatArray = self._session.run(["logits"], feed, how)[0]
        return logits


def token_types(rows: list[list[int]], shape: tuple[int, ...]) -> IntArray:
    """Types (batch, tokens) of pairs of texts: 0 up to the first separator, and 1 up to the last, which ends each row.

    The export refuses tokenizers that give others. A separator in a text is what somebody wrote, and none.
    """
    types = np.zeros(shape, dtype=np.int64)
    for index, row in enumerate(rows):
        types[index, row.index(row[-1]) + 1 : len(row)] = 1
    return types


class RowSession:
    """The same for rows of a table: `features`, float64 (rows, columns), to `scores` (rows, labels or 1)."""

    name = "onnxruntime"
    pads = False

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)

    def scores(self, rows: list[list[float]]) -> npt.NDArray[np.float64]:
        """Values of some rows -> float64 (rows, labels), or (rows, 1) of a regression."""
        scores: npt.NDArray[np.generic] = self._session.run(["scores"], {"features": np.array(rows, np.float64)})[0]
        return scores.astype(np.float64)


def open_session(path: Path) -> ort.InferenceSession:
    """A graph that runs on the thread that calls it. Raises PackageError for a file that can't be loaded."""
    ort.disable_telemetry_events()  # a service does not report its use to third parties
    options = ort.SessionOptions()
    # Parallelism comes from texts, not from within one: N threads that each run their own text beat one run on N
    # threads, and leave no pool behind that spins (docs/quantisation.md has the figures).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Lengths vary: a memory pattern for each length would grow without end (onnxruntime#11627).
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Fatal errors only: whatever fails raises as well, and ours is a log of JSON lines.
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # its exceptions have no base class of their own
        raise PackageError(f"{path} can't be loaded: {one_line(exc)}") from exc


def pad(rows: list[list[int]]) -> tuple[IntArray, IntArray]:
    """Stack token ids into (input_ids, attention_mask), both int64 (batch, tokens), padded at the end.

    The padding id does not matter, since the mask hides it: 0 is in every vocabulary.
    """
    if len(rows) == 1:
        input_ids = np.array(rows, dtype=np.int64)
        return input_ids, np.ones_like(input_ids)
    lengths = np.array([len(row) for row in rows])
    attention_mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    input_ids = np.zeros(attention_mask.shape, dtype=np.int64)
    input_ids[attention_mask.astype(bool)] = np.concatenate(rows)
    return input_ids, attention_mask
