"""Metrics without locks against prometheus-client's own: the same events, the same exposition."""

import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest as text
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from app.telemetry.unlocked import UnlockedCounter, UnlockedGauge, UnlockedHistogram

BOUNDS = (0.001, 0.0025, 0.5, 1, 2.5, 30.0)
LABELS = st.tuples(st.sampled_from(["/predict", 'a "quoted"\n\\ one', "é"]), st.sampled_from([200, 503]))
SECONDS = st.one_of(st.floats(0, 50), st.sampled_from(BOUNDS), st.integers(0, 50))
EXEMPLARS = st.none() | st.fixed_dictionaries({"trace_id": st.text("0123456789abcdef", min_size=32, max_size=32)})
TIMESTAMP = re.compile(r"(?<=} )(\S+) \d+\.\d+$", re.MULTILINE)
"""Of an exemplar, behind its value."""


def exposed(metric: Any) -> tuple[str, ...]:
    """A metric as both formats have it, without the moments of its creation and of its exemplars."""
    registry = CollectorRegistry()
    registry.register(metric)
    both = (form(registry).decode() for form in (text, openmetrics))
    return tuple(TIMESTAMP.sub(r"\1", re.sub(r"^.*_created.*\n", "", one, flags=re.MULTILINE)) for one in both)


def alike(ours: type, theirs: type, change: Callable[[Any], None], *names: str, **options: Any) -> None:
    """Both, after the same changes, look the same; and so they did before."""
    one = ours("valence_test", "A metric of this test.", names, **options)
    REGISTRY.unregister(one)
    other = theirs("valence_test", "A metric of this test.", names, registry=None, **options)
    assert exposed(one) == exposed(other)
    change(one)
    change(other)
    assert exposed(one) == exposed(other)


@settings(deadline=None)
@given(st.lists(st.tuples(LABELS, SECONDS)))
def test_counter(events: list[tuple[tuple[str, int], float]]) -> None:
    """With labels of any characters, and amounts of any kind."""

    def change(counter: Any) -> None:
        for labels, amount in events:
            counter.labels(*labels).inc(amount)
            counter.labels(*labels).inc()

    alike(UnlockedCounter, Counter, change, "route", "status")


def test_a_series_can_be_removed() -> None:
    """And may come again; one that is not there is no fault of ours, and none of prometheus-client's."""

    def change(gauge: Any) -> None:
        for route in ("/old", "/new"):
            gauge.labels(route).set(1)
        gauge.remove("/old")
        gauge.remove("/never")

    alike(UnlockedGauge, Gauge, change, "route")


@settings(deadline=None)
@given(st.lists(SECONDS), st.integers(0, 5))
def test_gauge(amounts: list[float], less: int) -> None:
    """There from the start, as it has no labels; up and down."""

    def change(gauge: Any) -> None:
        for amount in amounts:
            gauge.inc(amount)
        for _ in range(less):
            gauge.dec()

    alike(UnlockedGauge, Gauge, change, multiprocess_mode="livesum")


@settings(deadline=None)
@given(st.lists(st.tuples(LABELS, SECONDS, EXEMPLARS)))
def test_histogram(events: list[tuple[tuple[str, int], float, dict[str, str] | None]]) -> None:
    """Values between the bounds, on them and beyond; the last exemplar of each bucket."""

    def change(histogram: Any) -> None:
        for labels, seconds, exemplar in events:
            histogram.labels(*labels).observe(seconds, exemplar)

    alike(UnlockedHistogram, Histogram, change, "route", "status", buckets=BOUNDS)


@settings(deadline=None)
@given(st.lists(SECONDS))
def test_histogram_without_labels(values: list[float]) -> None:
    """There from the start."""

    def change(histogram: Any) -> None:
        for value in values:
            histogram.observe(value)

    alike(UnlockedHistogram, Histogram, change, buckets=BOUNDS)
