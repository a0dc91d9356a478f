"""The component `tracing`: spans reach Jaeger from every version of the API, and from nobody else."""

import pytest
import yaml

from tests.k8s.reachability import Peer, may_connect
from tests.k8s.rendering import (
    ALL,
    COMPOSITIONS,
    Object,
    api_templates,
    base_with,
    containers,
    named,
    of_kind,
    rendered,
)

TRACED = [name for name in ALL if "tracing" in COMPOSITIONS.get(name, ())]


def config_of(objects: list[Object], template: Object) -> dict[str, str]:
    """The ConfigMap that the API's container takes its environment from."""
    (source,) = template["spec"]["containers"][0]["envFrom"]
    data: dict[str, str] = named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return data


def jaeger(objects: list[Object]) -> Object:
    """The pod template of Jaeger."""
    template: Object = named(objects, "Deployment", "valence-jaeger")["spec"]["template"]
    return template


@pytest.mark.parametrize("order", [("canary", "tracing"), ("tracing", "canary")])
def test_every_version_sends_its_spans(order: tuple[str, str]) -> None:
    """To a port that Jaeger's Service has, sampled by the caller's word."""
    objects = base_with("istio", *order)
    settings = [config_of(objects, template) for _, template in api_templates(objects)]
    assert len(settings) == 2
    for _, template in api_templates(objects):
        (endpoint,) = (item for item in template["spec"]["containers"][0]["env"] if item["name"].startswith("OTEL_"))
        assert endpoint == {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://$(JAEGER_HOST):4318"}
    for environment in settings:
        service = named(objects, "Service", environment["JAEGER_HOST"])
        assert 4318 in {item["port"] for item in service["spec"]["ports"]}
        assert environment["OTEL_TRACES_SAMPLER"].startswith("parentbased_")


def test_it_leaves_cleanly() -> None:
    """Without the component no pod knows of it."""
    for name in set(ALL) - set(TRACED):
        for _, template in api_templates(rendered(name)):
            set_there = [
                *config_of(rendered(name), template),
                *(item["name"] for item in containers(template)[0].get("env", [])),
            ]
            assert [key for key in set_there if key.startswith(("OTEL_", "JAEGER_"))] == []


@pytest.mark.parametrize("name", TRACED)
def test_the_page_is_never_exposed(name: str) -> None:
    """It has no password: no Service has its port, no route leads to it."""
    objects = rendered(name)
    for service in of_kind(objects, "Service"):
        if service["spec"]["selector"].get("app") == "valence-jaeger":
            assert service["spec"]["type"] == "ClusterIP"
            assert {port["targetPort"] for port in service["spec"]["ports"]} == {"http-otlp", "grpc-otlp"}
    for route in of_kind(objects, "VirtualService", "HTTPRoute", "Gateway"):
        assert "jaeger" not in str(route["spec"])


def test_jaeger_listens_where_its_ports_are_and_keeps_a_bounded_number() -> None:
    """Its configuration and its Deployment name the same ports; its memory has two bounds."""
    objects = base_with("tracing")
    (config,) = (thing for thing in of_kind(objects, "ConfigMap") if "jaeger.yaml" in thing["data"])
    settings = yaml.safe_load(config["data"]["jaeger.yaml"])
    protocols = settings["receivers"]["otlp"]["protocols"]
    listens = [*protocols.values(), settings["extensions"]["healthcheckv2"]["http"]]
    (container,) = containers(jaeger(objects))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {f"0.0.0.0:{ports[name]}" for name in ("grpc-otlp", "http-otlp", "http-health")} == {
        listener["endpoint"] for listener in listens
    }
    assert settings["extensions"]["jaeger_storage"]["backends"]["memory"]["memory"]["max_traces"] <= 20_000
    (limit,) = (item["value"] for item in container["env"] if item["name"] == "GOMEMLIMIT")
    assert int(limit.removesuffix("MiB")) < int(container["resources"]["limits"]["memory"].removesuffix("Mi"))


def test_only_the_api_reaches_jaeger() -> None:
    """By both protocols; its page is reached by nobody, and it reaches nobody."""
    objects = rendered("traced")
    api = Peer.of(named(objects, "Deployment", "valence")["spec"]["template"])
    redis = Peer.of(named(objects, "Deployment", "valence-redis")["spec"]["template"])
    target = Peer.of(jaeger(objects))
    callers = {"api": api, "redis": redis, "stranger": Peer({"app": "valence"}, "default"), "other": Peer({"app": "x"})}
    allowed = {
        (name, port)
        for name, caller in callers.items()
        for port in target.ports.values()
        if may_connect(objects, caller, target, port)
    }
    assert allowed == {("api", 4317), ("api", 4318)}
    assert not may_connect(objects, target, api, 8000)
    assert not may_connect(objects, target, Peer({}, "default"), 443)


def test_the_mesh_lets_only_the_api_send_spans() -> None:
    """By its identity, to the two paths of OTLP, on ports that Jaeger has."""
    objects = rendered("traced")
    (rule,) = named(objects, "AuthorizationPolicy", "valence-jaeger")["spec"]["rules"]
    assert rule["from"] == [{"source": {"serviceAccounts": ["valence"]}}]
    ports = Peer.of(jaeger(objects)).ports
    asked = {port for item in rule["to"] for port in item["operation"]["ports"]}
    assert asked == {str(ports["http-otlp"]), str(ports["grpc-otlp"])}
    telemetry = named(objects, "Telemetry", "valence-tracing")
    assert telemetry["spec"]["selector"]["matchLabels"] == {"app": "valence"}
