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
TOGETHER = ("all, autoscaling", "all, keda")


BOTH = {f"{name}-{number}": (name, together) for name in OVERLAYS for number, together in enumerate(TOGETHER)}
"""File -> overlay and components: both overlays, each with as many components as can be together."""
PRIVILEGED = {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, str]]]:
    """File -> (policy, object) of what checkov finds in it; it starts once for all. Skips without checkov."""
    if not CHECKOV.exists():
        pytest.skip("checkov is not installed: `make checkov` installs it, apart from everything else")
    folder = tmp_path_factory.mktemp("manifests")
    for file, (name, together) in BOTH.items():
        objects = with_components(name, *COMPOSITIONS[together])
        (folder / f"{file}.yaml").write_text(yaml.safe_dump_all(objects))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "x"}, "spec": PRIVILEGED}
    (folder / "wrong.yaml").write_text(yaml.safe_dump(pod))
    command = [CHECKOV, "--directory", folder, "--config-file", CONFIG, "--output", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["parsing_errors"] == 0, done.stderr
    assert found["summary"]["passed"] > 0
    by_file: dict[str, set[tuple[str, str]]] = {file: set() for file in (*BOTH, "wrong")}
    for check in found["results"]["failed_checks"]:
        by_file[Path(check["file_path"]).stem].add((check["check_id"], check["resource"]))
    return by_file


@pytest.mark.parametrize("file", BOTH)
def test_manifests_pass_checkov(failed: dict[str, set[tuple[str, str]]], file: str) -> None:
    """No policy that is ours is broken."""
    assert failed[file] == set(), BOTH[file]


def test_what_is_wrong_is_found(failed: dict[str, set[tuple[str, str]]]) -> None:
    """A pod that may do anything, so that silence means something."""
    assert ("CKV_K8S_16", "Pod.x.x") in failed["wrong"]


def test_every_skip_has_its_reason() -> None:
    """In a comment on its line."""
    lines = CONFIG.read_text().partition("skip-check:\n")[2].splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"  - CKV\w+ # \S.{20,}", line)] == []
