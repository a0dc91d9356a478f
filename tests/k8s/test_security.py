"""Pod Security `restricted`, as its admission plugin would judge, and what goes beyond it."""

from pathlib import Path

import pytest
import yaml

from tests.k8s.rendering import (
    ALL,
    OVERLAYS,
    Object,
    base_with,
    containers,
    identity,
    named,
    of_kind,
    overlay,
    pod_templates,
    render,
    rendered,
)


@pytest.mark.parametrize("name", ALL)
def test_every_pod_meets_the_restricted_standard(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, point by point."""
    for owner, template in pod_templates(rendered(name)):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), owner
        assert all(set(volume) & {"configMap", "emptyDir", "secret", "image"} for volume in spec.get("volumes", [])), (
            owner
        )
        assert spec["securityContext"]["runAsNonRoot"] is True, owner
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        for container in containers(template):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, owner
            assert context["capabilities"] == {"drop": ["ALL"]}, owner
            assert not {"privileged", "runAsNonRoot", "seccompProfile"} & set(context), f"{owner}: said for the pod"
            assert all("hostPort" not in port for port in container.get("ports", [])), owner


@pytest.mark.parametrize("name", ALL)
def test_pods_go_beyond_the_standard(name: str) -> None:
    """Read-only root, a user by number, no token, no service links, and limits for memory."""
    for owner, template in pod_templates(rendered(name)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, owner
        assert spec["enableServiceLinks"] is False, owner
        assert spec["securityContext"]["runAsUser"] > 0, owner
        for container in containers(template):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, owner
            resources = container["resources"]
            assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}, owner


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_namespace_enforces_it(name: str) -> None:
    """The overlay's namespace refuses pods that are not restricted, and holds everything that has a namespace."""
    objects = overlay(name)
    (namespace,) = of_kind(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    places = {thing["metadata"].get("namespace") for thing in objects if thing["kind"] != "Namespace"}
    assert places == {namespace["metadata"]["name"]}


def test_prod_holds_no_secret() -> None:
    """Passwords and certificates are the user's; only dev has a password that everyone knows."""
    assert of_kind(overlay("prod"), "Secret") == []


@pytest.mark.parametrize("name", ALL)
def test_redis_is_never_exposed(name: str) -> None:
    """Its Service has an address inside the cluster only, and no route leads there."""
    objects = rendered(name)
    exposed = [thing for thing in of_kind(objects, "Service") if thing["spec"].get("type", "ClusterIP") != "ClusterIP"]
    assert [identity(thing) for thing in exposed] in ([], ["Service/valence-nodeport"])
    for route in of_kind(objects, "VirtualService", "HTTPRoute"):
        assert "redis" not in str(route["spec"])


GENERATED_GATEWAY: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "valence-gateway-istio"},
    "spec": {
        "template": {
            "spec": {
                "securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]},
                "containers": [
                    {
                        "name": "istio-proxy",
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "privileged": False,
                            "readOnlyRootFilesystem": True,
                            "runAsNonRoot": True,
                            "runAsUser": 1337,
                        },
                    }
                ],
            }
        }
    },
}
"""What bears on Pod Security in the Deployment that Istio 1.26 to 1.29 makes of a Gateway (its kube-gateway.yaml)."""


def test_the_gateway_that_istio_makes_is_restricted(tmp_path: Path) -> None:
    """Our ConfigMap, merged as Istio merges it (strategically), adds what the generated pod lacks."""
    gateway = named(base_with("gateway-api"), "Gateway", "valence-gateway")
    (options,) = [
        thing
        for thing in of_kind(base_with("gateway-api"), "ConfigMap")
        if thing["metadata"]["name"] == gateway["spec"]["infrastructure"]["parametersRef"]["name"]
    ]
    (tmp_path / "generated.yaml").write_text(yaml.safe_dump(GENERATED_GATEWAY), encoding="utf-8")
    patch = {"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(as_patch(options["data"]["deployment"]))}
    kustomization = {"resources": ["generated.yaml"], "patches": [patch]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    (merged,) = render(tmp_path)
    assert pod_security_faults(GENERATED_GATEWAY["spec"]["template"]["spec"]) == ["seccompProfile"]
    assert pod_security_faults(merged["spec"]["template"]["spec"]) == []


def as_patch(text: str) -> Object:
    """A fragment of a Deployment with the names that kustomize wants."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "any"}, **yaml.safe_load(text)}


def pod_security_faults(spec: Object) -> list[str]:
    """Fields that `restricted` wants and the pod of one container lacks, wherever they may be said."""
    (container,) = spec["containers"]
    said = spec["securityContext"] | container["securityContext"]
    wanted = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return [name for name, value in wanted.items() if said.get(name) != value]
