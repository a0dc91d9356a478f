"""Which of several trained weights is saved: one that was measured, and that learned something."""

from collections.abc import Mapping, Sequence

from model_export.errors import ExportError


def majority(labels: Sequence[int]) -> float:
    """Share in per cent of the most frequent of `labels`: the accuracy of always giving it."""
    return 100.0 * max(labels.count(label) for label in set(labels)) / len(labels)


def best(figures: Mapping[str, float], constant: float, measure: str = "accuracy") -> str:
    """Name of the candidate with the highest figure of `measure`, in per cent on the dev set; the first of equals.

    Raises ExportError when even that is no better than `constant`, the best that one answer for all texts can have.
    """
    name = max(figures, key=lambda candidate: figures[candidate])
    if figures[name] <= constant:
        raise ExportError(
            f"nothing was learned: {measure} {figures[name]:.1f} % on the validation set, always giving the same "
            f"answer {constant:.1f} %; train on more texts or for more epochs"
        )
    return name
