"""Texts through a package's files, as the service runs them: plain arrays of scores. Needs no PyTorch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from model_export.errors import ENCODERS, ExportError, one_line
from model_export.pairs import Text, type_array
from model_export.windows import Logits, Windows

FloatArray = npt.NDArray[np.float64]
Activation = Literal["softmax", "sigmoid"]
THRESHOLD = 0.5
"""Of several labels a text those are given whose score is higher."""

_KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class Scorer(Protocol):
    """Texts in, float64 scores (texts, labels) out, as one padded batch."""

    def scores(self, texts: Sequence[Text]) -> FloatArray:
        """Score one batch, padded to its longest text."""


class PackageScorer:
    """The package's model.onnx and tokenizer.json on onnxruntime, as the service runs them."""

    def __init__(
        self,
        folder: Path,
        *,
        activation: Activation,
        max_tokens: int,
        windows: Windows | None = None,
        pairs: bool = False,
    ) -> None:
        try:
            self._session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime's exceptions have no base class of their own
            raise ExportError(f"onnxruntime can't load the exported graph: {one_line(exc)}") from exc
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.windows = windows or Windows(max_tokens, most=1)
        self._tokenizer.enable_truncation(self.windows.tokens, stride=self.windows.overlap)
        self._tokenizer.encode_special_tokens = True
        self._activation: Activation = activation
        self._pairs = pairs
        self.unknown_id = _unknown_id(self._tokenizer)
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        outputs = [node.name for node in self._session.get_outputs()]
        if not {"input_ids", "attention_mask"} <= set(self.inputs) <= _KNOWN_INPUTS or outputs != ["logits"]:
            raise ExportError(
                f"the graph maps {', '.join(self.inputs)} to {', '.join(outputs)}, which no one can serve; {ENCODERS}"
            )

    def token_ids(self, text: Text) -> list[int]:
        """The ids of a text or a pair, truncated to max_tokens, or window by window."""
        encoding = self._tokenizer.encode(*((text,) if isinstance(text, str) else text))
        return self.windows.joined([window.ids for window in (encoding, *encoding.overflowing)])

    def scores(self, texts: Sequence[Text]) -> FloatArray:
        """Score one batch, padded to its longest text."""
        return activate(self.windows.logits([self.token_ids(text) for text in texts], self._run), self._activation)

    def _run(self, rows: Sequence[list[int]]) -> Logits:
        shape = len(rows), max(map(len, rows))
        arrays = {
            # Whatever the pad token is: the mask hides it, and verify proves it.
            "input_ids": np.zeros(shape, np.int64),
            "attention_mask": np.zeros(shape, np.int64),
            # The service passes no others on; preconditions.py refuses checkpoints that need some.
            "token_type_ids": type_array(rows, shape) if self._pairs else np.zeros(shape, np.int64),
        }
        for index, row in enumerate(rows):
            arrays["input_ids"][index, : len(row)], arrays["attention_mask"][index, : len(row)] = row, 1
        try:
            logits: Logits = self._session.run(["logits"], {name: arrays[name] for name in self.inputs})[0]
        except Exception as exc:
            raise ExportError(f"onnxruntime can't run the exported graph: {one_line(exc)}; {ENCODERS}") from exc
        return logits


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of the unknown token; None for vocabularies that can spell anything (byte-level BPE)."""
    model = json.loads(tokenizer.to_str())["model"]
    unknown_id: int | None = model.get("unk_id")  # Unigram names the id, the others the token
    if unknown_id is None and model.get("unk_token") is not None:
        unknown_id = tokenizer.token_to_id(model["unk_token"])
    return unknown_id


def one_by_one(scorer: Scorer, texts: Sequence[Text]) -> FloatArray:
    """Scores (texts, labels) of each text alone, so that nothing is padded."""
    return np.concatenate([scorer.scores([text]) for text in texts])


def given(scores: FloatArray, activation: Activation) -> npt.NDArray[np.bool_]:
    """Which labels a model with these scores (texts, labels) gives: the highest one, or with sigmoid any number."""
    if activation == "sigmoid":
        return scores > THRESHOLD
    decided: npt.NDArray[np.bool_] = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
    return decided


def activate(logits: npt.NDArray[np.float32] | FloatArray, activation: Activation) -> FloatArray:
    """Logits (texts, labels) -> scores in float64, so that only the models' own rounding is compared."""
    values = logits.astype(np.float64)
    if activation == "sigmoid":
        scores: FloatArray = 1.0 / (1.0 + np.exp(-values))
    else:
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
        scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores
