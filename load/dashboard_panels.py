"""One panel of a dashboard, as matplotlib draws it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import matplotlib.dates
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullFormatter

from load.dashboard_units import written

THRESHOLDS = {"green": "#3f8f4f", "yellow": "#c9a100", "orange": "#e07b00", "red": "#c4162a"}
LINES = ("#3274d9", "#e07b00", "#3f8f4f", "#8f3bb8", "#c4162a", "#00838f", "#a0703c", "#555555")
SMALL, NORMAL, BIG = 7, 8.5, 17
LEGEND_ROWS = 3
LETTERS_PER_COLUMN = 8.5
"""Of a legend, in one column of the dashboard's grid."""
SHORT_SECONDS = 1800
"""Up to this span, times are written with their seconds."""
TICKS = 5
CELL = 22
"""Characters of a table's cell."""

Points = Sequence[tuple[float, float]]
Draw = Callable[[Mapping[str, Any], Sequence["Line"], Axes], None]


@dataclass(frozen=True)
class Line:
    """One series of a panel: what the legend calls it, its labels, and its (Unix time, value) pairs."""

    name: str
    labels: Mapping[str, str]
    points: Points

    @property
    def last(self) -> float:
        """The newest value that is one."""
        return next((value for _, value in reversed(self.points) if not math.isnan(value)), math.nan)


def show_times(axes: Axes, span: tuple[float, float]) -> None:
    """From the first to the last moment of the picture, whatever the lines cover."""
    axes.set_xlim(*_times([(moment, 0) for moment in span]))
    axes.xaxis.set_major_locator(matplotlib.dates.AutoDateLocator(maxticks=6))
    seconds = "" if span[1] - span[0] > SHORT_SECONDS else ":%S"
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter(f"%H:%M{seconds}"))
    axes.tick_params(labelsize=SMALL, length=2)
    axes.spines[:].set_color("#d8d9da")


def _times(points: Points) -> list[float]:
    return [matplotlib.dates.date2num(datetime.fromtimestamp(moment, UTC)) for moment, _ in points]


def _graph(panel: Mapping[str, Any], lines: Sequence[Line], axes: Axes) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    unit, stacking = defaults["unit"], custom["stacking"]["mode"]
    names = [f"{line.name}: {written(line.last, unit, defaults.get('decimals'))}" for line in lines]
    if stacking == "none":
        style = "steps-post" if custom["lineInterpolation"] == "stepAfter" else "default"
        for number, (line, name) in enumerate(zip(lines, names, strict=True)):
            values = [value for _, value in line.points]
            axes.plot(
                _times(line.points), values, label=name, lw=1.1, drawstyle=style, color=LINES[number % len(LINES)]
            )
    else:
        _stack(lines, names, axes, as_share=stacking == "percent")
        unit = "percentunit" if stacking == "percent" else unit
    _scale(defaults, lines, axes)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    _limits(panel, axes)
    axes.grid(visible=True, alpha=0.25)
    if lines:
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.13), fontsize=SMALL, frameon=False, handlelength=1,
            ncols=_columns(names, panel["gridPos"]["w"]),
            borderaxespad=0.2, labelspacing=0.15, columnspacing=1,
        )  # fmt: skip


def _scale(defaults: Mapping[str, Any], lines: Sequence[Line], axes: Axes) -> None:
    """From 0, or logarithmic, and up to the limit that the panel wants to be seen."""
    low, high = axes.get_ylim()
    custom = defaults["custom"]
    high = max(high, custom.get("axisSoftMax", 0), defaults.get("max", 0))
    positive = [value for line in lines for _, value in line.points if value > 0]
    high = max([high, *(1.05 * value for value in positive)]) if custom["stacking"]["mode"] == "none" else high
    if custom["scaleDistribution"]["type"] == "log" and positive:
        axes.set_ylim(min(positive) * 0.7, high * 1.4)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=TICKS + 1))
        axes.yaxis.set_minor_formatter(NullFormatter())
        return
    axes.set_ylim(defaults.get("min", min(0, low)), high)
    if defaults["unit"] == "bytes":
        axes.yaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(high / TICKS))))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(TICKS, integer=defaults.get("decimals") == 0))


def _columns(names: Sequence[str], width: int) -> int:
    """As many as fit beside each other, and at least as many as it takes to stay within the rows below the axes."""
    fit = int(width * LETTERS_PER_COLUMN / (max(map(len, names)) + 5))
    return max(1, math.ceil(len(names) / LEGEND_ROWS), min(len(names), fit))


