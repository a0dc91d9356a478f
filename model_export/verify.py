"""The gate: the package's int8 graph against PyTorch in fp32, each text alone and among random batchmates.

Scores must be close to the reference, must not depend on the batch (a cache would freeze whichever came first), and
must not change a label that the reference is sure of.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_export.errors import ENCODERS, ExportError
from model_export.pairs import Text
from model_export.reference import CheckpointScorer
from model_export.scores import FloatArray, PackageScorer, one_by_one

BATCH_TOLERANCE = 1e-4
_MEAN_SHARE = 0.2
"""Of the tolerance. The steepest text may move far, but a graph in which every text moves is broken."""

_SURE_MARGIN = 0.5
"""PyTorch is sure of a label that is so far ahead of the next (0.75 against 0.25): such a label may not change."""

_TOO_MUCH = "int8 costs this model too much: export another one, or accept the loss by --tolerance"

_SMALLEST_BATCH, _LARGEST_BATCH = 2, 32
_BATCH_TOKENS = 4096
_SEED = 0
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Verification:
    """What was measured, over all labels of all texts. Differences are of scores, which lie between 0 and 1."""

    texts: int
    batches: int
    max_score_difference: float
    mean_score_difference: float
    tolerance: float
    mean_tolerance: float
    label_flips: int
    max_batch_difference: float
    batch_tolerance: float


def verify(
    reference: CheckpointScorer, package: PackageScorer, texts: Sequence[Text], *, tolerance: float
) -> Verification:
    """Measure the package against the reference; raises ExportError that names the worst text when it must not ship."""
    _same_tokens(reference, package, texts)
    expected = one_by_one(reference, texts)
    alone = one_by_one(package, texts)
    if alone.shape != expected.shape:
        raise ExportError(f"the package gives {alone.shape[1]} scores a text, the checkpoint {expected.shape[1]}")
    batches = random_batches([len(package.token_ids(text)) for text in texts], random.Random(_SEED))  # noqa: S311 - repeatable
    batched = _in_batches(package, texts, batches)
    _stop_above(tolerance, "scores differ from PyTorch's", np.abs(alone - expected), texts, _TOO_MUCH)
    _stop_above(BATCH_TOLERANCE, "scores change with the batch", np.abs(alone - batched), texts, ENCODERS)
    _stop_above(tolerance, "scores in batches differ from PyTorch's", np.abs(batched - expected), texts, _TOO_MUCH)
    flips = _count_flips(expected, alone, texts)
    mean = float(np.abs(alone - expected).mean())
    if mean > _MEAN_SHARE * tolerance:
        raise ExportError(
            f"scores differ from PyTorch's by {mean:.3g} on average (allowed: {_MEAN_SHARE * tolerance:g}); {_TOO_MUCH}"
        )
    return Verification(
        texts=len(texts),
        batches=len(batches),
        max_score_difference=float(max(np.abs(alone - expected).max(), np.abs(batched - expected).max())),
        mean_score_difference=mean,
        tolerance=tolerance,
        mean_tolerance=_MEAN_SHARE * tolerance,
        label_flips=flips,
        max_batch_difference=float(np.abs(alone - batched).max()),
        batch_tolerance=BATCH_TOLERANCE,
    )


def random_batches(lengths: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Cut a random order of the texts into batches of 2 to 32, in which long texts pad short ones, as in the service.

    `lengths` are in tokens; a batch ends early where padding would take it beyond 4,096 of them. Indices of `lengths`.
    """
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = []
    while order:
        batch, rows = [order.pop()], rng.randint(_SMALLEST_BATCH, _LARGEST_BATCH)
        while order and len(batch) < rows:
            longest = max(lengths[index] for index in (*batch, order[-1]))
            if len(batch) >= _SMALLEST_BATCH and longest * (len(batch) + 1) > _BATCH_TOKENS:
                break
            batch.append(order.pop())
        batches.append(batch)
    if len(batches) > 1 and len(batches[-1]) < _SMALLEST_BATCH:  # a text alone would prove nothing
        last = batches.pop()
        batches[-1] += last
    return batches


def margins(scores: FloatArray) -> FloatArray:
    """How far the best label is ahead of the second, per text; 0.5 against 0.5 is 0."""
    ascending = np.sort(scores, axis=1)
    ahead: FloatArray = ascending[:, -1] - ascending[:, -2]
    return ahead


def _same_tokens(reference: CheckpointScorer, package: PackageScorer, texts: Sequence[Text]) -> None:
    for index, text in enumerate(texts):
        if package.token_ids(text) != reference.token_ids(text):
            raise ExportError(f"tokenizer.json splits {_name(index, texts)} in another way than the checkpoint does")


def _in_batches(package: PackageScorer, texts: Sequence[Text], batches: Sequence[Sequence[int]]) -> FloatArray:
    """Scores (texts, labels) in the order of `texts`."""
    parts = [package.scores([texts[index] for index in batch]) for batch in batches]
    order = np.concatenate([np.asarray(batch) for batch in batches])
    scores: FloatArray = np.concatenate(parts)[np.argsort(order)]
    return scores


def _stop_above(limit: float, what: str, differences: FloatArray, texts: Sequence[Text], advice: str) -> None:
    """Differences are (texts, labels). NaN, which compares as False with everything, must stop the export as well."""
    worst_by_text = np.nan_to_num(differences.max(axis=1), nan=np.inf)
    index = int(worst_by_text.argmax())
    if worst_by_text[index] > limit:
        raise ExportError(
            f"{what} by up to {worst_by_text[index]:.3g} (allowed: {limit:g}), at {_name(index, texts)}; {advice}"
        )


def _count_flips(expected: FloatArray, alone: FloatArray, texts: Sequence[Text]) -> int:
    flipped: npt.NDArray[np.bool_] = expected.argmax(axis=1) != alone.argmax(axis=1)
    sure = np.flatnonzero(flipped & (margins(expected) > _SURE_MARGIN))
    if sure.size:
        index = int(sure[0])
        raise ExportError(f"the label changes where PyTorch is sure of it, at {_name(index, texts)}")
    return int(flipped.sum())


def _name(index: int, texts: Sequence[Text]) -> str:
    text = texts[index] if isinstance(texts[index], str) else " / ".join(texts[index])
    return f"text {index}: {text[:_SHOWN_CHARACTERS]!r}{'...' if len(text) > _SHOWN_CHARACTERS else ''}"
