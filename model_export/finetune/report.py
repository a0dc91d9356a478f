"""The report of a run: one HTML page that needs nothing else, and its figures as PNG files."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model_export.finetune.figures import draw_all
from model_export.finetune.outcome import Outcome, by_label, worst
from model_export.tracking import flat

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,  # texts and labels may hold anything
    undefined=StrictUndefined,
)
MOST_CHARACTERS = 500
"""Of a text that is listed."""
TITLES = {
    "confusion": "Which labels are confused",
    "labels": "Precision and recall",
    "calibration": "Calibration",
    "epochs": "By epoch",
}


def write(folder: Path, outcome: Outcome) -> None:
    """Make `folder` and write report.html and the PNG files of its figures into it."""
    folder.mkdir()
    figures = draw_all(outcome)
    for name, image in figures.items():
        (folder / f"{name}.png").write_bytes(image)
    html = TEMPLATES.get_template("report.html").render(
        record=outcome.record,
        pictures={TITLES[name]: base64.b64encode(image).decode() for name, image in figures.items()},
        labels=by_label(outcome),
        mistakes=worst(outcome),
        most_characters=MOST_CHARACTERS,
        facts=_facts(outcome.record),
    )
    (folder / "report.html").write_text(html, encoding="utf-8")


def _facts(record: Any) -> dict[str, str]:
    """What the run was given, name by name."""
    return {
        name: str(value) for name, value in flat({key: record[key] for key in ("start", "data", "texts", "recipe")})
    }
