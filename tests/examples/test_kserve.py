"""KServe's objects: what Kubernetes knows of them fits its schema, and what is ours in them exists.

KServe's own definitions are not at hand; kserve 0.21's Python models know every field of both files.
"""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import PREFIX, Settings
from tests.app import plain_http
from tests.conftest import ROOT, Service
from tests.k8s.schemas import KUBERNETES

FOLDER = ROOT / "examples" / "kserve"
RUNTIME: dict[str, Any] = yaml.safe_load((FOLDER / "serving-runtime.yaml").read_text(encoding="utf-8"))
SERVICE: dict[str, Any] = yaml.safe_load((FOLDER / "inference-service.yaml").read_text(encoding="utf-8"))
(CONTAINER,) = RUNTIME["spec"]["containers"]


@pytest.mark.parametrize("version", KUBERNETES)
def test_container_is_kubernetes_own(version: str) -> None:
    """Its fields and no others."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "valence"},
        "spec": {"containers": RUNTIME["spec"]["containers"]},
    }
    kubernetes_validate.validate(pod, version, strict=True)


def test_service_asks_for_the_runtime() -> None:
    """By name, in a format and by a protocol that the runtime has; under the name of the model it serves."""
    assert (RUNTIME["apiVersion"], RUNTIME["kind"]) == ("serving.kserve.io/v1alpha1", "ServingRuntime")
    assert (SERVICE["apiVersion"], SERVICE["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = SERVICE["spec"]["predictor"]["model"]
    formats = [{"name": made["name"], "version": made["version"]} for made in RUNTIME["spec"]["supportedModelFormats"]]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert model["modelFormat"] in formats
    assert model["protocolVersion"] in RUNTIME["spec"]["protocolVersions"]
    assert model["storageUri"].endswith(f"/{SERVICE['metadata']['name']}")
    assert CONTAINER["name"] == "kserve-container"


def test_what_is_ours_exists(service: Service) -> None:
    """Settings, probes, ports, and the model by that name."""
    for variable in CONTAINER["env"]:
        assert variable["name"].removeprefix(PREFIX).lower() in Settings.model_fields
    binds = {variable["name"]: variable["value"].rpartition(":")[2] for variable in CONTAINER["env"]}
    (port,) = CONTAINER["ports"]
    assert str(port["containerPort"]) == binds["VALENCE_BIND"]
    assert RUNTIME["spec"]["annotations"]["prometheus.kserve.io/port"] == binds["VALENCE_METRICS_BIND"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"]["port"] == port["containerPort"]
        assert plain_http.get(service.url + CONTAINER[probe]["httpGet"]["path"]).status_code == 200
    assert plain_http.get(f"{service.url}/v2/models/{SERVICE['metadata']['name']}/ready").status_code == 200
