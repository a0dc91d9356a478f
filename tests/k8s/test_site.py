"""What a user must change stands in one place each."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.k8s.rendering import K8S, OVERLAYS, containers, named, overlay, pod_templates, render, with_components

SITE = {
    "hostname": "sentiment.test",
    "tlsSecret": "another-certificate",
    "istioNamespace": "another-istio",
    "istioRevision": "another-revision",
    "ingressNamespace": "another-ingress",
    "ingressLabel": "another-gateway",
    "monitoringNamespace": "another-monitoring",
    "prometheusRelease": "another-release",
    "prometheusUrl": "http://another-prometheus",
    "collectorNamespace": "another-collector",
    "redisHost": "another-redis.test",
    "redisPort": "16380",
    "redisSubnet": "192.0.2.0/24",
    "oidcIssuer": "https://another-issuer.test",
    "oidcAudience": "another-audience",
    "runbook": "another-runbook",
}


DEFAULTS = yaml.safe_load((K8S / "overlays" / "prod" / "site.yaml").read_text(encoding="utf-8"))["data"]
COMMON_WORDS = {
    "default": "istio.io/rev: ",
    "monitoring": "kubernetes.io/metadata.name: ",
    "valence-redis": "REDIS_HOST: ",
    "6379": "REDIS_PORT: '",
}
"""Defaults that stand in other places rightly, and what stands before them where they must not stay."""
WHERE = ("keda", "istio", "gateway-api", "ingress", "network-policies", "monitoring", "auth")
WITH_REDIS = ("managed-redis", "managed-redis/network-policies")


@pytest.fixture
def changed(tmp_path: Path) -> str:
    """The prod overlay with every value of site.yaml changed and every component that has a place for one, as text."""
    copy = shutil.copytree(K8S, tmp_path / "k8s")
    prod = copy / "overlays" / "prod"
    site = yaml.safe_load((prod / "site.yaml").read_text(encoding="utf-8"))
    assert set(site["data"]) == set(SITE)
    site["data"] = SITE
    (prod / "site.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
    kustomization = yaml.safe_load((prod / "kustomization.yaml").read_text(encoding="utf-8"))
    kustomization["components"] = [f"../../components/{name}" for name in (*WHERE, *WITH_REDIS)]
    (prod / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return yaml.safe_dump_all(render(prod), width=1000)


def test_site_values_reach_every_place(changed: str) -> None:
    """After a change of site.yaml no default is left anywhere, and every new value is used."""
    assert [value for value in DEFAULTS.values() if value not in COMMON_WORDS and value in changed] == []
    assert [value for value, before in COMMON_WORDS.items() if before + value in changed] == []
    assert [value for value in SITE.values() if value not in changed] == []


@pytest.mark.parametrize(
    ("components", "injected"), [(["istio"], True), (["gateway-api"], False), (["ingress"], False)]
)
def test_sidecars_come_with_the_component_alone(components: list[str], injected: bool) -> None:
    """The revision is always there; `istio-injection` goes before it."""
    labels = named(with_components("prod", *components), "Namespace", "valence")["metadata"]["labels"]
    assert labels["istio.io/rev"] == "default"
    assert labels.get("istio-injection") == (None if injected else "disabled")


def test_keda_counts_the_requests_of_its_own_namespace() -> None:
    """And not those of another overlay in the same cluster."""
    (trigger,) = named(with_components("prod", "keda", namespace="elsewhere"), "ScaledObject", "valence")["spec"][
        "triggers"
    ]
    assert trigger["metadata"]["query"] == (
        'sum(avg_over_time(http_requests_in_flight{job="valence",namespace="elsewhere"}[1m]))'
    )


def test_the_site_itself_is_never_applied() -> None:
    """It is no object of the cluster."""
    assert [thing for thing in overlay("prod") if thing["metadata"]["name"].startswith("site")] == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_image_of_the_api_is_the_one_that_make_builds(name: str) -> None:
    """`make image` and the overlays agree on the name; everything else comes from upstream, by a version."""
    makefile = (K8S.parent / "Makefile").read_text(encoding="utf-8")
    (line,) = (line for line in makefile.splitlines() if line.startswith("IMAGE ?="))
    built = line.partition("=")[2].strip()
    api = named(overlay(name), "Deployment", "valence")["spec"]["template"]["spec"]["containers"][0]["image"]
    if name == "dev":
        assert api == built
    assert api.rpartition(":")[0].rpartition("/")[2] == built.rpartition(":")[0].rpartition("/")[2] == "valence"
    others = {item["image"] for _, template in pod_templates(overlay(name)) for item in containers(template)} - {api}
    for image in others:
        assert image.startswith("docker.io/")
        assert image.rpartition(":")[2][:1] in "v0123456789"
