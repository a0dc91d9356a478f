"""The report: figures that are images, errors by their loss, and no text that is taken for HTML."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
pytest.importorskip("matplotlib", reason="the export group is not installed: make test-export")
import numpy as np

from model_export.finetune import report
from model_export.finetune.figures import draw_all
from model_export.finetune.outcome import WORST, Outcome, by_label, worst
from model_export.scores import Activation, activate

PNG = b"\x89PNG\r\n\x1a\n"


def outcome(activation: Activation, texts: int, labels: int) -> Outcome:
    """A model that errs in every third text, each time surer than the time before."""
    targets = np.arange(labels) == (np.arange(texts) % labels)[:, None]
    sure = np.linspace(1.0, 4.0, texts)[:, None]
    wrong = (np.arange(texts) % 3 == 0)[:, None]
    logits = np.where(np.where(wrong, np.roll(targets, 1, axis=1), targets), sure, -sure)
    measure = "micro F1" if activation == "sigmoid" else "accuracy"
    stages: dict[str, Any] = {"epoch 1": {"dev": 50.0}, "saved": {"dev": 66.0}}
    calibration = {"temperature": 2.0, "error_before": 9.0, "error_after": 3.0}
    record = {"measure": measure, "measures": ["loss", measure], "loss": stages, measure: stages, "saved": "epoch 1"}
    record |= {"texts": {"dev": texts}, "constant_answer": 30.0, "calibration": calibration}
    record |= {"start": {"id": "tiny"}, "data": {"training": {"file": "a.csv"}}, "recipe": {"seed": 7}}
    return Outcome(
        labels=("<b>", "$\\x$", *(f"label {n}" for n in range(2, labels))),
        activation=activation,
        texts=[f"<script>{n}</script>" for n in range(texts)],
        targets=targets,
        uncalibrated=activate(logits, activation),
        scores=activate(logits / 2.0, activation),
        record=record,
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("labels", [2, 40])
def test_report_is_written(activation: Activation, labels: int, tmp_path: Path) -> None:
    """The page holds its figures and escapes texts and labels; the same figures lie beside it."""
    report.write(tmp_path / "report", outcome(activation, 90, labels))
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 4
    assert page.count("&lt;script&gt;") == WORST
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<td>7</td>" in page
    images = sorted((tmp_path / "report").glob("*.png"))
    assert [path.stem for path in images] == ["calibration", "confusion", "epochs", "labels"]
    assert all(path.read_bytes().startswith(PNG) for path in images)


def test_figures_of_many_labels_have_a_bound() -> None:
    """1,000 labels make a figure as large as that of 30."""
    few, many = (draw_all(outcome("softmax", 2_000, labels))["labels"] for labels in (30, 1_000))
    height = slice(20, 24)  # where a PNG has it
    assert few[height] == many[height]


def test_worst_errors_come_first() -> None:
    """The surest ones, with the scores of what is right and what was given; right answers are no errors."""
    found = worst(outcome("softmax", 90, 3))
    assert [mistake.text for mistake in found] == [f"<script>{n}</script>" for n in range(87, 27, -3)]
    first = found[0]
    assert list(first.right) == ["<b>"]
    assert list(first.given) == ["$\\x$"]
    assert first.given["$\\x$"] > 0.9
    assert first.right["<b>"] < 0.1


def test_figures_by_label() -> None:
    """Of three labels in turn, all texts of the first get the second: precision and recall say so."""
    first, second, third = by_label(outcome("softmax", 90, 3))
    assert (first.texts, first.precision, first.recall, first.f1) == (30, 0.0, 0.0, 0.0)
    assert (second.precision, second.recall) == (50.0, 100.0)
    assert (third.precision, third.recall, third.f1) == (100.0, 100.0, 100.0)


def test_no_errors_and_no_temperature_are_said(tmp_path: Path) -> None:
    """Instead of empty tables."""
    made = outcome("softmax", 90, 3)
    scores = made.targets * 0.8 + 0.1
    record = {**made.record, "calibration": None}
    perfect = replace(made, uncalibrated=scores, scores=scores, record=record)
    report.write(tmp_path / "report", perfect)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "There are none." in page
    assert "too small for that" in page
