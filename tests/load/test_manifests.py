"""The component that runs the load inside a cluster, as `kubectl kustomize` renders it."""

import re
from pathlib import Path

import yaml

from tests.conftest import ROOT
from tests.k8s.rendering import Object, render

COMPONENT = ROOT / ".k8s" / "components" / "load-test"
LABEL = ("app.kubernetes.io/component", "load-test")


def with_parts(tmp_path: Path, *parts: str) -> list[Object]:
    """The component with some of the parts beside it."""
    folders = [COMPONENT, *(COMPONENT / part for part in parts)]
    up = "/".join([".."] * len(tmp_path.resolve().parts[1:]))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "components": [f"{up}{folder.resolve()}" for folder in folders],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(tmp_path)


def one(objects: list[Object], kind: str, name: str = "") -> Object:
    """The only object of this kind whose name starts so."""
    (found,) = [thing for thing in objects if thing["kind"] == kind and thing["metadata"]["name"].startswith(name)]
    return found


def test_job_runs_the_one_script() -> None:
    """The ConfigMap holds load/load.js and what it opens, byte for byte, and the Job mounts that one."""
    objects = render(COMPONENT)
    scripts = one(objects, "ConfigMap", "valence-load-scripts")
    for name in ("load.js", "slo.json", "texts.json"):
        assert scripts["data"][name] == (ROOT / "load" / name).read_text()
    pod = one(objects, "Job")["spec"]["template"]["spec"]
    assert pod["volumes"][0]["configMap"]["name"] == scripts["metadata"]["name"]
    assert pod["containers"][0]["args"][-1] == f"{pod['containers'][0]['volumeMounts'][0]['mountPath']}/load.js"


def test_scripts_are_complete() -> None:
    """What load.js opens and what the Locust files import is in the ConfigMap, too."""
    scripts = one(render(COMPONENT), "ConfigMap", "valence-load-scripts")["data"]
    opened = re.findall(r"open\('\./([^']+)'\)", scripts["load.js"])
    imports = re.compile(r"^from load\.(\w+)", re.MULTILINE)
    imported = [f"{name}.py" for text in scripts.values() for name in imports.findall(text)]
    assert opened
    assert imported
    assert set(opened + imported) <= set(scripts)


def test_settings_are_variables_of_the_script() -> None:
    """A misspelt one would silently do nothing."""
    settings = one(render(COMPONENT), "ConfigMap", "valence-load-settings")["data"]
    script = (ROOT / "load" / "load.js").read_text()
    (container,) = one(render(COMPONENT), "Job")["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "BASE_URL", "value": "http://$(SERVICE)"}]
    assert settings.pop("SERVICE") == "valence"
    for name in ("BASE_URL", *settings):
        assert re.search(rf"(required|variable|number|choice)\('{name}'", script), name


def test_operator_gets_the_generated_name(tmp_path: Path) -> None:
    """A TestRun is unknown to kustomize, which would leave the name without its hash."""
    objects = with_parts(tmp_path, "k6-operator")
    script = one(objects, "TestRun")["spec"]["script"]["configMap"]
    assert script["name"] == one(objects, "ConfigMap", "valence-load-scripts")["metadata"]["name"]
    assert script["file"] == "load.js"


def test_runners_of_the_operator_are_as_the_jobs_pod(tmp_path: Path) -> None:
    """The same k6; left out, the operator takes its newest image and mounts a token."""
    objects = with_parts(tmp_path, "k6-operator", "network-policies")
    runner = one(objects, "TestRun")["spec"]["runner"]
    pod = one(objects, "Job")["spec"]["template"]["spec"]
    assert runner["image"] == pod["containers"][0]["image"]
    assert runner["automountServiceAccountToken"] == "false"
    assert runner["securityContext"] == pod["securityContext"]
    # A policy selects the runners by this label; without its port 6565 the operator could never start them.
    assert LABEL in runner["metadata"]["labels"].items()
    policy = one(objects, "NetworkPolicy", "valence-load-test")["spec"]
    assert 6565 in [port["port"] for rule in policy["ingress"] for port in rule["ports"]]


def test_workers_find_their_master() -> None:
    """By the Service's name, which leads to the master's pod."""
    objects = render(COMPONENT)
    service = one(objects, "Service")
    worker, master = (one(objects, "Deployment", f"valence-locust-{role}") for role in ("worker", "master"))
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert "--master-host=$(SERVICE)" in container["args"]
    assert {"name": "SERVICE", "value": service["metadata"]["name"]} in container["env"]
    assert service["spec"]["selector"].items() <= master["spec"]["template"]["metadata"]["labels"].items()


def test_one_selector_removes_everything(tmp_path: Path) -> None:
    """Each object has the label by which load/README.md deletes."""
    for thing in with_parts(tmp_path, "k6-operator", "network-policies", "istio"):
        assert LABEL in thing["metadata"]["labels"].items(), thing["metadata"]["name"]
