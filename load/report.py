"""`python -m load.report RUN_DIR [--against OTHER_RUN_DIR]`: one HTML page that needs nothing else, and PNG figures."""

import argparse
import base64
import json
import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from load.report_data import ReportError, RunData, read_run
from load.report_figures import FIGURES, draw_all
from load.report_findings import Figure, findings, key_figures, verdict

FILES = {title: name for name, (title, _) in FIGURES.items()}
"""Title of a figure -> name of its PNG, without the ending."""

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  background: #fff; color: #1b1b1b; overflow-wrap: anywhere; }
body.wide { max-width: 110rem; } h1 { font-size: 1.6rem; line-height: 1.2; } img { max-width: 100%; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; overflow-wrap: normal; }
td, th { padding: .2rem .8rem; text-align: left; vertical-align: top; }
.figures td, .figures th[scope=col] { text-align: right; font-variant-numeric: tabular-nums; }
th[scope=row] { font-weight: 500; } tr:nth-child(even) { background: #f3f3f3; }
td.held { color: #05603a; } td.broken { color: #a8071a; }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1rem; }
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report into RUN_DIR; 1 with one line when a folder is no run's."""
    parser = argparse.ArgumentParser(prog="python -m load.report", description=__doc__)
    parser.add_argument("run", type=Path, help="folder that `make load` wrote")
    parser.add_argument("--against", type=Path, help="a second run, shown beside the first")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"report: {write_report(options.run, options.against)}\n")
    except ReportError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


def write_report(folder: Path, against: Path | None = None) -> Path:
    """The page's path. Raises ReportError."""
    folders = [folder] if against is None else [folder, against]
    runs = [read_run(one) for one in folders]
    titles = [_title(run) for run in runs]
    figures = draw_all(runs)
    page = folder / ("report.html" if against is None else "comparison.html")
    parts = [f"<h1>{escape(' against '.join(titles))}</h1>", _table(titles, runs), _findings(titles, runs)]
    for title, images in figures.items():
        if against is None and images[0] is not None:
            (folder / f"{FILES[title]}.png").write_bytes(images[0])
        cells = (_image(f"{title}: {name}", image) for name, image in zip(titles, images, strict=True))
        parts.append(f'<h2>{escape(title)}</h2><div class="runs">{"".join(cells)}</div>')
    parts.append(_machines(titles, runs))
    wide = "" if against is None else ' class="wide"'
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(' against '.join(titles))}</title><style>{STYLE}</style></head><body{wide}>"
    )
    page.write_text(head + "\n".join(parts) + "</body></html>\n", encoding="utf-8")
    return page


def _title(run: RunData) -> str:
    """The profile, how many workers or pods where they are known, and when."""
    parts = [run.facts["profile"]]
    parts += [f"{run.facts[name]} {name}" for name in ("workers", "pods") if run.facts.get(name, 1) > 1]
    return ", ".join([*parts, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.facts["began"]))])


def _table(titles: Sequence[str], runs: Sequence[RunData]) -> str:
    """Figure by figure; beside two runs, what the first is of the second."""
    columns = [key_figures(run) for run in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    verdicts = [verdict(run) for run in runs]
    cells = "".join(f'<td class="{one.partition(" ")[0]}">{escape(one)}</td>' for one in verdicts)
    rows = [f'<tr><th scope="row">SLO</th>{cells}{"<td></td>" if len(runs) > 1 else ""}</tr>']
    for name in names:
        found = [column.get(name) for column in columns]
        values = ["-" if figure is None else figure.text for figure in found]
        rows.append(_row(name, [*values, _ratio(found)] if len(runs) > 1 else values))
    heads = [*titles, "first / second"] if len(runs) > 1 else titles
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in heads)
    return f'<div class="scroll"><table class="figures"><tr><td></td>{head}</tr>{"".join(rows)}</table></div>'


def _ratio(found: Sequence[Figure | None]) -> str:
    first, second = found
    return f"{first.value / second.value:.2f}" if first and second and second.value else "-"


def _row(name: str, values: Sequence[str]) -> str:
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'


def _findings(titles: Sequence[str], runs: Sequence[RunData]) -> str:
    lists = [
        f"<h3>{escape(title)}</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in findings(run))}</ul>"
        for title, run in zip(titles, runs, strict=True)
    ]
    return "<h2>Findings</h2>" + "".join(lists)


def _image(alternative: str, png: bytes | None) -> str:
    if png is None:
        return f"<p>{escape(alternative)}: not measured</p>"
    return f'<img alt="{escape(alternative)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _machines(titles: Sequence[str], runs: Sequence[RunData]) -> str:
    blocks = []
    for title, run in zip(titles, runs, strict=True):
        rows = "".join(_row(name, [_text(value)]) for name, value in _facts(run).items())
        blocks.append(f'<h3>{escape(title)}</h3><div class="scroll"><table>{rows}</table></div>')
    return "<h2>Machine of the client, versions, settings</h2>" + "".join(blocks)


def _facts(run: RunData) -> Mapping[str, object]:
    moments = {
        name: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.facts[name])) for name in ("began", "ended")
    }
    return run.facts | moments


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items()) or "none"
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
