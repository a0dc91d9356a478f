"""How long texts are read: in windows, each as the network would read a text, with one score from the mean of all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_export.errors import ExportError

MAX_WINDOWS = 8
"""Unless something else was asked for: of 512 tokens, they hold some 3,000 words."""
MIN_TOKENS, MOST_WINDOWS = 16, 64
"""The service refuses packages beyond these."""
_AT_ONCE = 32

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """`tokens` of a window, special ones included, how many it shares with the one before, and windows a text at most.

    One window is what a model without windows reads: the beginning of a text.
    """

    tokens: int
    overlap: int = 0
    most: int = MAX_WINDOWS

    def check(self, max_tokens: int) -> None:
        """Raise ExportError for windows that the service refuses."""
        if not MIN_TOKENS <= self.tokens <= max_tokens:
            raise ExportError(f"--window-tokens {self.tokens}: the model takes {MIN_TOKENS} to {max_tokens}")
        if not 0 <= self.overlap <= self.tokens // 2:
            raise ExportError(f"--window-overlap {self.overlap}: 0 to {self.tokens // 2}, half a window, is possible")
        if not 1 <= self.most <= MOST_WINDOWS:
            raise ExportError(f"--max-windows {self.most}: 1 to {MOST_WINDOWS} is possible")

    def fields(self) -> dict[str, int]:
        """What the manifest says of them."""
        return {"window_tokens": self.tokens, "window_overlap": self.overlap, "max_windows": self.most}

    def joined(self, windows: Sequence[list[int]]) -> list[int]:
        """A text's token ids by window -> those of as many as are read, one behind the other."""
        return [token for window in windows[: self.most] for token in window]

    def logits(self, rows: Sequence[list[int]], run: Callable[[Sequence[list[int]]], Logits]) -> Logits:
        """Logits (texts, labels) of texts as `joined` gives them, by `run`, which takes windows.

        The mean over a text's windows, weighted by their tokens. No more than 32 windows run at once.
        """
        if all(len(row) <= self.tokens for row in rows):
            return run(rows)
        parts = [[row[begin : begin + self.tokens] for begin in range(0, len(row), self.tokens)] for row in rows]
        windows = [window for part in parts for window in part]
        runs = [run(windows[begin : begin + _AT_ONCE]) for begin in range(0, len(windows), _AT_ONCE)]
        lengths = np.array([[len(window)] for window in windows], np.float32)
        first = np.cumsum([0, *(len(part) for part in parts[:-1])])
        sums = np.add.reduceat(np.concatenate(runs) * lengths, first)
        mean: Logits = (sums / np.add.reduceat(lengths, first)).astype(np.float32)
        return mean


def of_manifest(manifest: dict[str, int | None], max_tokens: int) -> Windows:
    """As a package's manifest has them; one window of `max_tokens` for a package without."""
    tokens = manifest.get("window_tokens")
    if tokens is None:
        return Windows(max_tokens, most=1)
    return Windows(tokens, manifest.get("window_overlap") or 0, manifest.get("max_windows") or MAX_WINDOWS)
