"""docs/findings.md and its pictures, from the folders of runs."""

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from load.report.data import SLO, RunData, read_run
from load.report.figures import draw_all
from load.report.findings import PREDICT, breakpoint_steps, findings, key_figures, verdict

SHOWN = {"mission": ("latency", "rate", "tiers", "redis"), "ramp": ("latency",)}
"""Run -> which of a report's figures stand in the page."""
TEMPLATES = Environment(  # noqa: S701 - Markdown, of our own figures
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def write_page(runs: Path, docs: Path, beside: str) -> None:
    """Write `docs/findings.md` and `docs/findings/*.png` anew, of all runs in the folder. Raises ReportError."""
    read = {folder.name: read_run(folder) for folder in sorted(runs.iterdir()) if (folder / "summary.json").exists()}
    pods = sorted((int(name.removeprefix("pods-")), run) for name, run in read.items() if name.startswith("pods-"))
    pictures = docs / "findings"
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    for name, shown in SHOWN.items():
        for figure, (image,) in draw_all([read[name]]).items():
            if image is not None and figure in shown:
                (pictures / f"{name}-{figure}.png").write_bytes(image)
    if pods:
        (pictures / "pods.png").write_bytes(draw_pods(pods))
    facts = read["mission"].facts
    page = TEMPLATES.get_template("page.md.j2").render(
        facts=facts,
        day=time.strftime("%d %B %Y", time.gmtime(facts["began"])).lstrip("0"),
        slo=SLO,
        beside=beside,
        rows=[row(name, run) for name, run in read.items() if name != "knee" and not name.startswith("pods-")],
        findings=findings(read["mission"]),
        steps=breakpoint_steps(read["knee"].summary),
        knee=verdict(read["knee"]),
        pods=[row(str(number), run) for number, run in pods],
        figures=sorted(path.name for path in pictures.glob("*.png")),
    )
    (docs / "findings.md").write_text(page, encoding="utf-8")


def row(name: str, run: RunData) -> dict[str, Any]:
    """One run as a row of a table."""
    figures = {key: figure.text.removesuffix(" ms") for key, figure in key_figures(run).items()}
    redis = [second.redis_bytes for second in run.server if second.redis_bytes is not None]
    return {
        "name": name,
        "seconds": round(run.facts["ended"] - run.facts["began"]),
        "verdict": verdict(run),
        "redis_mib": f"{redis[-1] / 2**20:.1f}" if redis else "-",
        "figures": figures,
    }


def draw_pods(pods: Sequence[tuple[int, RunData]]) -> bytes:
    """Latency, requests a second and Redis' memory by the number of pods, as a PNG."""
    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    latency, rate, redis = figure.subplots(1, 3)
    numbers = [number for number, _ in pods]
    for aggregate, label in (("med", "p50"), ("p(99)", "p99")):
        latency.plot(numbers, [run.summary[PREDICT][aggregate] for _, run in pods], marker="o", label=label)
    latency.legend(frameon=False)
    rate.plot(numbers, [run.summary["http_reqs"]["rate"] for _, run in pods], marker="o")
    sizes = [max((second.redis_bytes or 0 for second in run.server), default=0) / 2**20 for _, run in pods]
    redis.plot(numbers, sizes, marker="o")
    for axes, title in ((latency, "ms"), (rate, "requests/s"), (redis, "Redis MiB")):
        axes.set(title=title, xlabel="pods", xticks=numbers)
        axes.set_ylim(0)
        axes.grid(visible=True, alpha=0.3)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()
