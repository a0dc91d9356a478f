"""Metrics read back: series by name, and quantiles of histograms."""

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge

from app.http.summary import by_label, quantile, total
from app.telemetry.exposition import read

BOUNDS = (0.1, 1.0, 10.0, math.inf)


def test_series_are_found_by_name_and_label() -> None:
    """Counters under the name that `/metrics` prints; what is not there counts nothing."""
    registry = CollectorRegistry()
    counter = Counter("texts", "Texts.", ["source"], registry=registry)
    counter.labels("memory").inc(3)
    counter.labels("model").inc()
    Gauge("waiting", "Texts.", registry=registry).set(7)
    samples = read(registry)
    assert by_label(samples, "texts_total", "source") == {"memory": 3, "model": 1}
    assert (total(samples, "texts_total"), total(samples, "waiting"), total(samples, "nothing")) == (4, 7, 0)
    assert by_label(samples, "nothing", "source") == {}


@pytest.mark.parametrize(
    ("q", "counts", "expected"),
    [
        (0.5, (4, 0, 0, 0), 0.05),  # the middle of the only bucket, which begins at 0
        (0.5, (0, 2, 0, 0), 0.55),
        (0.99, (50, 50, 0, 0), 0.982),
        (0.5, (1, 0, 1, 0), 0.1),  # exactly at a bound
        (0.99, (0, 0, 0, 5), 10.0),  # beyond the last bound
        (0.5, (0, 0, 0, 0), math.inf),
    ],
)
def test_quantile_is_interpolated_within_its_bucket(q: float, counts: tuple[int, ...], expected: float) -> None:
    """As PromQL's histogram_quantile has it."""
    assert quantile(q, list(zip(BOUNDS, accumulate(counts), strict=True))) == pytest.approx(expected)


def test_quantile_of_no_bucket_is_unknown() -> None:
    """Before the first request there is no series."""
    assert quantile(0.5, []) == math.inf


@given(st.lists(st.floats(0.001, 9.9), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    """However the values lie: between the bounds around the value of that rank."""
    buckets = [(bound, sum(value <= bound for value in values)) for bound in BOUNDS]
    true = sorted(values)[math.ceil(q * len(values)) - 1]
    lower = max([bound for bound in (0.0, *BOUNDS) if bound < true])
    upper = min(bound for bound in BOUNDS if bound >= true)
    assert lower <= quantile(q, buckets) <= upper * (1 + 1e-12)  # 0.1 * 3 / 3 is no 0.1
