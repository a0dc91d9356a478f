"""Texts through a package's files, as the service runs them: plain arrays of scores. Needs no PyTorch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from model_export.errors import ExportError
from model_export.source import first_line

FloatArray = npt.NDArray[np.float64]
Activation = Literal["softmax", "sigmoid"]

_KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class Scorer(Protocol):
    """Texts in, float64 scores (texts, labels) out, as one padded batch."""

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Score one batch, padded to its longest text."""


class PackageScorer:
    """The package's model.onnx and tokenizer.json on onnxruntime, as the service runs them."""

    def __init__(self, folder: Path, *, activation: Activation, max_tokens: int) -> None:
        try:
            self._session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime's exceptions have no base class of their own
            raise ExportError(f"onnxruntime can't load the exported graph: {first_line(exc)}") from exc
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_tokens)
        self._activation: Activation = activation
        self.unknown_id = _unknown_id(self._tokenizer)
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        outputs = [node.name for node in self._session.get_outputs()]
        if not {"input_ids", "attention_mask"} <= set(self.inputs) <= _KNOWN_INPUTS or outputs != ["logits"]:
            raise ExportError(
                f"the graph maps {', '.join(self.inputs)} to {', '.join(outputs)}, which no one can serve"
            )

    def token_ids(self, text: str) -> list[int]:
        """The text's ids, truncated to max_tokens."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Score one batch, padded to its longest text."""
        encodings = self._tokenizer.encode_batch(list(texts))
        shape = (len(texts), max(len(encoding.ids) for encoding in encodings))
        arrays = {
            "input_ids": np.zeros(
                shape, np.int64
            ),  # whatever the pad token is: the mask hides it, and verify proves it
            "attention_mask": np.zeros(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }
        for row, encoding in enumerate(encodings):
            tokens = len(encoding.ids)
            arrays["input_ids"][row, :tokens] = encoding.ids
            arrays["attention_mask"][row, :tokens] = 1
            arrays["token_type_ids"][row, :tokens] = encoding.type_ids
        (logits,) = self._session.run(["logits"], {name: arrays[name] for name in self.inputs})
        return activate(logits, self._activation)


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of the unknown token; None for vocabularies that can spell anything (byte-level BPE)."""
    model = json.loads(tokenizer.to_str())["model"]
    unknown_id: int | None = model.get("unk_id")  # Unigram names the id, the others the token
    if unknown_id is None and model.get("unk_token") is not None:
        unknown_id = tokenizer.token_to_id(model["unk_token"])
    return unknown_id


def one_by_one(scorer: Scorer, texts: Sequence[str]) -> FloatArray:
    """Scores (texts, labels) of each text alone, so that nothing is padded."""
    return np.concatenate([scorer.scores([text]) for text in texts])


def activate(logits: npt.NDArray[np.float32], activation: Activation) -> FloatArray:
    """Logits (texts, labels) -> scores in float64, so that only the models' own rounding is compared."""
    values = logits.astype(np.float64)
    if activation == "sigmoid":
        scores: FloatArray = 1.0 / (1.0 + np.exp(-values))
    else:
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
        scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores
