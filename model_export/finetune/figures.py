"""The figures of the report, as matplotlib draws them without a screen."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

from model_export.calibrate import calibration_error, reliability
from model_export.finetune.outcome import Outcome, by_label

MOST_LABELS = 30
"""More are not legible: the most frequent ones are drawn, and the page's table has all."""
MOST_NUMBERS = 15
"""Rows of a matrix up to which its cells have numbers."""
MOST_CHARACTERS = 24
WIDTH_INCHES = 7.5
DECISIONS = ("rightly\nnot given", "wrongly\ngiven", "missed", "rightly\ngiven")
"""In the order of scikit-learn: TN, FP, FN, TP."""


def draw_all(outcome: Outcome) -> dict[str, bytes]:
    """Name of a file without its ending -> a PNG."""
    shown = _most_frequent(outcome)
    matrix = _decisions if outcome.activation == "sigmoid" else _confusion
    figures = {
        "confusion": _figure(2.0 + 0.32 * max(len(shown), 5)),
        "labels": _figure(1.4 + 0.34 * len(shown)),
        "calibration": _figure(4.2),
        "epochs": _figure(3.6),
    }
    matrix(outcome, shown, figures["confusion"].subplots())
    _labels(outcome, shown, figures["labels"].subplots())
    _calibration(outcome, figures["calibration"].subplots())
    _epochs(outcome.record, figures["epochs"].subplots(1, 2))
    return {name: _png(figure) for name, figure in figures.items()}


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH_INCHES, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()


def _most_frequent(outcome: Outcome) -> list[int]:
    """Labels that are drawn, in their order."""
    order = np.argsort(-outcome.targets.sum(axis=0), kind="stable")[:MOST_LABELS]
    return sorted(order.tolist())


def _confusion(outcome: Outcome, shown: Sequence[int], axes: Axes) -> None:
    """Rows are the right labels, columns the given ones; colours by share of the row."""
    right, decided = outcome.targets.argmax(axis=1), outcome.given.argmax(axis=1)
    _matrix(axes, confusion_matrix(right, decided, labels=shown))
    _name_ticks(axes, [outcome.labels[label] for label in shown], both=True)
    axes.set(xlabel="given label", ylabel="right label", title="Confusion matrix: texts of the validation set")


def _decisions(outcome: Outcome, shown: Sequence[int], axes: Axes) -> None:
    """With several labels a text each is decided alone: rows are labels, columns the four ways that goes."""
    counts = multilabel_confusion_matrix(outcome.targets, outcome.given)[shown]
    _matrix(axes, counts.reshape(len(shown), 4))
    axes.set_xticks(range(4), DECISIONS)
    _name_ticks(axes, [outcome.labels[label] for label in shown], both=False)
    axes.set(ylabel="label", title="Decisions by label: texts of the validation set")


def _matrix(axes: Axes, counts: Any) -> None:
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    if len(counts) <= MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"  # noqa: PLR2004 - half of the colour map
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)


def _name_ticks(axes: Axes, names: Sequence[str], *, both: bool) -> None:
    # A label may hold anything, and $...$ would be read as a formula.
    short = [name if len(name) <= MOST_CHARACTERS else f"{name[:MOST_CHARACTERS]}..." for name in names]
    axes.set_yticks(range(len(names)), short, parse_math=False)
    if both:
        axes.set_xticks(range(len(names)), short, rotation=45, ha="right", parse_math=False)


def _labels(outcome: Outcome, shown: Sequence[int], axes: Axes) -> None:
    """Precision and recall as two bars a label."""
    rows, places = by_label(outcome), np.arange(len(shown))
    axes.barh(places - 0.2, [rows[label].precision for label in shown], 0.38, label="precision")
    axes.barh(places + 0.2, [rows[label].recall for label in shown], 0.38, label="recall")
    _name_ticks(axes, [outcome.labels[label] for label in shown], both=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="%", title="Precision and recall")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=8, frameon=False)


def _calibration(outcome: Outcome, axes: Axes) -> None:
    """How often the answers with a score are right, against that score."""
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=":", label="scores that mean what they say")
    curves = {"as saved": outcome.scores}
    if outcome.record["calibration"]:
        curves = {"before the temperature": outcome.uncalibrated} | curves
    for name, scores in curves.items():
        stated, right, _ = reliability(scores, outcome.targets, outcome.activation)
        error = calibration_error(scores, outcome.targets, outcome.activation)
        axes.plot(stated, right, marker="o", markersize=4, label=f"{name}: ECE {error:.2f} %")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share that is right", title="Calibration")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)


def _epochs(record: Mapping[str, Any], axes: Sequence[Axes]) -> None:
    """Loss, and the measure that decides, after each epoch."""
    for one, measure in zip(axes, ("loss", record["measure"]), strict=True):
        stages = {stage: sets for stage, sets in record[measure].items() if stage.startswith("epoch ")}
        for name in dict.fromkeys(name for sets in stages.values() for name in sets):
            one.plot(range(1, len(stages) + 1), [sets[name] for sets in stages.values()], marker="o", label=name)
        one.set(xlabel="epoch", title=measure if measure == "loss" else f"{measure}, %")
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
        one.grid(alpha=0.3)
        one.legend(fontsize=8)
