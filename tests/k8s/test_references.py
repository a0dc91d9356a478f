"""What no schema sees: names that must meet other names."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.k8s.rendering import (
    ALL,
    Object,
    api_templates,
    containers,
    identity,
    named,
    of_kind,
    pod_templates,
    rendered,
    selects,
)


def port_names(template: Object) -> set[str]:
    """Names of the ports that a pod's containers open."""
    return {port["name"] for container in containers(template) for port in container.get("ports", [])}


def values(node: Any, key: str) -> Iterator[Any]:
    """Every value of this key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from values(item, key)


@pytest.mark.parametrize("name", ALL)
def test_services_and_budgets_select_pods(name: str) -> None:
    """Each Service, PodDisruptionBudget, and mesh policy for a workload finds at least one Deployment's pods."""
    objects = rendered(name)
    templates = dict(pod_templates(objects))
    for thing in of_kind(
        objects, "Service", "PodDisruptionBudget", "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"
    ):
        selector = thing["spec"].get("selector")
        if selector is None:  # a policy for the whole namespace
            continue
        labels = selector.get("matchLabels", selector)
        assert any(selects(labels, template["metadata"]["labels"]) for template in templates.values()), identity(thing)


@pytest.mark.parametrize("name", ALL)
def test_no_two_deployments_claim_the_same_pods(name: str) -> None:
    """The stable selector leaves the canary's pods alone: an autoscaler counts what the selector finds."""
    objects = rendered(name)
    for deployment in of_kind(objects, "Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        found = [
            owner for owner, template in pod_templates(objects) if selects(selector, template["metadata"]["labels"])
        ]
        assert found == [deployment["metadata"]["name"]]


@pytest.mark.parametrize("name", ALL)
def test_service_ports_exist_in_their_pods(name: str) -> None:
    """Every target port is a named port of each pod that the Service selects."""
    objects = rendered(name)
    for service in of_kind(objects, "Service"):
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        for owner, template in pod_templates(objects):
            if selects(service["spec"]["selector"], template["metadata"]["labels"]):
                assert targets <= port_names(template), f"{identity(service)} -> {owner}"


@pytest.mark.parametrize("name", ALL)
def test_probes_ask_ports_that_are_open(name: str) -> None:
    """Every probe names a port of its own container."""
    for owner, template in pod_templates(rendered(name)):
        for container in containers(template):
            own = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {}).get("httpGet", {}).get("port")
                assert asked is None or asked in own, f"{owner}/{container['name']}: {probe}"


@pytest.mark.parametrize("name", ALL)
def test_generated_names_are_referred_to(name: str) -> None:
    """Every ConfigMap and Secret that a pod asks for is there, or left to the user by design."""
    objects = rendered(name)
    there = {(thing["kind"], thing["metadata"]["name"]) for thing in of_kind(objects, "ConfigMap", "Secret")}
    # The password of Redis is no part of git: docs/deploy.md makes the Secret before the first apply.
    there |= {("Secret", "valence-redis")} if name != "dev" else set()
    there |= {("Secret", "valence-api-keys"), ("Secret", "valence-load-key")}  # nor are keys: the components' READMEs
    there |= {("Secret", "valence-mlflow"), ("ConfigMap", "valence-training-requests")}  # nor what is to be trained
    for owner, template in pod_templates(objects):
        asked = {("ConfigMap", ref["name"]) for ref in values(template, "configMapRef")}
        asked |= {("ConfigMap", volume["name"]) for volume in values(template, "configMap")}
        asked |= {("Secret", ref["name"]) for ref in values(template, "secretKeyRef")}
        asked |= {("Secret", volume["secretName"]) for volume in values(template, "secret")}
        asked |= {("Secret", ref["name"]) for ref in values(template, "secretRef")}
        assert asked, owner
        assert asked <= there, owner


