"""The workflows trust nothing that can move, and no more than they need."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
VARIABLE = re.compile(r"\$\{\{ *vars\.(\w+) *\}\}")
SCHEMAS = {"vendor.github-workflows": WORKFLOWS, "vendor.dependabot": [ROOT / ".github" / "dependabot.yml"]}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_action_is_pinned_by_its_commit(file: Path) -> None:
    """With its version beside it, by which dependabot renews both."""
    used = re.findall(r"^ +(?:- )?uses: (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_permissions_are_the_least(file: Path) -> None:
    """Reading at most for the whole workflow; whatever writes is said for one job."""
    permissions = yaml.safe_load(file.read_text(encoding="utf-8"))["permissions"]
    assert set(permissions.values()) <= {"read"}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_no_job_fails_for_want_of_a_variable(file: Path) -> None:
    """A repository variable has a default where it is used, or its job runs only where it is set."""
    for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values():
        for name in VARIABLE.findall(yaml.safe_dump(job)):
            assert f"vars.{name} != ''" in job.get("if", ""), name


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_are_what_github_reads(schema: str) -> None:
    """By the schemas that check-jsonschema brings with it."""
    program = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    done = subprocess.run(
        [*program, *map(str, SCHEMAS[schema])], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [["zizmor", "--offline", "--quiet", ".github"], ["actionlint"]], ids=lambda c: c[0])
def test_linters_find_nothing(command: list[str]) -> None:
    """Skips what is not installed: zizmor comes from PyPI, actionlint as a program of its own."""
    program = shutil.which(command[0]) or shutil.which(command[0], path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
