"""The reference that a package is held against: the same texts through the checkpoint, in PyTorch and fp32."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from model_export.checkpoint import TOKEN_TYPES, Checkpoint
from model_export.pairs import Text, type_array
from model_export.scores import FloatArray, activate
from model_export.windows import Logits, Windows

_BATCH_SIZE = 32


class CheckpointScorer:
    """The checkpoint as a `Scorer`, fed as the service feeds a network: with ids and a mask, padded by 0 at the end.

    So a tokenizer needs no pad token, and what else it makes, such as token types that DistilBERT doesn't take, is
    left out; of `pairs`, the types that the checkpoint takes are given. `preconditions` says for which checkpoints
    that is right.
    """

    def __init__(self, checkpoint: Checkpoint, windows: Windows | None = None, *, pairs: bool = False) -> None:
        self._checkpoint = checkpoint
        self._windows = windows or Windows(checkpoint.max_tokens, most=1)
        self._gives_types = pairs and checkpoint.reads_token_types

    def token_ids(self, text: Text) -> list[int]:
        """The ids as the checkpoint's own tokenizer makes them, truncated to max_tokens, or window by window."""
        windows: list[list[int]] = self._checkpoint.tokenizer(
            *((text,) if isinstance(text, str) else text),
            truncation=True,
            max_length=self._windows.tokens,
            stride=self._windows.overlap,
            return_overflowing_tokens=True,
        ).input_ids
        return self._windows.joined(windows)

    def scores(self, texts: Sequence[Text]) -> FloatArray:
        """Score one batch, padded to its longest text."""
        return activate(self.logits(texts), self._checkpoint.activation)

    def logits(self, texts: Sequence[Text]) -> Logits:
        """What the scores (texts, labels) are made of; calibration divides them."""
        return self._windows.logits([self.token_ids(text) for text in texts], self._run)

    def _run(self, rows: Sequence[list[int]]) -> Logits:
        shape = len(rows), max(map(len, rows))
        input_ids, attention_mask = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)], attention_mask[index, : len(row)] = torch.tensor(row), 1
        types = {TOKEN_TYPES: torch.from_numpy(type_array(rows, shape))} if self._gives_types else {}
        with torch.inference_mode():
            output = self._checkpoint.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        logits: Logits = output.logits.numpy()
        return logits


def logits_of(
    scorer: CheckpointScorer,
    texts: Sequence[str],
    watch: Callable[[Sequence[list[int]]], Iterable[list[int]]] = iter,
) -> FloatArray:
    """The logits (texts, labels) of every text, in the order given, by batches of similar length.

    `watch` passes the batches on one by one, and so can show how far they are, or end them.
    """
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    batches = [order[start : start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]
    found = [scorer.logits([texts[index] for index in batch]) for batch in watch(batches)]
    logits: FloatArray = np.concatenate(found).astype(np.float64)[np.argsort(order)]
    return logits
