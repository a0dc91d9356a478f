"""A model's folder in ONNX Runtime alone: whole batches, padded. LitServe, BentoML and MLServer serve it here."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

Feed = dict[str, npt.NDArray[np.int64]]


class Engine:
    """`model.onnx` and `tokenizer.json` of a folder; `threads` for one run."""

    def __init__(self, folder: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self._labels: list[str] = manifest["labels"]
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(manifest["max_tokens"])

    def token_ids(self, text: str) -> list[int]:
        """Token ids of one text."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def feed(self, rows: Sequence[list[int]]) -> Feed:
        """The inputs of one batch, int64 (texts, tokens), padded to its longest row."""
        ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {name: known[name] for name in self._inputs}

    def logits(self, feed: Feed) -> npt.NDArray[np.float32]:
        """One inference: float32 (texts, labels)."""
        logits: npt.NDArray[np.float32] = self._session.run(["logits"], feed)[0]
        return logits

    def scores(self, texts: list[str]) -> list[dict[str, float]]:
        """The scores of each text by label."""
        logits = self.logits(self.feed([encoded.ids for encoded in self._tokenizer.encode_batch_fast(texts)]))
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = exponentials / exponentials.sum(axis=1, keepdims=True)
        return [dict(zip(self._labels, row, strict=True)) for row in scores.tolist()]


def model_folder() -> Path:
    """Where the benchmark says that the model is."""
    return Path(os.environ["OTHER_MODEL"])
