"""Who decides how many pods there are, and that there is one who does."""

import pytest

from app.telemetry import metrics
from tests.k8s.rendering import ALL, Object, base_with, named, of_kind, overlay, rendered
from tests.k8s.schemas import validate_core


@pytest.mark.parametrize("name", ALL)
def test_at_most_one_scaler_targets_a_deployment_that_exists(name: str) -> None:
    """An HPA or a ScaledObject, whose target is there and leaves its number of pods alone."""
    objects = rendered(name)
    scalers = of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    assert len(scalers) <= 1
    for scaler in scalers:
        target = named(objects, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"]


def test_the_autoscaler_measures_a_container_that_exists() -> None:
    """CPU of the API's own container, against a request that it has."""
    objects = base_with("autoscaling")
    scaler = named(objects, "HorizontalPodAutoscaler", "valence")
    (metric,) = scaler["spec"]["metrics"]
    (api,) = named(objects, "Deployment", "valence")["spec"]["template"]["spec"]["containers"]
    assert metric["containerResource"]["container"] == api["name"]
    assert "cpu" in api["resources"]["requests"]


def test_the_overlay_says_how_few_pods_there_may_be() -> None:
    """One by the component, two in prod, six at most in both."""

    def bounds(objects: list[Object]) -> tuple[int, int]:
        spec = named(objects, "HorizontalPodAutoscaler", "valence")["spec"]
        return spec["minReplicas"], spec["maxReplicas"]

    assert bounds(base_with("autoscaling")) == (1, 6)
    assert bounds(overlay("prod")) == (2, 6)


def test_the_scaled_object_is_a_valid_autoscaler() -> None:
    """KEDA makes an HPA of it: that HPA passes the schema, and its query names a metric that the service has."""
    (scaled,) = of_kind(base_with("keda"), "ScaledObject")
    spec = scaled["spec"]
    allowed = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "fallback", "advanced"}
    assert set(spec) <= allowed | {"triggers"}
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "prometheus"
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold", "ignoreNullValues"}
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    (in_flight,) = metrics.IN_FLIGHT.collect()
    assert f'{in_flight.name}{{job="valence",namespace="valence"}}' in trigger["metadata"]["query"]
    validate_core(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "keda-hpa-valence"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **spec["scaleTargetRef"]},
                "minReplicas": spec["minReplicaCount"],
                "maxReplicas": spec["maxReplicaCount"],
                **spec["advanced"]["horizontalPodAutoscalerConfig"],
            },
        }
    )
