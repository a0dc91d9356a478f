"""docs/findings.md, from recorded runs; and the balancer in front of pods, by Envoy's own check."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed; make load installs it with the group `load`")

from bench.findings.page import write_page
from bench.pods import balancer
from tests.conftest import ROOT

RECORDED = ROOT / "tests" / "load" / "recorded"


def test_page_shows_every_run(tmp_path: Path) -> None:
    """A row for each run, the knee's steps, and the pods in the order of their number."""
    runs, docs = tmp_path / "runs", tmp_path / "docs"
    docs.mkdir()
    for name in ("smoke", "mission", "ramp", "knee", "pods-1", "pods-10", "pods-2"):
        shutil.copytree(RECORDED, runs / name)
        facts = json.loads((runs / name / "run.json").read_text()) | {"engine": "native"}
        (runs / name / "run.json").write_text(json.dumps(facts))
    write_page(runs, docs, beside="nothing")
    page = (docs / "findings.md").read_text()
    assert "computed by the engine `native`" in page
    for name in ("smoke", "mission", "ramp"):
        assert f"\n| `{name}` | " in page
    pods = [line.split(" | ")[0] for line in page.partition("## Pods")[2].splitlines() if line.startswith("| ")]
    assert pods[-3:] == ["| 1", "| 2", "| 10"]
    pictures = {path.name for path in (docs / "findings").glob("*.png")}
    assert {"pods.png", "mission-latency.png", "ramp-latency.png"} <= pictures
    assert all(f"](findings/{name})" in page for name in pictures)


def test_envoy_takes_the_balancer() -> None:
    """As it would at its start."""
    program = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("there is no Envoy; `make e2e` installs one")
    command = [
        program,
        "--mode",
        "validate",
        "--log-level",
        "error",
        "--config-yaml",
        json.dumps(balancer(8000, [1, 2])),
    ]
    assert subprocess.run(command, check=False, capture_output=True, timeout=300).returncode == 0
