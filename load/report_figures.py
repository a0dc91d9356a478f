"""The figures of a report, as matplotlib draws them without a screen."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from load.report_data import SLO, TIERS, RunData
from load.report_findings import breakpoint_steps

QUANTILES = (("med", "p50"), ("p(95)", "p95"), ("p(99)", "p99"))
SIZE_INCHES = (9.0, 3.6)
GREY = "0.6"


def draw_all(run: RunData, folder: Path) -> dict[str, Path]:
    """Title -> PNG, for each figure that this run has data for."""
    made = {}
    for name, (title, draw) in FIGURES.items():
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        if draw(run, axes):
            made[title] = folder / f"{name}.png"
            figure.savefig(made[title], dpi=110)
    return made


def _line(run: RunData, axes: Axes, metric: str, aggregate: str, label: str) -> bool:
    points = [(second.at, second.metrics[metric][aggregate]) for second in run.client if metric in second.metrics]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2)
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
    right.set_ylabel("virtual users" + (", replicas" if replicas else ""))
    right.set_ylim(bottom=0)
    right.legend(loc="upper right", fontsize=8)


def _finish(axes: Axes, ylabel: str, xlabel: str = "seconds since the start") -> bool:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)
    return True


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
        _line(run, axes, f"latency_{kind}", key, f"{kind} {label}")
        for kind in ("warm", "cold")
        for key, label in (QUANTILES[0], QUANTILES[2])
    ]
    return any(drawn) and _finish(axes, "ms")


def tiers(run: RunData, axes: Axes) -> bool:
    """Texts per second by where their scores came from."""
    if not run.server:
        return False
    stacks = [[second.texts_by_tier[tier] for second in run.server] for tier in TIERS]
    axes.stackplot([second.at for second in run.server], *stacks, labels=TIERS)
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
    right.set_ylabel("keys")
    right.set_ylim(bottom=0)
    right.legend(loc="upper right", fontsize=8)
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
    right.set_ylabel("cores")
    right.set_ylim(bottom=0)
    right.legend(loc="upper right", fontsize=8)
    return _finish(axes, "CPU ms a request")


def steps(run: RunData, axes: Axes) -> bool:
    """p99 of each step of the profile breakpoint."""
    found = breakpoint_steps(run.summary)
    if not found:
        return False
    axes.plot([step.rate for step in found], [step.p99_milliseconds for step in found], marker="o", label="p99")
    axes.axhline(SLO["latency_milliseconds"], color="red", linewidth=0.8, label="SLO for p99")
    axes.set_yscale("log")
    axes.set_xlabel("requests/s")
    axes.set_ylabel("ms")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)
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
