"""Pairs of texts, for checkpoints that were trained on two at once: entailment, similarity, questions with answers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Pair = tuple[str, str]
Text = str | Pair
"""What a network reads at once: one text, or two."""

_STEP = 7
"""How far behind a text its companion stands: its neighbours are of the same kind and about as long."""


def paired(texts: Sequence[str]) -> list[Pair]:
    """Each text beside another one, shorter and longer ones included."""
    return [(text, texts[(index + _STEP) % len(texts)]) for index, text in enumerate(texts)]


def token_types(row: Sequence[int]) -> list[int]:
    """The types of a pair's token ids, as the service gives them: 1 behind the first separator, which also ends it."""
    first = row.index(row[-1]) + 1
    return [0] * first + [1] * (len(row) - first)


def type_array(rows: Sequence[Sequence[int]], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The types (batch, tokens) of pairs, 0 where a row is padded."""
    types = np.zeros(shape, np.int64)
    for index, row in enumerate(rows):
        types[index, : len(row)] = token_types(row)
    return types
