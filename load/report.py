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
from load.report_figures import draw_all
from load.report_findings import findings, key_figures, slo_held

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
img { max-width: 100%; } table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: left; }
tr:nth-child(even) { background: #f3f3f3; } .held { color: #05603a; } .broken { color: #a8071a; }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; }
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
    figures = [draw_all(run, one) for run, one in zip(runs, folders, strict=True)]
    page = folder / ("report.html" if against is None else "comparison.html")
    titles = [f"{run.facts['profile']} ({one.name})" for run, one in zip(runs, folders, strict=True)]
    parts = [f"<h1>{escape(' against '.join(titles))}</h1>", _table(titles, runs), _findings(titles, runs)]
    for title in dict.fromkeys(title for made in figures for title in made):
        images = "".join(
            _image(f"{title}: {name}", made.get(title)) for name, made in zip(titles, figures, strict=True)
        )
        parts.append(f'<h2>{escape(title)}</h2><div class="runs">{images}</div>')
    parts.append(_machines(titles, runs))
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(titles[0])}</title><style>{STYLE}</style>'
    )
    page.write_text(head + "\n".join(parts) + "</html>\n", encoding="utf-8")
    return page


def _table(titles: Sequence[str], runs: Sequence[RunData]) -> str:
    columns = [key_figures(run) for run in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    verdicts = "".join(
        '<td class="held">held</td>' if slo_held(run) else '<td class="broken">broken</td>' for run in runs
    )
    rows = [f"<tr><th>SLO</th>{verdicts}</tr>"]
    rows += [_row(name, [column.get(name, "-") for column in columns]) for name in names]
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _row(name: str, values: Sequence[str]) -> str:
    return f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"


def _findings(titles: Sequence[str], runs: Sequence[RunData]) -> str:
    lists = [
        f"<h3>{escape(title)}</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in findings(run))}</ul>"
        for title, run in zip(titles, runs, strict=True)
    ]
    return "<h2>Findings</h2>" + "".join(lists)


def _image(alternative: str, file: Path | None) -> str:
    if file is None:
        return f"<p>{escape(alternative)}: not measured</p>"
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'


def _machines(titles: Sequence[str], runs: Sequence[RunData]) -> str:
    blocks = []
    for title, run in zip(titles, runs, strict=True):
        rows = "".join(_row(name, [_text(value)]) for name, value in _facts(run).items())
        blocks.append(f"<h3>{escape(title)}</h3><table>{rows}</table>")
    return "<h2>Machine, versions, settings</h2>" + "".join(blocks)


def _facts(run: RunData) -> Mapping[str, object]:
    moments = {
        name: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.facts[name])) for name in ("began", "ended")
    }
    return run.facts | moments


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
