"""The figures of a report, as matplotlib draws them without a screen."""

from collections.abc import Callable, Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from load.report.data import SLO, TIER_WORDS, TIERS, RunData
from load.report.findings import breakpoint_steps

QUANTILES = (("med", "p50"), ("p(95)", "p95"), ("p(99)", "p99"))
SIZE_INCHES = (9.0, 3.6)
GREY = "0.45"
HEADROOM = 1.03
COLOURS = {"warm": "tab:orange", "cold": "tab:blue"}
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.6g}")


def draw_all(runs: Sequence[RunData]) -> dict[str, list[bytes | None]]:
    """Name -> a PNG of each run, where it has data for it; all runs on the same axes, so that they compare."""
    made = {}
    for name, (_, draw) in FIGURES.items():
        figures = [_drawn(run, draw) for run in runs]
        drawn = [figure for figure in figures if figure is not None]
        _share_limits(drawn)
        if drawn:
            made[name] = [None if figure is None else _png(figure) for figure in figures]
    return made


def _drawn(run: RunData, draw: Callable[[RunData, Axes], bool]) -> Figure | None:
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    return figure if draw(run, figure.subplots()) else None


def _share_limits(figures: Sequence[Figure]) -> None:
    for same in zip(*(figure.axes for figure in figures), strict=False):
        low, high = zip(*(axes.get_ylim() for axes in same), strict=True)
        for axes in same:
            axes.set_ylim(min(low), max(high))


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()


def _line(run: RunData, axes: Axes, metric: str, aggregate: str, label: str, **style: str) -> bool:
    points = [(second.at, second.metrics[metric][aggregate]) for second in run.client if metric in second.metrics]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2, marker=None if points[1:] else ".", **style)
    return bool(points)


def _users(run: RunData, axes: Axes) -> None:
    """Virtual users, and replicas where a cluster was watched, on the right."""
    right = axes.twinx()
    points = [(second.at, second.metrics["vus"]["value"]) for second in run.client if "vus" in second.metrics]
    if points:
        right.plot(*zip(*points, strict=True), color=GREY, linestyle=":", label="virtual users")
    replicas = [(second.at, second.replicas) for second in run.server if second.replicas is not None]
    if replicas:
        right.step(*zip(*replicas, strict=True), color="black", label="replicas ready", where="post")
    wanted = [(second.at, second.scaler_wants) for second in run.server if second.scaler_wants is not None]
    if wanted:
        label = "replicas wanted by the autoscaler"
        right.step(*zip(*wanted, strict=True), color="black", linestyle="--", linewidth=0.8, label=label, where="post")
    _finish_right(right, "virtual users" + (", replicas" if replicas else ""))
    right.yaxis.set_major_locator(MaxNLocator(integer=True))


def _finish(axes: Axes, ylabel: str, xlabel: str = "seconds since the start") -> bool:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(0, axes.get_ylim()[1] * HEADROOM)
    axes.set_xlim(0, axes.get_xlim()[1] * HEADROOM)
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.grid(visible=True, alpha=0.3)
    _legend(axes, "lower left")
    return True


def _finish_right(axes: Axes, ylabel: str) -> None:
    axes.set_ylabel(ylabel)
    axes.set_ylim(0, (axes.get_ylim()[1] or 1) * HEADROOM)
    axes.yaxis.set_major_formatter(THOUSANDS)
    _legend(axes, "lower right")


def _legend(axes: Axes, corner: str) -> None:
    """Above the axes, where it hides no line: the left axis's at the left, the right one's at the right."""
    lines, labels = axes.get_legend_handles_labels()
    if lines:
        x = float(corner.endswith("right"))
        axes.legend(lines, labels, loc=corner, bbox_to_anchor=(x, 1.0), ncols=4, fontsize=9, frameon=False,
                    borderaxespad=0.2, columnspacing=1.2, handlelength=1.5)  # fmt: skip


