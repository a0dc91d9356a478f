"""The rendered manifests against checkov's policies; .checkov.yaml says which are not ours, and why."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.rendering import COMPOSITIONS, K8S, OVERLAYS, with_components

CHECKOV = K8S.parent / ".venv-checkov" / "bin" / "checkov"
CONFIG = K8S.parent / ".checkov.yaml"


def failed_checks(folder: Path) -> set[tuple[str, str]]:
    """(policy, object) of what checkov finds in the manifests of a folder. Skips without checkov."""
    if not CHECKOV.exists():
        pytest.skip("checkov is not installed: `make checkov` installs it, apart from everything else")
    command = [CHECKOV, "--directory", folder, "--config-file", CONFIG, "--output", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["parsing_errors"] == 0, done.stderr
    assert found["summary"]["passed"] > 0
    return {(check["check_id"], check["resource"]) for check in found["results"]["failed_checks"]}


@pytest.mark.parametrize("components", ["all, autoscaling", "all, keda"])
@pytest.mark.parametrize("name", OVERLAYS)
def test_manifests_pass_checkov(tmp_path: Path, name: str, components: str) -> None:
    """Both overlays, each with as many components as can be together."""
    objects = with_components(name, *COMPOSITIONS[components])
    (tmp_path / "manifests.yaml").write_text(yaml.safe_dump_all(objects))
    assert failed_checks(tmp_path) == set()


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """A pod that may do anything, so that silence means something."""
    pod = {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]}
    thing = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "x"}, "spec": pod}
    (tmp_path / "manifests.yaml").write_text(yaml.safe_dump(thing))
    assert ("CKV_K8S_16", "Pod.x.x") in failed_checks(tmp_path)


def test_every_skip_has_its_reason() -> None:
    """In a comment on its line."""
    lines = CONFIG.read_text().partition("skip-check:\n")[2].splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"  - CKV\w+ # \S.{20,}", line)] == []
