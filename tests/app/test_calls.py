"""How many of our own functions a prediction goes through: each costs its reader time, and a hit 50 nanoseconds."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def calls() -> dict[str, list[str]]:
    """The calls of a hit and of a miss, as "file function"."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VALENCE_", "OTEL_"))}
    command = [sys.executable, "-m", "tests.app.calls"]
    variables = clean | {"VALENCE_METRICS_BIND": ""}
    ended = subprocess.run(command, cwd=ROOT, env=variables, check=True, capture_output=True, text=True)
    found: dict[str, list[str]] = json.loads(ended.stderr)
    return found


@pytest.mark.parametrize(("kind", "most_calls", "most_files"), [("hit", 15, 8), ("miss", 40, 12)])
def test_calls_are_few(calls: dict[str, list[str]], kind: str, most_calls: int, most_files: int) -> None:
    """Of functions defined below app/, and the files in which they stand."""
    listed = "\n".join(calls[kind])
    assert len(calls[kind]) <= most_calls, listed
    assert len({call.split()[0] for call in calls[kind]}) <= most_files, listed
    assert any("Predict.__call__" in call for call in calls[kind]), "nothing was counted"