def latency(run: RunData, axes: Axes) -> bool:
    """Latency of all requests."""
    if not all(_line(run, axes, "http_req_duration", key, label) for key, label in QUANTILES):
        return False
    axes.axhline(SLO["latency_milliseconds"], color="red", linewidth=0.8, label="SLO for p99")
    _users(run, axes)
    return _finish(axes, "ms")


def rate(run: RunData, axes: Axes) -> bool:
    """Requests per second, by k6 and by the server."""
    if not _line(run, axes, "http_reqs", "rate", "k6"):
        return False
    axes.plot(
        [second.at for second in run.server], [second.requests_per_second for second in run.server], label="server"
    )
    _users(run, axes)
    return _finish(axes, "requests/s")


def warm_cold(run: RunData, axes: Axes) -> bool:
    """Latency of warm against cold requests."""
    drawn = [
        _line(run, axes, f"latency_{kind}", key, f"{kind} {label}", color=colour, linestyle=style)
        for kind, colour in COLOURS.items()
        for (key, label), style in ((QUANTILES[0], "-"), (QUANTILES[2], "--"))
    ]
    return any(drawn) and _finish(axes, "ms")


def tiers(run: RunData, axes: Axes) -> bool:
    """Texts per second by where their scores came from."""
    if not run.server:
        return False
    stacks = [[second.texts_by_tier[tier] for second in run.server] for tier in TIERS]
    axes.stackplot([second.at for second in run.server], *stacks, labels=list(TIER_WORDS.values()))
    return _finish(axes, "texts/s")


def redis(run: RunData, axes: Axes) -> bool:
    """Bytes and keys in Redis."""
    points = [(second.at, second.redis_keys, (second.redis_bytes or 0) / 2**20) for second in run.server
              if second.redis_keys is not None]  # fmt: skip
    if not points:
        return False
    at, keys, size = zip(*points, strict=True)
    axes.plot(at, size, label="MiB")
    right = axes.twinx()
    right.plot(at, keys, color=GREY, linestyle=":", label="keys")
    _finish_right(right, "keys")
    return _finish(axes, "MiB in use")


def cpu(run: RunData, axes: Axes) -> bool:
    """CPU time of the server for each request, and cores in use."""
    points = [(second.at, second.cpu_ms_per_request, second.cpu_cores) for second in run.server
              if second.cpu_ms_per_request is not None]  # fmt: skip
    if not points:
        return False
    at, each, cores = zip(*points, strict=True)
    axes.plot(at, each, label="CPU ms a request")
    right = axes.twinx()
    right.plot(at, cores, color=GREY, linestyle=":", label="cores in use")
    _finish_right(right, "cores")
    return _finish(axes, "CPU ms a request")


def steps(run: RunData, axes: Axes) -> bool:
    """p99 of each step of the profile breakpoint."""
    found = breakpoint_steps(run.summary)
    if not found:
        return False
    axes.plot([step.rate for step in found], [step.p99_milliseconds for step in found], marker="o", label="p99")
    if not found[-1].held:
        broken = f"broke by {' and '.join(found[-1].broke_by)}"
        axes.plot(found[-1].rate, found[-1].p99_milliseconds, "X", color="red", markersize=9, label=broken)
    axes.axhline(SLO["latency_milliseconds"], color="red", linewidth=0.8, label="SLO for p99")
    _finish(axes, "ms", "requests/s that were sent")
    axes.xaxis.set_major_formatter(THOUSANDS)
    return True


FIGURES: dict[str, tuple[str, Callable[[RunData, Axes], bool]]] = {
    "latency": ("Latency over time", latency),
    "rate": ("Requests per second", rate),
    "steps": ("Latency by rate", steps),
    "warm-cold": ("Warm against cold requests", warm_cold),
    "tiers": ("Where scores came from", tiers),
    "redis": ("Redis", redis),
    "cpu": ("CPU of the server", cpu),
}
"""Name of a figure's file -> its title, and what draws it; False where a run has no data for it."""
