"""Settings, probes and the seconds that must fit into one another."""

import re

import pytest
from opentelemetry.sdk import environment_variables

from app.settings import PREFIX, Settings
from tests.k8s.rendering import ALL, COMPOSITIONS, OVERLAYS, Object, api_templates, named, of_kind, rendered

EXPANDED = re.compile(r"\$\((\w+)\)")
"""A part that the kubelet takes from the ConfigMap or the Secret."""
WITH_ISTIO = [name for name in ALL if name == "prod" or "istio" in COMPOSITIONS.get(name, ())]


def settings_of(objects: list[Object]) -> dict[str, str]:
    """The environment that the ConfigMap gives the API."""
    (config,) = (thing for thing in of_kind(objects, "ConfigMap") if PREFIX + "TIMEOUT" in thing["data"])
    data: dict[str, str] = config["data"]
    return data


def seconds(value: str) -> float:
    """12 of "12s"."""
    match = re.fullmatch(r"(\d+)s", value)
    assert match, value
    return float(match[1])


@pytest.mark.parametrize("name", ALL)
def test_every_setting_is_known_and_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a setting of the service, of OpenTelemetry's SDK or MLflow's client, or a part of another's value."""
    objects = rendered(name)
    api = named(objects, "Deployment", "valence")["spec"]["template"]["spec"]["containers"][0]
    config = settings_of(objects) | {"REDIS_PASSWORD": "secret"}
    values = {item["name"]: item["value"] for item in api["env"] if "value" in item}
    parts = {name for value in values.values() for name in EXPANDED.findall(value)}
    assert parts <= set(config)
    environment = config | {name: EXPANDED.sub(lambda part: config[part[1]], value) for name, value in values.items()}
    # Each constant of OpenTelemetry has the name of its variable.
    theirs = set(vars(environment_variables)) | {"MLFLOW_TRACKING_URI"} | parts
    assert {key for key in environment if key not in theirs} <= {PREFIX + key.upper() for key in Settings.model_fields}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert Settings().timeout == float(environment[PREFIX + "TIMEOUT"])


@pytest.mark.parametrize("name", ALL)
def test_the_grace_period_holds_the_whole_farewell(name: str) -> None:
    """preStop, drain, the longest request and gunicorn's own 5 s end before the kubelet kills."""
    objects = rendered(name)
    settings = settings_of(objects)
    for owner, template in api_templates(objects):
        pause = template["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        farewell = pause + float(settings[PREFIX + "DRAIN_SECONDS"]) + float(settings[PREFIX + "TIMEOUT"]) + 5
        assert template["spec"]["terminationGracePeriodSeconds"] > farewell, owner


@pytest.mark.parametrize("name", WITH_ISTIO)
def test_the_service_times_out_before_its_ingress(name: str) -> None:
    """So that the caller sees our 504 with its reason, and the work is dropped, too."""
    objects = rendered(name)
    (route,) = (thing for thing in of_kind(objects, "VirtualService") if "hosts" in thing["spec"])
    for rule in route["spec"]["http"]:
        assert seconds(rule["timeout"]) > float(settings_of(objects)[PREFIX + "TIMEOUT"])


def test_the_gateway_api_waits_as_long_as_istio() -> None:
    """Both ingresses give the same answers: the same public routes, the same timeout."""
    objects = rendered("all, autoscaling")
    route = named(objects, "VirtualService", "valence")["spec"]["http"][-1]
    rule = named(objects, "HTTPRoute", "valence")["spec"]["rules"][0]
    assert rule["timeouts"]["request"] == route["timeout"]
    kinds = {"exact": "Exact", "prefix": "PathPrefix"}
    matches = {(kinds[kind], path) for match in route["match"] for kind, path in match["uri"].items()}
    assert {(match["path"]["type"], match["path"]["value"]) for match in rule["matches"]} == matches


@pytest.mark.parametrize("name", WITH_ISTIO)
def test_retries_never_multiply_load(name: str) -> None:
    """Only where no pod has begun to work: a 429 or a slow answer is never asked for twice."""
    route = named(rendered(name), "VirtualService", "valence")
    for rule in route["spec"]["http"]:
        assert set(rule["retries"]["retryOn"].split(",")) <= {"connect-failure", "refused-stream"}
        assert rule["retries"]["attempts"] <= 2
    rule = named(rendered(name), "DestinationRule", "valence")
    assert rule["spec"]["trafficPolicy"]["outlierDetection"]["consecutive5xxErrors"] == 0


@pytest.mark.parametrize("name", ALL)
def test_liveness_is_not_readiness(name: str) -> None:
    """A pod that drains or waits for its model is alive, and no probe asks for Redis."""
    for _, template in api_templates(rendered(name)):
        api = template["spec"]["containers"][0]
        assert api["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert api["startupProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("name", ALL)
def test_a_rollout_takes_no_pod_away_first(name: str) -> None:
    """A new pod of the API is ready before an old one goes; Redis is one, and may be gone for a moment."""
    objects = rendered(name)
    for owner, template in api_templates(objects):
        strategy = named(objects, "Deployment", owner)["spec"]["strategy"]
        assert strategy["rollingUpdate"]["maxUnavailable"] == 0
        assert named(objects, "Deployment", owner)["spec"]["minReadySeconds"] > 0
        probe = template["spec"]["containers"][0]["startupProbe"]
        longest = probe["periodSeconds"] * probe["failureThreshold"]
        assert named(objects, "Deployment", owner)["spec"]["progressDeadlineSeconds"] > longest
    for redis in (thing for thing in of_kind(objects, "Deployment") if thing["metadata"]["name"] == "valence-redis"):
        assert redis["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_changed_setting_rolls_the_pods(name: str) -> None:
    """The ConfigMaps' names end in a hash of their content, but for dashboards, which no pod reads."""
    for config in of_kind(rendered(name), "ConfigMap"):
        if "grafana_dashboard" in config["metadata"].get("labels", {}):
            continue
        assert re.fullmatch(r"valence(-redis)?-[a-z0-9]{10}", config["metadata"]["name"])
