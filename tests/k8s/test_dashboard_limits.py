"""The limits that dashboards draw are those of the promise, the manifests and the settings."""

import pytest

from app.settings import Settings
from tests.k8s.dashboards import DASHBOARDS, TARGETS, limits, panel
from tests.k8s.promise import departures, promise
from tests.k8s.rendering import base_with, named


def test_the_promise_is_that_of_the_load_test() -> None:
    """Constants, thresholds, buckets and words agree with load/slo.json."""
    promised = promise()
    constants = {
        item["name"]: item for item in DASHBOARDS["service"]["templating"]["list"] if item["type"] == "constant"
    }
    assert {name: float(item["query"]) for name, item in constants.items()} == {
        "availability": promised.availability,
        "latency_share": promised.latency_share,
    }
    assert all(item["current"]["value"] == item["query"] for item in constants.values())
    milliseconds = round(promised.latency_seconds * 1000)
    errors = pytest.approx(1 - promised.availability)
    assert limits(panel("service", "Answered without 5xx, 30 days")) == [promised.availability]
    assert limits(panel("service", f"Faster than {milliseconds} ms, 30 days")) == [promised.latency_share]
    assert limits(panel("service", "Server errors")) == [errors]
    assert limits(panel("service", "Latency of predictions")) == [promised.latency_seconds]
    assert limits(panel("mesh", "Latency")) == limits(panel("mesh", "p99")) == [milliseconds]
    assert limits(panel("mesh", "Without 5xx")) == [promised.availability]
    assert limits(panel("mesh", "Failures by source")) == [errors]
    assert f"{promised.availability * 100:g} %" in panel("service", "Answered without 5xx, 30 days")["description"]
    assert (
        f"{promised.latency_share * 100:g} %"
        in panel("service", f"Faster than {milliseconds} ms, 30 days")["description"]
    )
    assert [departures(target.expr) for target in TARGETS.values()] == [[]] * len(TARGETS)


def test_other_limits_are_those_of_the_manifests() -> None:
    """The autoscaler's target and the timeout of Redis are drawn where they are."""
    scaler = named(base_with("autoscaling"), "HorizontalPodAutoscaler", "valence")
    (metric,) = scaler["spec"]["metrics"]
    target = metric["containerResource"]["target"]["averageUtilization"] / 100
    assert limits(panel("service", "CPU use of the request")) == [target]
    timeout = Settings.model_fields["redis_timeout_seconds"].default
    assert limits(panel("cache-and-redis", "Time of one look-up")) == [timeout]