def _stack(lines: Sequence[Line], names: Sequence[str], axes: Axes, *, as_share: bool) -> None:
    moments = sorted({moment for line in lines for moment, _ in line.points})
    columns = [dict(line.points) for line in lines]
    values = [[_or_zero(column.get(moment, 0.0)) for moment in moments] for column in columns]
    if as_share:
        totals = [sum(column) or math.inf for column in zip(*values, strict=True)]
        values = [[value / total for value, total in zip(row, totals, strict=True)] for row in values]
        names = [
            f"{line.name}: {sum(row) / max(1, sum(1 for total in totals if total < math.inf)):.0%}"
            for line, row in zip(lines, values, strict=True)
        ]
    if moments:
        axes.stackplot(
            _times([(moment, 0) for moment in moments]), *values, labels=names, alpha=0.75,
            colors=[LINES[number % len(LINES)] for number in range(len(lines))],
        )  # fmt: skip


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _limits(panel: Mapping[str, Any], axes: Axes) -> None:
    """The thresholds as lines, where they are within what is shown."""
    low, high = axes.get_ylim()
    if panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"]["mode"] == "line":
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]:
            if low <= step["value"] <= high * 1.02:
                axes.axhline(step["value"], color=THRESHOLDS[step["color"]], lw=0.9, ls="--")


def _heatmap(panel: Mapping[str, Any], lines: Sequence[Line], axes: Axes) -> None:
    unit, decimals = panel["fieldConfig"]["defaults"]["unit"], panel["options"]["yAxis"].get("decimals")
    rows = sorted(lines, key=lambda line: float(line.labels["le"]))
    moments = sorted({moment for line in rows for moment, _ in line.points})
    if not moments:
        return
    counts, below = [], [0.0] * len(moments)
    for line in rows:
        column = dict(line.points)
        upto = [_or_zero(column.get(moment, 0.0)) for moment in moments]
        counts.append([max(0.0, one - other) for one, other in zip(upto, below, strict=True)])
        below = upto
    used = [number for number, row in enumerate(counts) if any(row)] or [0]
    first, last = max(0, used[0] - 1), min(len(rows) - 1, used[-1] + 1)
    shown = [[math.sqrt(value) for value in row] for row in counts[first : last + 1]]
    axes.pcolormesh(
        _times([(moment, 0) for moment in moments]), range(len(shown)), shown, cmap="Blues", shading="nearest"
    )
    names = [
        written(float(line.labels["le"]), unit, decimals) if line.labels["le"] != "+Inf" else "more"
        for line in rows[first : last + 1]
    ]
    axes.set_yticks([number + 0.5 for number in range(len(names))], names)


def _stat(panel: Mapping[str, Any], lines: Sequence[Line], card: Axes) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    texts = {key: option["text"] for entry in defaults["mappings"] for key, option in entry["options"].items()}
    for number, line in enumerate(lines or [Line("", {}, ())]):
        colour = THRESHOLDS["green"]
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is None or line.last >= step["value"]:
                colour = THRESHOLDS[step["color"]]
        text = texts.get(f"{line.last:g}") or written(line.last, defaults["unit"], defaults.get("decimals"))
        across = (number + 0.5) / max(1, len(lines))
        card.text(across, 0.45, text, transform=card.transAxes, fontsize=BIG, color=colour, ha="center", va="center")
        card.text(across, 0.14, line.name, transform=card.transAxes, fontsize=NORMAL, ha="center", va="center")


def _table(panel: Mapping[str, Any], lines: Sequence[Line], card: Axes) -> None:
    (change,) = panel["transformations"]
    renamed = change["options"]["renameByName"]
    columns = sorted(change["options"]["indexByName"], key=change["options"]["indexByName"].__getitem__)
    columns = [name for name in columns if name == "Value" or any(name in line.labels for line in lines)]
    cells = [
        [line.labels.get(name, "")[:CELL] if name != "Value" else f"{line.last:g}" for name in columns]
        for line in lines
    ]
    for row, texts in enumerate([[renamed.get(name, name) for name in columns], *cells]):
        for column, text in enumerate(texts):
            card.text(
                0.03 + 0.95 * column / len(columns), 0.78 - 0.12 * row, text, transform=card.transAxes,
                fontsize=NORMAL, weight="bold" if row == 0 else "normal", va="center",
            )  # fmt: skip


AXES: dict[str, Draw] = {"timeseries": _graph, "heatmap": _heatmap}
CARDS: dict[str, Draw] = {"stat": _stat, "table": _table}
"""Those without axes."""
