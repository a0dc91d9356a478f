"""The benchmark as a user runs it, for fractions of a second."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The JSON of one short round of hits and misses."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    done = bench("--rounds", "1", "--seconds", "0.3", "--only", "hits,misses", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "hits in process, 32 clients: requests/s over the empty app" in done.stdout
    loaded: dict[str, object] = json.loads(file.read_text())
    return loaded


def test_hits_are_hits_and_misses_are_misses(report: dict) -> None:  # type: ignore[type-arg]
    """By the service's own count; what is not what it is called would be a figure for something else."""
    hits, misses = report["rounds"]["hits"]["service"][0], report["rounds"]["misses"]["service, 64 clients"][0]
    assert hits["texts_from_model"] == 0 < hits["texts_from_memory"]
    assert misses["texts_from_memory"] == 0 < misses["texts_from_model"]
    assert hits["failures"] == misses["failures"] == 0


def test_figures_say_what_they_cost(report: dict) -> None:  # type: ignore[type-arg]
    """CPU time, memory and start are those of a real process."""
    figures = report["rounds"]["hits"]["service"][0]
    assert figures["cpu_us_per_request"] > 0
    assert figures["peak_rss_mb"] > 50
    assert figures["ready_seconds"] > 0.1


def test_ratios_follow_from_the_rounds(report: dict) -> None:  # type: ignore[type-arg]
    """The printed ratio is one side over the other."""
    rounds = report["rounds"]["hits"]
    expected = rounds["service"][0]["requests_per_second"] / rounds["empty app"][0]["requests_per_second"]
    found = {row["what"]: row.get("median") for row in report["ratios"]}
    assert found["hits in process, 32 clients: requests/s over the empty app"] == pytest.approx(expected)
    assert found["95 % mix, 10 clients: requests/s over the usual way, full-size model for both"] is None


def test_machine_and_versions_are_stated(report: dict) -> None:  # type: ignore[type-arg]
    """Figures without them mean nothing."""
    assert report["cpu"]
    assert report["versions"]["onnxruntime"]
    assert len(report["model"]["sha256"]) == 64


def test_unknown_scenario_is_refused_by_name() -> None:
    """And the known ones are listed."""
    done = bench("--only", "hits,typo")
    assert done.returncode == 2
    assert "typo" in done.stderr
    assert "misses" in done.stderr


def test_missing_model_ends_in_one_line(tmp_path: Path) -> None:
    """The service's own message is passed on."""
    done = bench("--only", "hits", "--rounds", "1", "--model-dir", str(tmp_path))
    assert done.returncode == 1
    assert "did not become ready" in done.stderr
    assert str(tmp_path) in done.stderr
