"""The report of a run: one HTML page that needs nothing else, and PNG figures."""

import base64
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from load.report.data import RunData, read_run
from load.report.figures import FIGURES, draw_all
from load.report.findings import findings, key_figures, verdict

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,  # a model's name, for one, may hold anything
    undefined=StrictUndefined,
)


def write_report(folder: Path, against: Path | None = None) -> Path:
    """Write the page of a run, or of two side by side, into its folder, and a single run's figures; gives its path.

    Raises ReportError when a folder is no run's.
    """
    runs = [read_run(one) for one in (folder, against) if one is not None]
    drawn = draw_all(runs)
    if against is None:
        for name, (image,) in drawn.items():
            if image is not None:
                (folder / f"{name}.png").write_bytes(image)
    titles = [_title(run) for run in runs]
    html = TEMPLATES.get_template("page.html").render(
        title=" against ".join(titles),
        runs=[
            {"title": title, "verdict": verdict(run), "findings": findings(run), "facts": _facts(run)}
            for title, run in zip(titles, runs, strict=True)
        ],
        figures=_figures(runs),
        pictures={FIGURES[name][0]: [_base64(image) for image in images] for name, images in drawn.items()},
    )
    page = folder / ("report.html" if against is None else "comparison.html")
    page.write_text(html, encoding="utf-8")
    return page


def _title(run: RunData) -> str:
    """The profile, how many workers or pods where they are known, and when."""
    parts = [run.facts["profile"]]
    parts += [f"{run.facts[name]} {name}" for name in ("workers", "pods") if run.facts.get(name, 1) > 1]
    return ", ".join([*parts, _moment(run.facts["began"])])


def _figures(runs: Sequence[RunData]) -> dict[str, list[str]]:
    """Figure -> its text in each run; beside two runs, what the first is of the second."""
    columns = [key_figures(run) for run in runs]
    rows = {}
    for name in dict.fromkeys(name for column in columns for name in column):
        found = [column.get(name) for column in columns]
        rows[name] = ["-" if figure is None else figure.text for figure in found]
        if len(found) > 1:
            first, second = found
            rows[name].append(f"{first.value / second.value:.2f}" if first and second and second.value else "-")
    return rows


def _facts(run: RunData) -> dict[str, str]:
    moments = {name: _moment(run.facts[name]) for name in ("began", "ended")}
    return {name: _text(value) for name, value in (run.facts | moments).items()}


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items()) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _base64(image: bytes | None) -> str:
    return base64.b64encode(image or b"").decode()