@pytest.mark.parametrize("name", ALL)
def test_service_accounts_exist(name: str) -> None:
    """No pod runs as `default`, and no policy trusts an account that is not there."""
    objects = rendered(name)
    accounts = {account["metadata"]["name"] for account in of_kind(objects, "ServiceAccount")}
    assert {template["spec"]["serviceAccountName"] for _, template in pod_templates(objects)} == accounts
    for policy in of_kind(objects, "AuthorizationPolicy"):
        for trusted in values(policy, "serviceAccounts"):
            assert set(trusted) <= accounts


@pytest.mark.parametrize("name", ALL)
def test_service_monitors_find_a_service_and_its_port(name: str) -> None:
    """Each finds exactly one Service; the port may be missing only where a component brings it."""
    objects = rendered(name)
    for monitor in of_kind(objects, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (item for item in of_kind(objects, "Service") if selects(selector, item["metadata"]["labels"]))
        ports = {port["name"] for port in service["spec"]["ports"]}
        wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
        without_exporter = service["metadata"]["name"] == "valence-redis" and "http-metrics" not in ports
        assert wanted <= ports or without_exporter
        assert not (without_exporter and name in ("prod", "all, keda", "all, autoscaling"))


@pytest.mark.parametrize("name", ALL)
def test_monitors_and_rules_carry_the_release(name: str) -> None:
    """kube-prometheus-stack passes by whatever does not."""
    for thing in of_kind(rendered(name), "ServiceMonitor", "PodMonitor", "PrometheusRule"):
        assert thing["metadata"]["labels"]["release"] == "kube-prometheus-stack", identity(thing)


@pytest.mark.parametrize("name", ALL)
def test_pod_monitors_select_every_pod_of_ours(name: str) -> None:
    """The proxies of the API and of Redis are watched."""
    objects = rendered(name)
    ours = [*api_templates(objects), *(item for item in pod_templates(objects) if item[0] == "valence-redis")]
    for monitor in of_kind(objects, "PodMonitor"):
        for owner, template in ours:
            assert selects(monitor["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]), owner


@pytest.mark.parametrize("name", ALL)
def test_pods_are_scraped_once(name: str) -> None:
    """No pod has the annotation that would make its sidecar serve our metrics a second time."""
    for owner, template in pod_templates(rendered(name)):
        annotations = template["metadata"].get("annotations", {})
        assert not [key for key in annotations if key.startswith("prometheus.io/")], owner


@pytest.mark.parametrize("name", [name for name in ALL if name == "prod" or "all" in name or "istio" in name])
def test_routes_lead_to_a_service_and_a_subset(name: str) -> None:
    """Every destination of the VirtualServices exists; subsets have pods, or no route without a component."""
    objects = rendered(name)
    rule = named(objects, "DestinationRule", "valence")
    subsets = {subset["name"]: subset["labels"] for subset in rule["spec"]["subsets"]}
    for route in of_kind(objects, "VirtualService"):
        for destination in values(route, "destination"):
            service = named(objects, "Service", destination["host"])
            assert destination["port"]["number"] in {port["port"] for port in service["spec"]["ports"]}
            labels = subsets[destination["subset"]]
            assert any(selects(labels, template["metadata"]["labels"]) for _, template in pod_templates(objects))


@pytest.mark.parametrize("name", ["all, keda", "all, autoscaling"])
def test_routes_of_the_gateway_api_lead_to_a_service(name: str) -> None:
    """Every backend exists, and every parent is a listener that is there."""
    objects = rendered(name)
    gateways = [thing for thing in of_kind(objects, "Gateway") if thing["apiVersion"].startswith("gateway.")]
    listeners = {(thing["metadata"]["name"], item["name"]) for thing in gateways for item in thing["spec"]["listeners"]}
    for route in of_kind(objects, "HTTPRoute"):
        assert {(parent["name"], parent["sectionName"]) for parent in route["spec"]["parentRefs"]} <= listeners
        for backends in values(route, "backendRefs"):
            for backend in backends:
                ports = named(objects, "Service", backend["name"])["spec"]["ports"]
                assert backend["port"] in {port["port"] for port in ports}
