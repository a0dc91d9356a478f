"""Metrics without locks, which one event loop alone changes: they take a fifth of prometheus-client's time.

A cache hit changes ten of them, and a fifth of its time would go into locks. Several workers share their values in
files, which only prometheus-client's own metrics write: `app/telemetry/metrics.py` takes those then.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString


class Number:
    """One series of a counter or a gauge."""

    value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        self.value += amount

    def dec(self) -> None:
        """Take one from it."""
        self.value -= 1

    def set(self, value: float) -> None:
        """Replace it."""
        self.value = value


class Observations:
    """One series of a histogram."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: list[Any] = [None] * len(self.counts)
        self.sum = 0.0

    def observe(self, value: float, exemplar: dict[str, str] | None = None) -> None:
        """Count one value."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        if exemplar is not None:
            self.exemplars[bucket] = Exemplar(exemplar, value, time.time())


class UnlockedCounter(Collector):
    """A counter with its series; takes what prometheus-client's takes, and registers itself."""

    family: type[CounterMetricFamily | GaugeMetricFamily] = CounterMetricFamily

    def __init__(self, name: str, text: str, labelnames: Sequence[str] = (), **_: str) -> None:
        self._described = name, text, None, labelnames
        self._series: dict[tuple[str, ...], Number] = {}
        REGISTRY.register(self)
        if not labelnames:
            number = self.labels()
            self.inc, self.dec, self.set = number.inc, number.dec, number.set

    def labels(self, *values: object) -> Number:
        """The series with these labels."""
        return self._series.setdefault(tuple(map(str, values)), Number())

    def remove(self, *values: object) -> None:
        """Forget the series with these labels."""
        self._series.pop(tuple(map(str, values)), None)

    def collect(self) -> Iterable[Metric]:
        """Read at each scrape, in another thread."""
        family = self.family(*self._described)
        for values, number in list(self._series.items()):
            family.add_metric(values, number.value)
        yield family


class UnlockedGauge(UnlockedCounter):
    """The same for a gauge."""

    family = GaugeMetricFamily


class UnlockedHistogram(Collector):
    """The same for a histogram."""

    def __init__(self, name: str, text: str, labelnames: Sequence[str] = (), *, buckets: Sequence[float]) -> None:
        self._described = name, text, None, None, labelnames
        self._buckets = buckets
        self._series: dict[tuple[str, ...], Observations] = {}
        REGISTRY.register(self)
        if not labelnames:
            self.observe = self.labels().observe

    def labels(self, *values: object) -> Observations:
        """The series with these labels."""
        return self._series.setdefault(tuple(map(str, values)), Observations(self._buckets))

    def collect(self) -> Iterable[Metric]:
        """Read at each scrape, in another thread."""
        family = HistogramMetricFamily(*self._described)
        bounds = [*map(floatToGoString, self._buckets), "+Inf"]
        for values, seen in list(self._series.items()):
            counts = accumulate(seen.counts)
            family.add_metric(values, list(zip(bounds, counts, seen.exemplars, strict=True)), seen.sum)
        yield family
