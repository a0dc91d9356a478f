"""The dashboards as pictures, from a Prometheus: what Grafana would show, for docs/dashboards.md or a report.

python -m bench.dashboards --prometheus http://127.0.0.1:9090 [--minutes 15] [--namespace valence] [--output FOLDER]
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import dates, rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from bench.dashboard_queries import panels, queries, read_dashboards, variables
from load.observe.prometheus import PrometheusError, query_range
from load.programs import ROOT

POINTS, TICKS, LEGEND_ROWS = 300, 5, 3
COLUMNS, COLUMN_INCHES, ROW_INCHES, LEFT_INCHES, TOP_INCHES = 24, 0.625, 0.32, 0.65, 0.4
BELOW_INCHES = {"timeseries": 0.75, "heatmap": 0.35}  # times, and a legend
COLOURS = {"green": "#3f8f4f", "yellow": "#c9a100", "orange": "#e07b00", "red": "#c4162a"}
STYLE: Any = {"font.size": 7, "axes.grid": True, "grid.alpha": 0.25, "axes.edgecolor": "silver", "lines.linewidth": 1}
SIZES: dict[str, dict[str, float]] = {
    "percentunit": {"%": 0.01}, "none": {"": 1}, "short": {"M": 1e6, "k": 1e3, "": 1},
    "s": {"s": 1, "ms": 1e-3, "µs": 1e-6}, "ms": {"s": 1e3, "ms": 1, "µs": 1e-3},
    "bytes": {"MiB": 2**20, "KiB": 2**10, "B": 1}, "Bps": {"MB/s": 1e6, "kB/s": 1e3, "B/s": 1},
    "reqps": {"req/s": 1}, "cps": {"/s": 1}, "ops": {"ops/s": 1},
}  # fmt: skip
"""Unit of Grafana -> how numbers from these sizes on are written."""


class Line(NamedTuple):
    """One series of a panel: what the legend calls it, its labels, and POINTS + 1 values, NaN where it was gone."""

    name: str
    labels: Mapping[str, str]
    values: Any

    @property
    def last(self) -> float:
        """The newest value that is one."""
        return next((value for value in self.values[::-1].tolist() if not math.isnan(value)), math.nan)


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """A number with its unit, such as "98.4 %" or "2.1 ms". Raises KeyError for a unit that is not in SIZES."""
    if math.isnan(value):
        return "no data"
    sizes = SIZES[unit]
    fitting = [name for name, size in sizes.items() if abs(value) >= size or (size == 1 and value == 0)]
    name = (fitting or [*sizes][-1:])[0]
    shown = value / sizes[name]
    form = f".{decimals}f" if decimals is not None else ".3g" if abs(shown) < 999.5 else ".0f"  # noqa: PLR2004
    return f"{shown:{form}} {name}".rstrip()


def ask(url: str, panel: dict[str, Any], values: Mapping[str, str], span: tuple[float, float]) -> list[Line]:
    """The lines of a panel between two Unix times. Raises PrometheusError."""
    step, lines = (span[1] - span[0]) / POINTS, []
    for query in queries(panel, values):
        for series in query_range(url, query.expr, *span, step):
            points = np.full(POINTS + 1, np.nan)
            for moment, value in series["values"]:
                points[round((moment - span[0]) / step)] = float(value)
            lines.append(Line(query.name(series["metric"]), series["metric"], points))
    return lines


def draw(dashboard: Mapping[str, Any], data: Mapping[int, Sequence[Line]], span: tuple[float, float]) -> Figure:
    """The panels where the grid of the dashboard has them, with the lines of each by its id."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) + 1
    times = (np.linspace(*span, POINTS + 1) * 1000).astype("datetime64[ms]")
    drawn_by = {"timeseries": _graph, "heatmap": _heatmap, "stat": _stat, "table": _table}
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMNS * COLUMN_INCHES, rows * ROW_INCHES), dpi=84, facecolor="#f4f5f5")
        figure.text(0.006, 1 - 0.6 / rows, dashboard["title"], size=14, weight="bold", va="center")
        grid = figure.add_gridspec(rows, COLUMNS, left=0, bottom=0, right=1, top=1, wspace=0, hspace=0)
        for panel in dashboard["panels"]:
            at, row = panel["gridPos"], panel["type"] == "row"
            place = grid[at["y"] + 1 : at["y"] + 1 + at["h"], at["x"] : at["x"] + at["w"]]
            part = figure.add_subfigure(place, facecolor="none" if row else "white", edgecolor="#f4f5f5", linewidth=5)
            part.suptitle(panel["title"], x=0.15 / at["w"], ha="left", size=11 if row else 8.5, weight="bold")
            if not row:
                drawn_by[panel["type"]](panel, data[panel["id"]], part, times)
    return figure


def _axes(panel: dict[str, Any], part: SubFigure, times: Any) -> Axes:
    width, height = panel["gridPos"]["w"] * COLUMN_INCHES, panel["gridPos"]["h"] * ROW_INCHES
    left, below, top = LEFT_INCHES / width, BELOW_INCHES[panel["type"]] / height, TOP_INCHES / height
    axes = part.add_axes((left, below, 1 - left - 0.2 / width, 1 - below - top), xlim=(times[0], times[-1]))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=5))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
    return axes


