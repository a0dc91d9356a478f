"""P(positive) of texts by a checkpoint or a package, read as it is served or in windows of another length."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from model_export.windows import MOST_WINDOWS, Windows, of_manifest
from training.errors import TrainingError
from training.measures import FloatArray

Rows = Sequence[Sequence[int]]
Margins = Callable[[Rows], FloatArray]
"""Token ids of one length, (texts, tokens) -> logit(POSITIVE) - logit(NEGATIVE), float64 (texts,)."""

BATCH = 32
MAX_TOKENS = 512


def of_checkpoint(folder: Path) -> Margins:
    """A transformers checkpoint in fp32."""
    import torch  # noqa: PLC0415 - a package is measured without it
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def margins(rows: Rows) -> FloatArray:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor(rows)).logits.double().numpy()
        return np.asarray(logits[:, 1] - logits[:, 0])

    return margins


def of_package(folder: Path) -> Margins:
    """A package's graph on onnxruntime, as the service runs it."""
    import onnxruntime as ort  # noqa: PLC0415 - a checkpoint is measured without it

    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])

    def margins(rows: Rows) -> FloatArray:
        ids = np.array(rows, np.int64)
        (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return np.asarray(logits[:, 1].astype(np.float64) - logits[:, 0])

    return margins


class Scorer:
    """A model of the two labels NEGATIVE and POSITIVE with its tokenizer."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "tokenizer.json").exists():
            raise TrainingError(f"{folder} holds no tokenizer.json: name a checkpoint or a package")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if list(config["id2label"].values()) != ["NEGATIVE", "POSITIVE"]:
            raise TrainingError(f"{folder} has the labels {list(config['id2label'].values())}, not NEGATIVE, POSITIVE")
        manifest = folder / "manifest.json"
        self._windows = Windows(MAX_TOKENS, most=1)
        if manifest.exists():
            self._windows = of_manifest(json.loads(manifest.read_text(encoding="utf-8")), MAX_TOKENS)
        self._margins = of_package(folder) if manifest.exists() else of_checkpoint(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True

    def positive(self, texts: Sequence[str], window: int | None = None) -> FloatArray:
        """P(positive) of each text, float64 (texts,): in the package's windows, or in such of `window` tokens.

        Of a checkpoint, and of a package without windows, it is that of the first 512 tokens.
        """
        margins = self.margins(texts, window)
        result: FloatArray = 1.0 / (1.0 + np.exp(-margins))
        return result

    def margins(self, texts: Sequence[str], window: int | None = None) -> FloatArray:
        """The difference of the two logits; over windows their mean, weighted by tokens as the service does."""
        windows = self._windows if window is None else Windows(window, most=MOST_WINDOWS)
        self._tokenizer.enable_truncation(windows.tokens, stride=windows.overlap)
        rows: list[list[int]] = []
        owners: list[int] = []
        for index, encoding in enumerate(self._tokenizer.encode_batch(list(texts))):
            for part in [encoding, *encoding.overflowing][: windows.most]:
                rows.append(part.ids)
                owners.append(index)
        lengths = np.array([len(row) for row in rows], np.float64)
        found = self._by_length(rows) * lengths
        return np.bincount(owners, found, len(texts)) / np.bincount(owners, lengths, len(texts))

    def _by_length(self, rows: list[list[int]]) -> FloatArray:
        """Rows of equal length together, so that nothing is padded."""
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        found = np.zeros(len(rows))
        start = 0
        while start < len(order):
            length = len(rows[order[start]])
            part = [index for index in order[start : start + BATCH] if len(rows[index]) == length]
            found[part] = self._margins([rows[index] for index in part])
            start += len(part)
        return found
