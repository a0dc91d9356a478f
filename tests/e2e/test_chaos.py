"""`make chaos ARGS=--pods`: what is done to pods, under traffic."""

import json
import subprocess
import sys
from pathlib import Path

from tests.e2e.stack import ROOT, TOOLS


def test_pods_cost_what_is_promised(image: str, tmp_path: Path) -> None:
    """All faults; each loses no more than the requests that were under way."""
    file = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "bench.chaos", "--pods", "--seconds", "2", "--image", image]
    command += ["--tools", str(TOOLS), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(file.read_text(encoding="utf-8"))["faults"]
    assert len(rows) == 5
    assert all(row["counts"]["sent"] > 100 for row in rows)
