"""A run's folder, read: what k6 recorded, what the server said of itself, and on which machine."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

SLO = json.loads((Path(__file__).parent.parent / "slo.json").read_text(encoding="utf-8"))
PREDICT_REQUESTS = 'http_requests_total{method="POST",route="/predict"'
TIER_WORDS = {"memory": "memory", "redis": "Redis", "coalesced": "another's inference", "model": "the model"}
TIERS = tuple(TIER_WORDS)
SHORTEST_SECONDS = 0.5
"""A rate over less, as at the end of a run, says nothing."""
Row = dict[str, dict[str, float]]
"""One second of k6: metric -> aggregate ("rate", "p(99)", "value" ...) -> value."""


class ReportError(Exception):
    """The folder is no run's; names the file that is missing or broken."""


@dataclass(frozen=True)
class ClientSecond:
    """What k6 saw in about one second, `at` seconds after the run began."""

    at: float
    metrics: Row


@dataclass(frozen=True)
class ServerInterval:
    """What changed between two samples of the server; None: not sampled."""

    at: float
    requests_per_second: float
    texts_by_tier: dict[str, float]
    cpu_cores: float | None
    cpu_ms_per_request: float | None
    redis_keys: int | None
    redis_bytes: int | None
    replicas: int | None
    """Pods that were ready."""
    scaler_wants: int | None
    scaler_reading: float | None
    """What the autoscaler saw, as a share of its target."""


@dataclass(frozen=True)
class RunData:
    """Everything a report needs."""

    facts: dict[str, Any]
    summary: dict[str, dict[str, Any]]
    client: list[ClientSecond]
    server: list[ServerInterval]
    totals: dict[str, float]
    """Over the whole run, by the server: `requests` (POST /predict), the tiers' texts, `cpu_seconds` if sampled."""


def read_run(folder: Path) -> RunData:
    """Read a folder that `python -m load.run` wrote. Raises ReportError."""
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["metrics"]
        client = read_recording((folder / "k6.ndjson").read_text(encoding="utf-8").splitlines(), facts["began"])
        samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
        watched = read_cluster(folder / "cluster.csv")
    except (OSError, ValueError, KeyError) as exc:
        raise ReportError(f"{folder} is not the folder of a run: {exc}") from exc
    for sample in samples:
        if row := next((row for at, row in reversed(watched) if at <= sample["time"]), None):
            sample.setdefault("cluster", row)
    usable = [sample for sample in samples if "metrics" in sample]
    pairs = list(pairwise(usable))
    long = [(before, after) for before, after in pairs if after["time"] - before["time"] >= SHORTEST_SECONDS]
    server = [interval(before, after, facts["began"]) for before, after in long]
    totals = changes(usable[0], usable[-1]) if pairs else {}
    return RunData(facts, summary, client, server, totals)


def read_cluster(file: Path) -> list[tuple[float, dict[str, float | None]]]:
    """The rows of `load.observe.cluster`, each with its time in seconds since 1970; none where nothing watched."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    times = [datetime.fromisoformat(row.pop("time")).timestamp() for row in rows]
    states = [{name: float(cell) if cell else None for name, cell in row.items()} for row in rows]
    return list(zip(times, states, strict=True))


def read_recording(lines: Iterable[str], began: float) -> list[ClientSecond]:
    """The snapshots of k6's dashboard recording.

    A snapshot is a list with the values of each metric known so far, by name; which aggregates these are depends on the
    metric's type and stands in the first event.
    """
    aggregates: dict[str, list[str]] = {}
    types: dict[str, str] = {}
    rows: list[ClientSecond] = []
    for line in lines:
        event, data = (parsed := json.loads(line))["event"], parsed["data"]
        if event == "param":
            aggregates = data["aggregates"]
        elif event == "metric":
            types |= {name: metric["type"] for name, metric in data.items()}
        elif event == "snapshot":
            values = zip(sorted(types), data, strict=False)
            row = {name: dict(zip(aggregates[types[name]], value, strict=False)) for name, value in values if value}
            at = row["time"]["value"] / 1000 - began
            # A k6 that is late divides by a second all the same: its rates would be too high.
            if rows and (seconds := at - rows[-1].at) > 0:
                for metric in row.values():
                    if "count" in metric:
                        metric["rate"] = metric["count"] / seconds
            rows.append(ClientSecond(at, row))
    return rows


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """What the counters of two samples differ by."""
    old, new = before["metrics"], after["metrics"]

    def grown(start: str) -> float:
        return math.fsum(value - old.get(name, 0.0) for name, value in new.items() if name.startswith(start))

    found = {tier: grown(f'valence_cache_texts_total{{source="{tier}"') for tier in TIERS}
    found["requests"] = grown(PREDICT_REQUESTS)
    # All processes if they could be seen; else what a single worker says of itself.
    if "cpu_seconds" in before and "cpu_seconds" in after:
        found["cpu_seconds"] = after["cpu_seconds"] - before["cpu_seconds"]
    elif any(name.startswith("process_cpu_seconds_total") for name in new):
        found["cpu_seconds"] = grown("process_cpu_seconds_total")
    return found


def interval(before: Mapping[str, Any], after: Mapping[str, Any], began: float) -> ServerInterval:
    """Two samples -> rates between them."""
    seconds = max(after["time"] - before["time"], 1e-9)
    change = changes(before, after)
    cpu, requests = change.get("cpu_seconds"), change["requests"]
    redis, cluster = after.get("redis", {}), after.get("cluster", {})
    reading, target = cluster.get("scaler_current"), cluster.get("scaler_target")
    return ServerInterval(
        at=after["time"] - began,
        requests_per_second=requests / seconds,
        texts_by_tier={tier: change[tier] / seconds for tier in TIERS},
        cpu_cores=None if cpu is None else cpu / seconds,
        cpu_ms_per_request=None if cpu is None or not requests else cpu / requests * 1000,
        redis_keys=redis.get("keys"),
        redis_bytes=redis.get("bytes"),
        replicas=cluster.get("ready"),
        scaler_wants=cluster.get("scaler_wants"),
        scaler_reading=reading / target if reading is not None and target else None,
    )
