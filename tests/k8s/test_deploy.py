"""`make deploy` converges: what an overlay no longer has goes, and nothing else does."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.k8s.api_server import APPLIED, ApiServer
from tests.k8s.rendering import ALL, COMPONENTS, K8S, Object, of_kind, rendered

NEEDS = {"canary": ("istio",)}
"""Components that stand on others."""


class Cluster:
    """An API server, and a copy of the manifests that is deployed to it."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        self.k8s = shutil.copytree(K8S, folder / ".k8s")
        shutil.copytree(K8S.parent / "load", folder / "load")
        for file in ("Makefile", "pyproject.toml"):
            shutil.copy(K8S.parent / file, folder)
        self._environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig(folder))}

    def deploy(self, *components: str, check: bool = True, **changes: object) -> str:
        """`make deploy` of the dev overlay with these components, its ConfigMap's literals among the changes."""
        file = self.k8s / "overlays" / "dev" / "kustomization.yaml"
        kustomization = yaml.safe_load((K8S / "overlays" / "dev" / "kustomization.yaml").read_text(encoding="utf-8"))
        kustomization["components"] = [f"../../components/{name}" for name in components]
        file.write_text(yaml.safe_dump(kustomization | changes), encoding="utf-8")
        command = ["make", "--directory", str(self.k8s.parent), "deploy", "OVERLAY=dev"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=120, check=False)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) or not check, said
        return said

    def of_kind(self, *kinds: str) -> list[Object]:
        """What is in the cluster."""
        return of_kind(list(self.server.objects.values()), *kinds)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """An empty one that knows every kind that any composition renders."""
    kinds = {(thing["apiVersion"], thing["kind"]) for name in ALL for thing in rendered(name)}
    with ApiServer(kinds) as server:
        yield Cluster(server, tmp_path)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_taken_away_is_gone(cluster: Cluster, component: str) -> None:
    """Exactly what it added goes, but for settings that `rollout undo` needs; what it changed is as it was."""
    needs = NEEDS.get(component, ())
    cluster.deploy(*needs)
    before = cluster.server.applied()
    cluster.deploy(*needs, component)
    assert cluster.server.applied() != before
    cluster.deploy(*needs)
    after = cluster.server.applied()
    assert {path: after[path] for path in before} == before
    assert [path for path in after.keys() - before.keys() if "VALENCE_TIMEOUT" not in after[path].get("data", {})] == []


@pytest.mark.parametrize(("one", "other"), [("autoscaling", "keda"), ("keda", "autoscaling")])
def test_one_autoscaler_takes_the_others_place(cluster: Cluster, one: str, other: str) -> None:
    """The old one goes first: KEDA's webhook refuses a Deployment that has an HPA."""
    cluster.deploy(one)
    cluster.deploy(other)
    (scaler,) = cluster.of_kind("HorizontalPodAutoscaler", "ScaledObject")
    assert (scaler["kind"] == "ScaledObject") == (other == "keda")


def test_earlier_settings_stay_for_as_long_as_they_can_be_gone_back_to(cluster: Cluster) -> None:
    """A changed setting makes another ConfigMap; the old one goes with the last revision that names it."""

    def settings() -> dict[str, str]:
        maps = [thing for thing in cluster.of_kind("ConfigMap") if "VALENCE_TIMEOUT" in thing["data"]]
        return {thing["data"]["VALENCE_LOG_LEVEL"]: thing["metadata"]["name"] for thing in maps}

    for level in ("debug", "info", "warning"):
        literals = [f"VALENCE_LOG_LEVEL={level}"]
        cluster.deploy(configMapGenerator=[{"name": "valence", "behavior": "merge", "literals": literals}])
    assert set(settings()) == {"debug", "info", "warning"}
    for path, thing in list(cluster.server.objects.items()):
        if thing["kind"] == "ReplicaSet" and f'"{settings()["debug"]}"' in json.dumps(thing["spec"]):
            cluster.server.remove(path)
    cluster.deploy(configMapGenerator=[{"name": "valence", "behavior": "merge", "literals": literals}])
    assert set(settings()) == {"info", "warning"}


def test_what_others_made_stays(cluster: Cluster) -> None:
    """A Secret made by hand, a load test applied on its own, and what controllers make with our labels."""
    cluster.deploy()
    label = {"app.kubernetes.io/part-of": "valence"}
    base = "/api/v1/namespaces/valence-dev"
    foreign = {
        f"{base}/secrets/by-hand": {"kind": "Secret", "metadata": {"name": "by-hand", "labels": label}},
        f"{base}/configmaps/other": {
            "kind": "ConfigMap",
            "metadata": {"name": "other", "annotations": {APPLIED: "{}"}},
        },
    }
    for path, thing in foreign.items():
        cluster.server.store(path, {"apiVersion": "v1", **thing})
    cluster.deploy()
    assert foreign.keys() <= cluster.server.objects.keys()
    assert {thing["metadata"]["name"] for thing in cluster.of_kind("Endpoints")} >= {"valence", "valence-redis"}
    assert cluster.of_kind("ReplicaSet")


def test_nothing_goes_when_the_new_is_refused(cluster: Cluster) -> None:
    """An object that the cluster doesn't take ends it before anything is taken away."""
    cluster.deploy("monitoring")
    monitors = cluster.of_kind("ServiceMonitor")
    cluster.server.refused.add("ScaledObject")
    assert "no more of these" in cluster.deploy("keda", check=False)
    assert cluster.of_kind("ServiceMonitor") == monitors


def test_an_object_that_could_never_go_is_refused(cluster: Cluster) -> None:
    """Without the label in the overlay nothing is applied at all."""
    said = cluster.deploy(check=False, labels=[])
    assert "without the label app.kubernetes.io/part-of=valence" in said
    assert cluster.server.objects == {}


def test_what_was_deployed_without_the_label_gets_it(cluster: Cluster) -> None:
    """By an earlier version of these manifests: it is no reason to refuse, and what is not rendered stays as it is."""
    cluster.deploy()
    for path, thing in cluster.server.applied().items():
        thing["metadata"].get("labels", {}).pop("app.kubernetes.io/part-of", None)
        thing["metadata"]["annotations"] = {APPLIED: json.dumps(thing)}
        cluster.server.store(path, thing)
    cluster.deploy()
    labels = [thing["metadata"]["labels"] for thing in cluster.of_kind("Deployment", "Service", "ConfigMap")]
    assert [found for found in labels if found.get("app.kubernetes.io/part-of") != "valence"] == []


def test_an_overlay_that_is_not_there_is_named() -> None:
    """With those that are."""
    command = ["make", "deploy", "OVERLAY=production", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=K8S.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "{dev,prod}" in done.stderr
