"""The dashboards as pictures, from a Prometheus: what Grafana would show of a load test, for a report or a page.

python -m load.dashboards --prometheus http://127.0.0.1:9090 [--minutes 15] [--namespace valence] [--output FOLDER]

Writes one PNG for each dashboard. Every other variable of a dashboard is as when it is opened, or as `--set` says:
`--set reporter=source --set pod=valence-1`.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from load.bench_sides import ROOT
from load.dashboard_drawing import draw
from load.dashboard_panels import Line
from load.dashboard_queries import FILES, DashboardError, legend, panels, queries, read_dashboard, variables
from load.prometheus import PrometheusError, query_range

POINTS = 300
"""Over the width of a panel; more would not be seen."""
DPI = 84
COLOURS = 256
"""In the palette of a picture, which keeps it small."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 with one line when Prometheus does not answer."""
    options = _parser().parse_args(arguments)
    end = options.end if options.end is not None else time.time()
    span = (options.start if options.start is not None else end - 60 * options.minutes, end)
    chosen = {"namespace": options.namespace} | dict(item.split("=", 1) for item in options.set)
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        for file in FILES:
            picture = options.output / f"{file.stem}.png"
            dashboard = read_dashboard(file)
            data = ask(options.prometheus, dashboard, chosen, span, options.scrape_seconds)
            save(draw(dashboard, data, span), picture)
            sys.stdout.write(f"{picture}\n")
    except (PrometheusError, DashboardError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


def ask(
    url: str, dashboard: Mapping[str, Any], chosen: Mapping[str, str], span: tuple[float, float], scrape_seconds: float
) -> dict[int, list[Line]]:
    """The lines of each panel, by its id. Raises PrometheusError and DashboardError."""
    start, end = span
    step = (end - start) / POINTS
    # As Grafana computes it: some scrapes at least, and no gap between two points.
    interval = max(step + scrape_seconds, 4 * scrape_seconds)
    values = variables(dashboard, {**chosen, "__rate_interval": f"{interval:.0f}s"})
    data: dict[int, list[Line]] = {}
    for panel in panels(dashboard):
        lines = data.setdefault(panel["id"], [])
        for query in queries(panel, values):
            for series in query_range(url, query.expr, start, end, step):
                there = {round((moment - start) / step): float(value) for moment, value in series["values"]}
                # Where a series was gone, so is its line.
                points = [(start + number * step, there.get(number, math.nan)) for number in range(POINTS + 1)]
                lines.append(Line(legend(query.legend, series["metric"]), series["metric"], points))
    return data


def save(figure: Any, picture: Path) -> None:
    """As a PNG with a palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    image.quantize(COLOURS).save(picture, optimize=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load.dashboards", description=__doc__)
    parser.add_argument("--prometheus", required=True, help="its address, such as http://127.0.0.1:9090")
    parser.add_argument("--namespace", default="valence", help="what `namespace` is set to (%(default)s)")
    parser.add_argument("--minutes", type=float, default=15, help="how far back, without --start (%(default)s)")
    parser.add_argument("--start", type=float, help="Unix time of the beginning, such as `began` of a run.json")
    parser.add_argument("--end", type=float, help="Unix time of the end (now)")
    parser.add_argument("--scrape-seconds", type=float, default=15, help="its scrape interval (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another variable")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "dashboards", help="folder (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
