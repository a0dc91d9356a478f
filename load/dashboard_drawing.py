"""A dashboard as one picture: its panels where the grid has them, drawn by matplotlib from series of Prometheus."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from load.dashboard_panels import AXES, CARDS, NORMAL, Line, show_times

COLUMNS = 24
WIDTH_INCHES = 15.0
UNIT_INCHES = 0.32
"""Height of one step of the grid."""
MARGIN_INCHES = 0.12
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES = 0.62, 0.16, 0.36
"""Around the axes of a panel: numbers, nothing, and the title."""
BELOW_INCHES = {"timeseries": 0.66, "heatmap": 0.3}
"""For the times, and a legend."""

Box = tuple[float, float, float, float]
"""Left, bottom, width and height as shares of the figure."""


def draw(dashboard: Mapping[str, Any], data: Mapping[int, Sequence[Line]], span: tuple[float, float]) -> Figure:
    """`data` holds the lines of each panel by its id, `span` the first and last Unix time of the picture."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) + 1
    height = rows * UNIT_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="#f4f5f5")
    _heading(figure, dashboard["title"], span)
    for panel in dashboard["panels"]:
        box = _box(panel["gridPos"], height)
        if panel["type"] == "row":
            figure.text(box[0], box[1] + box[3] * 0.4, panel["title"], fontsize=11, weight="bold", va="center")
            continue
        card = figure.add_axes(box, facecolor="white", xticks=[], yticks=[])
        card.spines[:].set_color("#d8d9da")
        title: Text = card.text(0.07 / (box[2] * WIDTH_INCHES), 1 - 0.17 / (box[3] * height), panel["title"])
        title.set(transform=card.transAxes, fontsize=NORMAL, weight="bold", va="center")
        if panel["type"] in CARDS:
            CARDS[panel["type"]](panel, data[panel["id"]], card)
        else:
            axes = figure.add_axes(_inside(box, height, BELOW_INCHES[panel["type"]]))
            AXES[panel["type"]](panel, data[panel["id"]], axes)
            show_times(axes, span)
    return figure


def _heading(figure: Figure, title: str, span: tuple[float, float]) -> None:
    middle = 1 - 0.6 * UNIT_INCHES / figure.get_figheight()
    figure.text(0.006, middle, title, fontsize=14, weight="bold", va="center")
    times = " to ".join(f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}" for moment in span)
    figure.text(0.994, middle, f"{times} UTC", fontsize=NORMAL, va="center", ha="right")


def _box(grid: Mapping[str, int], height: float) -> Box:
    """Where a panel stands; the first step of the grid is the picture's title."""
    width = grid["w"] / COLUMNS - MARGIN_INCHES / WIDTH_INCHES
    high = (grid["h"] * UNIT_INCHES - MARGIN_INCHES) / height
    left = grid["x"] / COLUMNS + MARGIN_INCHES / 2 / WIDTH_INCHES
    return left, 1 - (grid["y"] + 1 + grid["h"]) * UNIT_INCHES / height + MARGIN_INCHES / 2 / height, width, high


def _inside(box: Box, height: float, below: float) -> Box:
    """Where the axes stand in their panel."""
    left, bottom, width, high = box
    return (
        left + LEFT_INCHES / WIDTH_INCHES,
        bottom + below / height,
        width - (LEFT_INCHES + RIGHT_INCHES) / WIDTH_INCHES,
        high - (below + TOP_INCHES) / height,
    )
