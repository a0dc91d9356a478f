"""`namePrefix` and `nameSuffix` on an overlay: every name of an object follows, wherever it stands."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.k8s.rendering import OVERLAYS, Object, all_but, identity, named, of_kind, with_components

PREFIX, SUFFIX = "before-", "-behind"
SETS = {
    "autoscaling": (*all_but("keda", "managed-redis"), "tracing/istio", "tracing/network-policies", "load-test/istio"),
    "keda": (*all_but("autoscaling", "redis-exporter", "managed-redis"), "load-test/k6-operator"),
    "managed redis": ("istio", "network-policies", "managed-redis", "managed-redis/network-policies"),
}
"""Every component, and those that take each other's place apart."""
NO_NAMES = ("labels", "matchLabels", "selector", "podTargetLabels", "image", "namespace", "expr", "OTEL_SERVICE_NAME")
"""Keys below which the same words stand for something else; labels stay, so that selectors do."""


@cache
def objects(overlay: str, components: str, *, renamed: bool) -> list[Object]:
    """An overlay with a set of components. In prod, Redis' password is a Secret that is made by hand."""
    changes = {"namePrefix": PREFIX, "nameSuffix": SUFFIX} if renamed else {}
    return with_components(overlay, *SETS[components], **changes)


def original_names(overlay: str, components: str) -> set[str]:
    """Names of all objects, those of generated ones without their hash."""
    rendered = objects(overlay, components, renamed=False)
    names = {thing["metadata"]["name"] for thing in rendered if thing["kind"] != "Namespace"}
    return {re.sub(r"-[0-9a-z]{10}$", "", name) for name in names} - {"default"}


def values(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, value) of each text below a node that could hold a name."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in NO_NAMES:
                yield from values(value, f"{path}.{key}")
    elif isinstance(node, list):
        for item in node:
            yield from values(item, path)
    elif isinstance(node, str):
        yield path, node


@pytest.mark.parametrize("components", SETS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_name_stays_behind(overlay: str, components: str) -> None:
    """Every object is renamed, and no reference to one is without prefix and suffix."""
    names = "|".join(sorted(original_names(overlay, components), key=len, reverse=True))
    left = re.compile(rf"(?:^|//|[@=,])(?:{names})(?=$|[:/,])")
    found = []
    for thing in objects(overlay, components, renamed=True):
        if thing["kind"] == "Namespace":  # kustomize leaves it alone
            continue
        name = thing["metadata"]["name"]
        assert name.startswith(PREFIX), identity(thing)
        assert SUFFIX in name, identity(thing)
        found += [
            (identity(thing), path, value)
            for path, value in values(thing, "")
            if left.search(value)
            and thing["kind"] != "PrometheusRule"
            and not (path.endswith("secretKeyRef.name") and overlay == "prod")
        ]
    assert found == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_find_the_renamed_gateway(overlay: str) -> None:
    """By the label that Istio gives to the pods of a Gateway: its name."""
    rendered = objects(overlay, "autoscaling", renamed=True)
    (policy,) = (
        thing for thing in of_kind(rendered, "NetworkPolicy") if "valence-gateway" in thing["metadata"]["name"]
    )
    selected = policy["spec"]["podSelector"]["matchLabels"]["gateway.networking.k8s.io/gateway-name"]
    assert selected == f"{PREFIX}valence-gateway{SUFFIX}"
    assert named(rendered, "Gateway", selected)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_alerts_find_the_renamed_objects(overlay: str) -> None:
    """Jobs are labels of Services; names from kube-state-metrics may have anything around them."""
    rendered = objects(overlay, "autoscaling", renamed=True)
    for monitor in of_kind(rendered, "ServiceMonitor"):
        assert monitor["spec"]["jobLabel"] == "app", identity(monitor)
    rules = str([thing["spec"] for thing in of_kind(rendered, "PrometheusRule")])
    patterns = set(re.findall(r'(deployment|horizontalpodautoscaler|pod)=~?"([^"]*)"', rules))
    assert len(patterns) == 3
    for _, pattern in patterns:
        assert re.fullmatch(pattern, f"{PREFIX}valence{SUFFIX}-7c9d8b6f5d-2xkqp"), pattern
