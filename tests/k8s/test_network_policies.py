"""The network policies let in exactly who must come in, and out where they must go."""

import pytest

from tests.k8s.reachability import Peer, may_connect
from tests.k8s.rendering import Object, identity, named, of_kind, overlay, rendered

INGRESS = Peer({"istio": "ingressgateway"}, "istio-ingress")
PROMETHEUS = Peer({"app.kubernetes.io/name": "prometheus"}, "monitoring")
STRANGER = Peer({"app": "valence", "app.kubernetes.io/name": "prometheus"}, "default")
NEIGHBOUR = Peer({"app": "something-else"})
DNS = Peer({"k8s-app": "kube-dns"}, "kube-system")
DNS_CACHE = Peer({"k8s-app": "node-local-dns"}, "kube-system")
LINK_LOCAL = (Peer({}, "", address="169.254.20.10"), Peer({}, "", address="169.254.169.254"))
"""NodeLocal DNSCache and GKE's Cloud DNS, whose other ports are the metadata server's."""
ISTIOD = Peer({"app": "istiod"}, "istio-system")
COLLECTOR = Peer({"app": "collector"}, "observability")
OUTSIDE = Peer({}, "kube-system")


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """The prod overlay."""
    return overlay("prod")


@pytest.fixture(scope="module")
def api(objects: list[Object]) -> Peer:
    """A pod of the API."""
    return Peer.of(named(objects, "Deployment", "valence")["spec"]["template"])


@pytest.fixture(scope="module")
def redis(objects: list[Object]) -> Peer:
    """The pod of Redis."""
    return Peer.of(named(objects, "Deployment", "valence-redis")["spec"]["template"])


def test_each_port_of_the_api_has_its_callers(objects: list[Object], api: Peer, redis: Peer) -> None:
    """Requests from the ingress, metrics to Prometheus, nothing else from anyone."""
    callers = {"ingress": INGRESS, "prometheus": PROMETHEUS, "stranger": STRANGER, "neighbour": NEIGHBOUR}
    callers |= {"redis": redis, "api": api}
    allowed = {
        (name, port)
        for name, caller in callers.items()
        for port in (22, 8000, 9090, 15020, 15090)
        if may_connect(objects, caller, api, port)
    }
    assert allowed == {("ingress", 8000), ("prometheus", 9090), ("prometheus", 15090)}


def test_each_port_of_redis_has_its_callers(objects: list[Object], api: Peer, redis: Peer) -> None:
    """Keys for the API, metrics for Prometheus."""
    callers = {"ingress": INGRESS, "prometheus": PROMETHEUS, "stranger": STRANGER, "neighbour": NEIGHBOUR, "api": api}
    allowed = {
        (name, port)
        for name, caller in callers.items()
        for port in (6379, 9121, 15090)
        if may_connect(objects, caller, redis, port)
    }
    assert allowed == {("api", 6379), ("prometheus", 9121), ("prometheus", 15090)}


def test_nothing_leaves_but_what_must(objects: list[Object], api: Peer, redis: Peer) -> None:
    """Names and the mesh's control plane for all; spans from the API's sidecars; no way to the Internet."""
    for pod in (api, redis):
        for resolver in (DNS, DNS_CACHE, *LINK_LOCAL):
            assert may_connect(objects, pod, resolver, 53, "UDP")
            assert may_connect(objects, pod, resolver, 53)
            assert not may_connect(objects, pod, resolver, 80)
        assert may_connect(objects, pod, ISTIOD, 15012)
        assert not may_connect(objects, pod, DNS, 443)
        assert not may_connect(objects, pod, OUTSIDE, 443)
        assert not may_connect(objects, pod, STRANGER, 80)
    for port in (4317, 4318):
        assert may_connect(objects, api, COLLECTOR, port)
        assert not may_connect(objects, redis, COLLECTOR, port)
    assert not may_connect(objects, redis, api, 8000)


def test_a_managed_redis_is_reached_and_nothing_beside_it() -> None:
    """In its subnet, on its ports, by the API alone; nobody reaches a Redis in the cluster any more."""
    objects = rendered("managed redis")
    api = Peer.of(named(objects, "Deployment", "valence")["spec"]["template"])
    inside, outside = Peer({}, "", address="10.1.2.3"), Peer({}, "", address="192.0.2.1")
    assert may_connect(objects, api, inside, 6380)
    assert not may_connect(objects, api, inside, 443)
    assert not may_connect(objects, api, outside, 6380)
    assert not may_connect(objects, NEIGHBOUR, inside, 6380)
    assert not may_connect(objects, api, Peer({"app": "valence-redis"}), 6379)
    assert [identity(thing) for thing in objects if "valence-redis" in thing["metadata"]["name"]] == []


def test_a_training_reaches_mlflow_and_nobody_reaches_it() -> None:
    """And names, as every pod; neither the API nor Redis."""
    objects = rendered("trained")
    training = Peer.of(named(objects, "CronJob", "valence-training")["spec"]["jobTemplate"]["spec"]["template"])
    api = Peer.of(named(objects, "Deployment", "valence")["spec"]["template"])
    mlflow = Peer({"app": "mlflow"}, "mlflow")
    assert may_connect(objects, training, mlflow, 5000)
    assert may_connect(objects, training, DNS, 53, "UDP")
    assert not may_connect(objects, api, mlflow, 5000)
    assert not any(may_connect(objects, training, other, 5000) for other in (STRANGER, OUTSIDE))
    assert not may_connect(objects, training, api, 8000)
    assert not any(may_connect(objects, other, training, 8100) for other in (api, INGRESS, PROMETHEUS, STRANGER))


def test_without_the_policies_everyone_may(api: Peer) -> None:
    """Proves that the check can fail."""
    assert of_kind(overlay("dev"), "NetworkPolicy") == []
    assert may_connect(overlay("dev"), STRANGER, api, 8000)
