"""A run in words and key figures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from load.report_data import SLO, TIERS, RunData

STEP = re.compile(r"http_req_duration\{scenario:rate_(\d+)\}")
PREDICT = "http_req_duration{phase:predict}"


@dataclass(frozen=True)
class Step:
    """One step of the profile breakpoint."""

    rate: int
    p99_milliseconds: float
    held: bool


def breakpoint_steps(summary: Mapping[str, Mapping[str, Any]]) -> list[Step]:
    """The steps that were run, lowest rate first, up to the one that broke."""
    steps = []
    for rate in sorted(int(match[1]) for name in summary if (match := STEP.fullmatch(name))):
        metrics = [metric for name, metric in summary.items() if name.endswith(f"{{scenario:rate_{rate}}}")]
        latency = summary[f"http_req_duration{{scenario:rate_{rate}}}"]
        if not latency["max"]:
            break
        # In k6's export true means that the threshold was crossed.
        held = not any(crossed for metric in metrics for crossed in metric.get("thresholds", {}).values())
        steps.append(Step(rate, latency["p(99)"], held))
        if not held:
            break
    return steps


def slo_held(run: RunData) -> bool:
    """Whether this run kept the promise of slo.json."""
    fast = run.summary[PREDICT]["p(99)"] < SLO["latency_milliseconds"]
    return bool(fast and run.summary["server_errors"]["value"] <= 1 - SLO["availability"])


def key_figures(run: RunData) -> dict[str, str]:
    """The figures by which runs are compared, as text."""
    summary, totals = run.summary, run.totals
    figures = {
        "requests": f"{summary['http_reqs']['count']:.0f}",
        "requests/s": f"{summary['http_reqs']['rate']:.0f}",
        "most virtual users": f"{summary['vus_max']['max']:.0f}",
    }
    for title, name in (("all", PREDICT), ("warm", "latency_warm"), ("cold", "latency_cold")):
        if name in summary:
            values = (summary[name][aggregate] for aggregate in ("med", "p(95)", "p(99)"))
            figures[f"p50 / p95 / p99 ms, {title}"] = " / ".join(f"{value:.2f}" for value in values)
    figures["5xx or no answer"] = _percent(summary["server_errors"]["value"], 3)
    if "refused" in summary:
        figures["refused (429)"] = _percent(summary["refused"]["value"], 3)
    texts = sum(totals.get(tier, 0.0) for tier in TIERS)
    if texts:
        shares = " / ".join(_percent(totals[tier] / texts, 2) for tier in TIERS)
        figures["texts from memory / Redis / another's inference / model"] = shares
    if totals.get("requests") and "cpu_seconds" in totals:
        figures["CPU ms a request"] = f"{totals['cpu_seconds'] / totals['requests'] * 1000:.3f}"
    return figures


def findings(run: RunData) -> list[str]:
    """What this run shows, each with its figures."""
    summary = run.summary
    p99, errors = summary[PREDICT]["p(99)"], summary["server_errors"]["value"]
    verdict = "held" if slo_held(run) else "did not hold"
    promised = f"{SLO['latency_share']:.0%} below {SLO['latency_milliseconds']} ms", f"{SLO['availability']:.1%}"
    slo = (
        f"The SLO {verdict}: p99 {p99:.1f} ms (promised: {promised[0]}), {_percent(1 - errors, 3)} without 5xx "
        f"(promised: {promised[1]})."
    )
    return [*_early(run), slo, *_knee(run), *_cache(run), *_redis(run), *_cpu(run), *_counts(run)]


def _early(run: RunData) -> list[str]:
    if "k6_status" in run.facts:
        return []
    return [f"The run was ended after {run.facts['ended'] - run.facts['began']:.0f} s, before its time."]


def _knee(run: RunData) -> list[str]:
    steps = breakpoint_steps(run.summary)
    held = [step for step in steps if step.held]
    if not held:
        return [f"The SLO broke at the first step, {steps[0].rate} requests/s."] if steps else []
    broke = f"broke at {steps[-1].rate} requests/s" if not steps[-1].held else "was not broken"
    knee = f"The SLO held up to {held[-1].rate} requests/s (p99 {held[-1].p99_milliseconds:.1f} ms) and {broke}"
    return [f"{knee}; the figures of the whole run include the step that broke."]


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


def _redis(run: RunData) -> list[str]:
    sampled = [second for second in run.server if second.redis_keys is not None]
    if not sampled:
        return []
    first, last = sampled[0], sampled[-1]
    before, after = ((second.redis_bytes or 0) / 2**20 for second in (first, last))
    return [f"Redis went from {first.redis_keys} to {last.redis_keys} keys and from {before:.1f} to {after:.1f} MiB."]


def _cpu(run: RunData) -> list[str]:
    used = [second.cpu_cores for second in run.server if second.cpu_cores is not None]
    if not used or not run.totals["requests"]:
        return []
    each = run.totals["cpu_seconds"] / run.totals["requests"] * 1000
    return [f"The server used {each:.3f} ms of CPU a request, at most {max(used):.2f} of {run.facts['cores']} cores."]


def _counts(run: RunData) -> list[str]:
    if "requests" not in run.totals:
        return ["The server's own metrics were not sampled."]
    sent, counted = run.summary["http_reqs"]["count"], run.totals["requests"]
    if run.facts.get("server_seen_by") == "Prometheus":
        return [
            f"k6 sent {sent:.0f} requests; Prometheus had seen {counted:.0f} of them by its last scrape within the run."
        ]
    same = "as many as" if sent == counted else "not the same as"
    return [f"k6 sent {sent:.0f} requests, {same} the server counted ({counted:.0f})."]


def _percent(share: float, digits: int) -> str:
    return f"{share * 100:.{digits}f} %"
