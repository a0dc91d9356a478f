"""The reference that a package is held against: the same texts through the checkpoint, in PyTorch and fp32."""

from collections.abc import Sequence

import torch

from model_export.checkpoint import Checkpoint
from model_export.scores import FloatArray, activate


class CheckpointScorer:
    """The checkpoint as a `Scorer`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def token_ids(self, text: str) -> list[int]:
        """The text's ids as the checkpoint's own tokenizer makes them, truncated to max_tokens."""
        ids: list[int] = self._checkpoint.tokenizer(
            text, truncation=True, max_length=self._checkpoint.max_tokens
        ).input_ids
        return ids

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Score one batch, padded to its longest text."""
        encoded = self._checkpoint.tokenizer(
            list(texts),
            padding=len(texts) > 1,
            truncation=True,
            max_length=self._checkpoint.max_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits = self._checkpoint.model(**encoded).logits
        return activate(logits.numpy(), self._checkpoint.activation)
