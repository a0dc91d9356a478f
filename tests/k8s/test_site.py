"""What a user must change stands in one place each."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.k8s.rendering import K8S, OVERLAYS, containers, named, overlay, pod_templates, render

SITE = {
    "hostname": "sentiment.test",
    "tlsSecret": "another-certificate",
    "ingressNamespace": "another-ingress",
    "ingressLabel": "another-gateway",
    "monitoringNamespace": "another-monitoring",
    "prometheusRelease": "another-release",
    "runbook": "another-runbook",
}


@pytest.fixture
def changed(tmp_path: Path) -> str:
    """The prod overlay with every value of site.yaml changed, also with the Gateway API in it, as one text."""
    copy = shutil.copytree(K8S, tmp_path / "k8s")
    prod = copy / "overlays" / "prod"
    site = yaml.safe_load((prod / "site.yaml").read_text(encoding="utf-8"))
    assert set(site["data"]) == set(SITE)
    site["data"] = SITE
    (prod / "site.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
    kustomization = yaml.safe_load((prod / "kustomization.yaml").read_text(encoding="utf-8"))
    kustomization["components"].append("../../components/gateway-api")
    (prod / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return yaml.safe_dump_all(render(prod))


def test_site_values_reach_every_place(changed: str) -> None:
    """After a change of site.yaml no default is left anywhere, and every new value is used."""
    site = yaml.safe_load((K8S / "overlays" / "prod" / "site.yaml").read_text(encoding="utf-8"))
    words = set(
        yaml.safe_dump(list(yaml.safe_load_all(changed))).replace("- ", " ").replace(":", " ").replace("#", " ").split()
    )
    assert not words & (set(site["data"].values()) - {"monitoring"})
    assert "kubernetes.io/metadata.name: monitoring" not in changed
    assert "runbook.md" not in changed
    assert set(SITE.values()) <= words


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
