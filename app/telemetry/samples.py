"""Metrics read back: what a registry holds, by name, and quantiles of its histograms."""

import math
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

Samples = dict[str, list[tuple[Mapping[str, str], float]]]
"""(labels, value) of every series, by the name of the sample, such as `http_requests_total`."""


def read(registry: CollectorRegistry) -> Samples:
    """Every sample by its name."""
    samples: Samples = {}
    for metric in registry.collect():
        for sample in metric.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def total(samples: Samples, name: str) -> int:
    """The sum of a metric's samples, 0 without any."""
    return int(sum(value for _, value in samples.get(name, [])))


def by_label(samples: Samples, name: str, label: str) -> dict[str, int]:
    """A metric's samples by the value of one label."""
    return {labels[label]: int(value) for labels, value in samples.get(name, [])}


def quantile(q: float, buckets: Sequence[tuple[float, int]]) -> float:
    """The q-quantile of cumulative (bound, count), by interpolation within its bucket; infinite without a request.

    Beyond the last finite bound it is that bound: at least so much.
    """
    if not buckets or buckets[-1][1] == 0:
        return math.inf
    rank, lower, below = q * buckets[-1][1], 0.0, 0
    for bound, count in buckets:
        if count >= rank and count > below:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    raise AssertionError("the last bucket holds every request")