def _graph(panel: dict[str, Any], lines: Sequence[Line], part: SubFigure, times: Any) -> None:
    defaults, axes = panel["fieldConfig"]["defaults"], _axes(panel, part, times)
    custom, unit = defaults["custom"], defaults["unit"]
    names = [f"{line.name}: {written(line.last, unit, defaults.get('decimals'))}" for line in lines]
    if custom["stacking"]["mode"] == "none":
        for name, line in zip(names, lines, strict=True):
            axes.plot(times, line.values, label=name)
    elif lines:
        stacked = np.nan_to_num([line.values for line in lines])
        if custom["stacking"]["mode"] == "percent":
            unit, stacked = "percentunit", stacked / np.maximum(stacked.sum(axis=0), 1e-9)
            names = [f"{line.name}: {share:.0%}" for line, share in zip(lines, stacked.mean(axis=1), strict=True)]
        axes.stackplot(times, stacked, labels=names, alpha=0.75)
    _scale(axes, defaults, unit)
    if custom["thresholdsStyle"]["mode"] == "line":
        for step in defaults["thresholds"]["steps"][1:]:
            axes.axhline(step["value"], color=COLOURS[step["color"]], lw=0.9, ls="--")
    if lines:
        columns = max(math.ceil(len(names) / LEGEND_ROWS), min(len(names), panel["gridPos"]["w"] // 4))
        axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.12), frameon=False, handlelength=1, ncols=columns)


def _scale(axes: Axes, defaults: Mapping[str, Any], unit: str) -> None:
    """Logarithmic, or from 0 up to the limit that the panel wants to be seen."""
    if defaults["custom"]["scaleDistribution"]["type"] == "log":
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        seen = max(axes.get_ylim()[1], defaults["custom"].get("axisSoftMax", 0), defaults.get("max", 0))
        axes.set_ylim(0, high := 1.03 * seen)
        whole = ticker.MaxNLocator(TICKS, integer=defaults.get("decimals") == 0)
        power_of_two = ticker.MultipleLocator(2 ** math.ceil(math.log2(high / TICKS)))
        axes.yaxis.set_major_locator(power_of_two if unit == "bytes" else whole)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: written(value, unit)))


def _heatmap(panel: dict[str, Any], lines: Sequence[Line], part: SubFigure, times: Any) -> None:
    unit, decimals = panel["fieldConfig"]["defaults"]["unit"], panel["options"]["yAxis"].get("decimals")
    axes, rows = _axes(panel, part, times), sorted(lines, key=lambda line: float(line.labels["le"]))
    if rows:
        counts = np.maximum(np.diff(np.nan_to_num([line.values for line in rows]), axis=0, prepend=0), 0)
        used = np.flatnonzero(counts.max(axis=1) > counts.max() / 1000)  # fainter ones can't be seen
        shown = slice(max(0, used.min(initial=len(rows)) - 1), used.max(initial=0) + 2)
        axes.pcolormesh(times, range(len(counts[shown])), np.sqrt(counts[shown]), cmap="Blues", shading="nearest")
        names = [written(float(line.labels["le"]), unit, decimals) for line in rows[shown]]
        axes.set_yticks(np.arange(len(names)) + 0.5, names)
        axes.grid(visible=False)


def _stat(panel: dict[str, Any], lines: Sequence[Line], part: SubFigure, _: Any) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    texts = {key: option["text"] for entry in defaults["mappings"] for key, option in entry["options"].items()}
    for number, line in enumerate(lines := lines or [Line("", {}, np.array([np.nan]))]):
        reached = [one for one in defaults["thresholds"]["steps"] if one["value"] is None or line.last >= one["value"]]
        text = texts.get(f"{line.last:g}") or written(line.last, defaults["unit"], defaults.get("decimals"))
        across = (number + 0.5) / len(lines)
        part.text(across, 0.45, text, size=17, color=COLOURS[reached[-1]["color"]], ha="center", va="center")
        part.text(across, 0.15, line.name, size=8.5, ha="center", va="center")


def _table(panel: dict[str, Any], lines: Sequence[Line], part: SubFigure, _: Any) -> None:
    options = panel["transformations"][0]["options"]
    for column, name in enumerate(sorted(options["indexByName"], key=options["indexByName"].get)):
        left = 0.03 + 0.95 * column / len(options["indexByName"])
        cells = [f"{line.last:g}" if name == "Value" else line.labels.get(name, "")[:22] for line in lines]
        part.text(left, 0.78, options["renameByName"].get(name, name), size=8.5, weight="bold")
        part.text(left, 0.72, "\n".join(cells), size=8.5, va="top")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one small PNG for each dashboard; 1 with one line when Prometheus does not answer."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboards", description=__doc__)
    parser.add_argument("--prometheus", required=True, help="its address, such as http://127.0.0.1:9090")
    parser.add_argument("--namespace", default="valence", help="what `namespace` is set to (%(default)s)")
    parser.add_argument("--minutes", type=float, default=15, help="how far back from the end (%(default)s)")
    parser.add_argument("--end", type=float, default=time.time(), help="Unix time, such as `ended` of a run.json (now)")
    parser.add_argument("--scrape-seconds", type=float, default=15, help="its scrape interval (%(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "dashboards", help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    span = (options.end - 60 * options.minutes, options.end)
    # As Grafana computes it: some scrapes at least, and no gap between two points.
    interval = max(60 * options.minutes / POINTS + options.scrape_seconds, 4 * options.scrape_seconds)
    chosen = {"namespace": options.namespace, "__rate_interval": f"{interval:.0f}s"}
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        for name, dashboard in read_dashboards().items():
            values = variables(dashboard, chosen)
            data = {panel["id"]: ask(options.prometheus, panel, values, span) for panel in panels(dashboard)}
            draw(dashboard, data, span).savefig(drawn := BytesIO())
            Image.open(drawn).convert("RGB").quantize().save(options.output / f"{name}.png", optimize=True)
            sys.stdout.write(f"{options.output / name}.png\n")
    except PrometheusError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
