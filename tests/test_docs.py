"""What is written is true: the README's table, tree and example against the code."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import httpx
import pytest

from app.settings import BUNDLED_MODEL, PREFIX, Settings
from tests.conftest import ROOT, Service

README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Every file that git tracks, or would if it were added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def test_readme_is_short_and_begins_with_the_two_commands() -> None:
    """At most 150 lines, both commands within the first 30."""
    lines = README.splitlines()
    assert len(lines) <= 150
    top = "\n".join(lines[:30])
    assert "make run" in top
    assert "make test" in top


def test_every_setting_is_in_the_table() -> None:
    """One row for each setting, with its default and the description that the code has."""
    rows = re.findall(rf"^\| `({PREFIX}\w+)` \| (.*?) \| (.*) \|$", README, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        default = field.default
        if default == str(BUNDLED_MODEL):
            default = BUNDLED_MODEL.relative_to(ROOT)
        shown = "unset" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        expected.append((PREFIX + name.upper(), shown, " ".join((field.description or "").split())))
    assert rows == expected


def test_tree_names_every_folder() -> None:
    """README's tree has a line for each folder of code, and no other."""
    tree = README[README.index("\napp/main.py") : README.index("```", README.index("\napp/main.py"))]
    named = set(re.findall(r"^(\S+)/ ", tree, re.MULTILINE))
    code = {path.parts[0] for path in tracked() if len(path.parts) > 1} - {".ci", ".github", "docs", "app"}
    rooms = {f"app/{path.parts[1]}" for path in tracked() if path.parts[0] == "app" and len(path.parts) > 2}
    assert named == code | rooms


@pytest.mark.parametrize(("package", "page"), [("model_export", "model_export/README.md")])
def test_tree_names_every_module(package: str, page: str) -> None:
    """Each file of the export has its line in a tree, and each line its file."""
    text = (ROOT / page).read_text(encoding="utf-8")
    tree = text[text.index(f"\n{package}/") :].splitlines()[2:]
    named = {
        match[1].rstrip("/")
        for line in takewhile(re.compile("  ").match, tree)
        if (match := re.match(r"  (\S+)", line))
    }
    files = {path.parts[1] for path in tracked() if path.parts[0] == package}
    assert named == files - {"__init__.py", "README.md"}


def test_links_lead_somewhere() -> None:
    """Every relative link in the Markdown files names a file that exists."""
    missing = []
    for path in tracked():
        if path.suffix == ".md":
            text = (ROOT / path).read_text(encoding="utf-8")
            targets = [
                target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not re.match(r"[a-z]+:", target)
            ]
            missing += [f"{path}: {target}" for target in targets if not (ROOT / path.parent / target).exists()]
    assert missing == []


def test_readme_example_is_real(service: Service) -> None:
    """The curl line gives the answer that stands below it, on this CPU to three digits."""
    command = re.search(r"^curl .*/predict .*$", README, re.MULTILINE)
    answer = re.search(r"^\{\"predictions\".*$", README, re.MULTILINE)
    assert command
    assert answer
    body = shlex.split(command[0])[-1]
    given = httpx.post(f"{service.url}/predict", content=body).json()["predictions"]
    for ours, shown in zip(given, json.loads(answer[0])["predictions"], strict=True):
        assert [item["label"] for item in ours] == [item["label"] for item in shown]
        assert [item["score"] for item in ours] == pytest.approx([item["score"] for item in shown], abs=1e-3)


def test_make_help_lists_every_target() -> None:
    """Each phony target that a user may call has a line in `make help`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    make = shutil.which("make")
    assert make
    shown = subprocess.run([make, "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    internal = {"python", "redis-server"}
    for target in set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)) - internal:
        assert re.search(rf"^  {target} ", shown, re.MULTILINE), target


def test_no_path_of_a_machine_is_committed() -> None:
    """Nothing in the tree works on one machine only."""
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/")
    found = []
    for path in tracked():
        if (
            path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".js", ".html", ""}
            and path.name != "poetry.lock"
        ):
            text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
            found += [f"{path}: {match[0]}" for match in pattern.finditer(text) if path.name != "test_docs.py"]
    assert found == []


@pytest.mark.parametrize(
    ("system", "status", "said"),
    [
        ("Linux", 0, ""),
        ("Darwin", 0, "note: on macOS one worker on ONNX Runtime should work"),
        ("MINGW64_NT-10.0", 2, "error: Valence needs Linux or macOS: on Windows take WSL 2"),
    ],
)
def test_make_says_what_works_on_this_system(tmp_path: Path, system: str, status: int, said: str) -> None:
    """Before it sets anything up; the system is what `uname` says."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    uname = tmp_path / "uname"
    uname.write_text(f"#!/bin/sh\necho {system}\n")
    uname.chmod(0o755)
    command = [make, "python", f"PYTHON={sys.executable}"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    found = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr.startswith(said)) == (status, True)
    assert said or not found.stderr
