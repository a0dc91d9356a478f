"""What LitServe, BentoML and MLServer serve here: the folder of a model by ONNX Runtime, whole batches, padded."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer


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
        self._tokenizer.enable_truncation(manifest["max_tokens"])
        self._tokenizer.enable_padding()

    def scores(self, texts: list[str]) -> list[dict[str, float]]:
        """The scores of each text by label."""
        encoded = self._tokenizer.encode_batch_fast(texts)
        ids = np.array([one.ids for one in encoded], dtype=np.int64)
        mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (logits,) = self._session.run(["logits"], {name: known[name] for name in self._inputs})
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = exponentials / exponentials.sum(axis=1, keepdims=True)
        return [dict(zip(self._labels, row, strict=True)) for row in scores.tolist()]


def model_folder() -> Path:
    """Where the benchmark says that the model is."""
    return Path(os.environ["OTHER_MODEL"])
