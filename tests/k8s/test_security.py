"""Pod Security `restricted`, as its admission plugin would judge, and what goes beyond it."""

import pytest

from tests.k8s.rendering import ALL, OVERLAYS, containers, identity, of_kind, overlay, pod_templates, rendered


@pytest.mark.parametrize("name", ALL)
def test_every_pod_meets_the_restricted_standard(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, point by point."""
    for owner, template in pod_templates(rendered(name)):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), owner
        assert all(set(volume) & {"configMap", "emptyDir", "secret"} for volume in spec.get("volumes", [])), owner
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
    assert [identity(thing) for thing in exposed] in ([], ["Service/valence"])
    for route in of_kind(objects, "VirtualService", "HTTPRoute"):
        assert "redis" not in str(route["spec"])
