"""The manifests as `kubectl kustomize` renders them, each composition once."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).resolve().parents[2] / ".k8s"
OVERLAYS = ("dev", "prod")
COMPONENTS = tuple(sorted(folder.name for folder in (K8S / "components").iterdir()))
INSTEAD = {"keda": "autoscaling", "managed-redis": "redis-exporter", "model-registry": "model-volume"}
"""Components that take another's place; never both."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Libyaml's, if PyYAML has it: it reads an overlay in 16 ms, not in 300."""

Object = dict[str, Any]


def render(folder: Path) -> list[Object]:
    """Every object of a kustomization. Skips without kubectl; fails with kubectl's own words."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: it renders the manifests")
    answer = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert not answer.stderr, f"kubectl warns: {answer.stderr}"
    return list(yaml.load_all(answer.stdout, LOADER))


@cache
def overlay(name: str) -> list[Object]:
    """What `kubectl apply -k .k8s/overlays/NAME` would apply."""
    return render(K8S / "overlays" / name)


@cache
def base_with(*components: str) -> list[Object]:
    """The base with these components, in this order, as an overlay of a user's own would list them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(K8S / "base", path)],
            "components": [os.path.relpath(K8S / "components" / name, path) for name in components],
        }
        (path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return render(path)


def with_components(name: str, *components: str, **changes: object) -> list[Object]:
    """An overlay with these components instead of its own, and other changes of its kustomization."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(K8S, Path(folder) / ".k8s")
        shutil.copytree(K8S.parent / "load", Path(folder) / "load")
        file = copy / "overlays" / name / "kustomization.yaml"
        kustomization = yaml.safe_load(file.read_text(encoding="utf-8"))
        kustomization |= {"components": [f"../../components/{item}" for item in components], **changes}
        file.write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return render(file.parent)


def all_but(*left_out: str) -> tuple[str, ...]:
    """Every component except these."""
    return tuple(name for name in COMPONENTS if name not in left_out)


COMPOSITIONS: dict[str, tuple[str, ...]] = {
    "base": (),
    **{f"base+{name}": (name,) for name in COMPONENTS},
    "model copied": ("model-volume/init-container",),
    "another model": ("istio", "monitoring", "canary", "canary/model"),
    "managed redis": ("istio", "network-policies", "monitoring", "managed-redis", "managed-redis/network-policies"),
    "registered": ("network-policies", "model-registry", "model-registry/network-policies"),
    "trained": ("network-policies", "training", "training/network-policies"),
    "traced": ("istio", "network-policies", "tracing", "tracing/istio", "tracing/network-policies"),
    "all, autoscaling": all_but(*INSTEAD),
    "all, keda": all_but("autoscaling", "managed-redis", "model-registry"),
}
"""Name -> components: each alone, some with their parts for those beside them, and as many together as can be."""

ALL = (*OVERLAYS, *COMPOSITIONS)
"""Everything that is rendered and checked."""


def rendered(name: str) -> list[Object]:
    """An overlay or a composition by its name in `ALL`."""
    return overlay(name) if name in OVERLAYS else base_with(*COMPOSITIONS[name])


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [thing for thing in objects if thing["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = (thing for thing in of_kind(objects, kind) if thing["metadata"]["name"] == name)
    return found


def identity(thing: Object) -> str:
    """Kind/name, as messages should say it."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """(name, pod template) of each Deployment, Job and CronJob."""
    for workload in of_kind(objects, "Deployment", "Job", "CronJob"):
        spec = workload["spec"]
        yield workload["metadata"]["name"], spec.get("jobTemplate", {"spec": spec})["spec"]["template"]


def api_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """(Deployment's name, its pod template), for each version of the API."""
    return (
        (name, template)
        for name, template in pod_templates(objects)
        if template["metadata"]["labels"]["app"] == "valence"
    )


def containers(template: Object) -> list[Object]:
    """All containers of a pod template, those for the start included."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether these labels have all of the selector's."""
    return selector.items() <= labels.items()
