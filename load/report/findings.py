"""A run in words and key figures."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from load.report.data import SLO, TIER_WORDS, TIERS, RunData

STEP = re.compile(r"http_req_duration\{scenario:rate_(\d+)\}")
BOUNDS = {
    "http_req_duration": "p99",
    "server_errors": "5xx",
    "refused": "refusals",
    "dropped_iterations": "requests that could not be sent",
}
"""What the thresholds of a step are about."""
PREDICT = "http_req_duration{phase:predict}"


@dataclass(frozen=True)
class Step:
    """One step of the profile breakpoint."""

    rate: int
    p99_milliseconds: float
    held: bool
    broke_by: tuple[str, ...] = ()
    """What crossed its bound: "p99", "5xx", "refusals", "requests that could not be sent"."""


def breakpoint_steps(summary: Mapping[str, Mapping[str, Any]]) -> list[Step]:
    """The steps that were run, lowest rate first, up to the one that broke."""
    steps = []
    for rate in sorted(int(match[1]) for name in summary if (match := STEP.fullmatch(name))):
        latency = summary[f"http_req_duration{{scenario:rate_{rate}}}"]
        if not latency["max"]:
            break
        # In k6's export true means that the threshold was crossed.
        crossed = tuple(
            words
            for name, words in BOUNDS.items()
            if any(summary.get(f"{name}{{scenario:rate_{rate}}}", {}).get("thresholds", {}).values())
        )
        steps.append(Step(rate, latency["p(99)"], not crossed, crossed))
        if crossed:
            break
    return steps


def slo_held(run: RunData) -> bool:
    """Whether this run kept the promise of slo.json."""
    fast = run.summary[PREDICT]["p(99)"] < SLO["latency_milliseconds"]
    return bool(fast and run.summary["server_errors"]["value"] <= 1 - SLO["availability"])


def verdict(run: RunData) -> str:
    """Whether the SLO held, in a few words; for breakpoint, up to which rate."""
    steps = breakpoint_steps(run.summary)
    if not steps:
        return "held" if slo_held(run) else "broken"
    held = [step.rate for step in steps if step.held]
    return f"held up to {held[-1]:,} requests/s" if held else f"broken at {steps[0].rate:,} requests/s"


class Figure(NamedTuple):
    """A figure by which runs are compared."""

    value: float
    form: str
    """How `str.format` writes it."""

    @property
    def text(self) -> str:
        """The figure as it is shown."""
        return self.form.format(self.value)


def key_figures(run: RunData) -> dict[str, Figure]:
    """The figures by which runs are compared."""
    summary, totals = run.summary, run.totals
    figures = {
        "requests": Figure(summary["http_reqs"]["count"], "{:,.0f}"),
        "requests/s": Figure(summary["http_reqs"]["rate"], "{:,.0f}"),
    }
    if "vus" in summary:  # absent in a run of less than a second
        figures["most virtual users at work"] = Figure(summary["vus"]["max"], "{:,.0f}")
    for title, name in (("all", PREDICT), ("warm", "latency_warm"), ("cold", "latency_cold")):
        for label, aggregate in (("p50", "med"), ("p95", "p(95)"), ("p99", "p(99)")):
            if name in summary:
                figures[f"{label}, {title} requests"] = Figure(summary[name][aggregate], "{:,.2f} ms")
    figures["5xx or no answer"] = Figure(summary["server_errors"]["value"] * 100, "{:.3f} %")
    if "refused" in summary:
        figures["refused (429)"] = Figure(summary["refused"]["value"] * 100, "{:.3f} %")
    texts = math.fsum(totals.get(tier, 0.0) for tier in TIERS)
    for tier, words in TIER_WORDS.items():
        if texts:
            figures[f"texts from {words}"] = Figure(totals[tier] / texts * 100, "{:.2f} %")
    if totals.get("requests") and "cpu_seconds" in totals:
        figures["CPU a request"] = Figure(totals["cpu_seconds"] / totals["requests"] * 1000, "{:.3f} ms")
    return figures


def findings(run: RunData) -> list[str]:
    """What this run shows, each with its figures."""
    summary = run.summary
    p99, errors = summary[PREDICT]["p(99)"], summary["server_errors"]["value"]
    kept = "held" if slo_held(run) else "did not hold"
    over = " over the whole run" if breakpoint_steps(run.summary) else ""
    promised = (
        f"{SLO['latency_share'] * 100:.0f} % below {SLO['latency_milliseconds']} ms",
        f"{SLO['availability'] * 100:.1f} %",
    )
    slo = (
        f"The SLO {kept}{over}: p99 {p99:.1f} ms (promised: {promised[0]}), {_percent(1 - errors, 3)} without 5xx "
        f"(promised: {promised[1]})."
    )
    return [*_early(run), slo, *_knee(run), *_cache(run), *_tiers(run), *_redis(run), *_cpu(run), *_counts(run)]


def _early(run: RunData) -> list[str]:
    if "k6_status" in run.facts:
        return []
    return [f"The run was ended after {run.facts['ended'] - run.facts['began']:.0f} s, before its time."]


def _knee(run: RunData) -> list[str]:
    steps = breakpoint_steps(run.summary)
    if not steps:
        return []
    last = steps[-1]
    why = "" if last.held else f" by {' and '.join(last.broke_by)} (p99 {last.p99_milliseconds:.1f} ms)"
    held = [step for step in steps if step.held]
    if not held:
        return [f"The SLO broke at the first step, {last.rate} requests/s,{why}."]
    broke = "was not broken" if last.held else f"broke at {last.rate} requests/s{why}"
    knee = f"The SLO held up to {held[-1].rate} requests/s (p99 {held[-1].p99_milliseconds:.1f} ms) and {broke}"
    return [f"{knee}. The figures of the whole run include all steps."]


def _cache(run: RunData) -> list[str]:
    lines = []
    if "latency_warm" in run.summary and "latency_cold" in run.summary:
        warm, cold = run.summary["latency_warm"]["med"], run.summary["latency_cold"]["med"]
        figures = f"{cold:.2f} against {warm:.2f} ms"
        lines.append(f"A cold request takes {cold / warm:.1f} times as long as a warm one ({figures}).")
    known = {kind: run.summary.get(f"cache_hits_{kind}") for kind in ("warm", "cold")}
    lines += [
        f"By X-Cache {_percent(metric['value'], 2)} of the texts in {kind} requests were known."
        for kind, metric in known.items()
        if metric
    ]
    return lines


def _tiers(run: RunData) -> list[str]:
    texts = math.fsum(run.totals.get(tier, 0.0) for tier in TIERS)
    if not texts:
        return []
    shares = ", ".join(f"{_percent(run.totals[tier] / texts, 2)} from {words}" for tier, words in TIER_WORDS.items())
    return [f"By the server's count {texts:,.0f} texts were scored: {shares}."]


def _redis(run: RunData) -> list[str]:
    sampled = [second for second in run.server if second.redis_keys is not None]
    if not sampled:
        return []
    first, last = sampled[0], sampled[-1]
    before, after = ((second.redis_bytes or 0) / 2**20 for second in (first, last))
    keys = (last.redis_keys or 0) - (first.redis_keys or 0)
    each = f": {(after - before) * 2**20 / keys:.0f} bytes a key" if keys > 0 else ""
    grown = f"from {first.redis_keys:,} to {last.redis_keys:,} keys and from {before:.1f} to {after:.1f} MiB"
    return [f"Redis went {grown}{each}."]


def _cpu(run: RunData) -> list[str]:
    used = [second.cpu_cores for second in run.server if second.cpu_cores is not None]
    if not used or not run.totals["requests"]:
        return []
    each = run.totals["cpu_seconds"] / run.totals["requests"] * 1000
    # Only of a service that it started does the run know the cores.
    of = f" of {run.facts['cores']}" if "workers" in run.facts else ""
    return [f"The server used {each:.3f} ms of CPU a request, at most {max(used):.2f}{of} cores."]


def _counts(run: RunData) -> list[str]:
    if "requests" not in run.totals:
        return ["The server's own metrics were not sampled."]
    sent, counted = run.summary["http_reqs"]["count"], run.totals["requests"]
    if run.facts.get("server_seen_by") == "Prometheus":
        return [
            f"k6 sent {sent:.0f} requests; Prometheus had seen {counted:.0f} of them by its last scrape within the run."
        ]
    if sent == counted:
        return [f"k6 sent {sent:,.0f} requests, as many as the server counted."]
    # k6 does not count what it interrupts at the end of a run: no more than one request of each user.
    interrupted = 0 < counted - sent <= run.summary.get("vus_max", {}).get("max", 0)
    why = "; the others were under way when k6 stopped" if interrupted else ""
    return [f"k6 sent {sent:,.0f} requests, not the same as the server counted ({counted:,.0f}){why}."]


def _percent(share: float, digits: int) -> str:
    return f"{share * 100:.{digits}f} %"
