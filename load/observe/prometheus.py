"""The server's metrics over the time of a run from a Prometheus, in the shape of load/observe/sampling.py."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

MAX_POINTS = 5_000
"""Fewer than the 11,000 that Prometheus gives for one series."""
TIMEOUT_SECONDS = 30
NAMES = "http_requests_total|valence_cache_texts_total|process_cpu_seconds_total|process_resident_memory_bytes"
LABELS = ("method", "route", "status", "source")


class PrometheusError(Exception):
    """It could not be asked, or answered with an error."""


def query_samples(url: str, selector: str, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Samples between the `began` and `ended` of the run, summed over the pods that `selector` (`namespace="x"`) names.

    Raises PrometheusError.
    """
    matchers = ",".join(filter(None, (f'__name__=~"{NAMES}"', selector)))
    step = max(1.0, (facts["ended"] - facts["began"]) / MAX_POINTS)
    query = f"sum by (__name__,{','.join(LABELS)}) ({{{matchers}}})"
    series = query_range(url, query, facts["began"], facts["ended"], step)
    samples: dict[float, dict[str, float]] = defaultdict(dict)
    for one in series:
        labels = {name: value for name, value in one["metric"].items() if name != "__name__"}
        inner = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
        name = one["metric"]["__name__"] + (f"{{{inner}}}" if inner else "")
        for moment, value in one["values"]:
            samples[moment][name] = float(value)
    return [{"time": moment, "metrics": samples[moment]} for moment in sorted(samples)]


def query_range(url: str, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
    """The series of a query, each with `metric` (labels) and `values` (pairs of time and text); times in seconds.

    Raises PrometheusError.
    """
    return _ask(url, "query_range", query=query, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:.3f}")


def query_now(url: str, query: str) -> list[dict[str, Any]]:
    """The series of a query, each with `metric` (labels) and `value` (time and text). Raises PrometheusError."""
    return _ask(url, "query", query=query)


def _ask(url: str, endpoint: str, **parameters: str) -> list[dict[str, Any]]:
    address = f"{url.rstrip('/')}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - the user named it
            series: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as exc:
        raise PrometheusError(f"PROMETHEUS_URL={url}: {exc.read(1000).decode(errors='replace')}") from exc
    except (OSError, ValueError, KeyError) as exc:
        raise PrometheusError(f"PROMETHEUS_URL={url}: {exc}") from exc
    return series
