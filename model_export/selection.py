"""Which of several trained weights is saved: one that was measured, and that learned something."""

from collections.abc import Mapping, Sequence

from model_export.errors import ExportError
from model_export.labelled import Example


def most_accurate(accuracies: Mapping[str, float], dev: Sequence[Example]) -> str:
    """Name of the candidate with the highest accuracy in per cent on `dev`; the first of equals.

    Raises ExportError when even that is no better than always giving the most frequent label of `dev`.
    """
    name = max(accuracies, key=lambda candidate: accuracies[candidate])
    labels = [example.label for example in dev]
    majority = 100.0 * max(labels.count(label) for label in set(labels)) / len(labels)
    if accuracies[name] <= majority:
        raise ExportError(
            f"nothing was learned: {accuracies[name]:.1f} % right on the validation set, always giving its most "
            f"frequent label {majority:.1f} %; train on more texts or for more epochs"
        )
    return name
