"""The Locust users against the real service, in a process of their own: Locust replaces Python's sockets by its own."""

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import ROOT, free_port

pytestmark = pytest.mark.skipif(
    find_spec("locust") is None, reason="Locust is not installed; make locust installs it with the group `load`"
)
FILES = "load/locust/locustfile.py,load/locust/steps.py"


class Service(Protocol):
    """What the fixture `service` gives, as far as Locust cares."""

    url: str


def locust(*arguments: str, files: str = FILES, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it without its web page."""
    command = [sys.executable, "-m", "locust", "-f", files, "--headless", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300, check=False
    )


def test_all_users_find_what_they_expect(service: Service, tmp_path: Path) -> None:
    """Predictions, health and refusals: no failure, though the host ends with a slash, and all files are there."""
    report, prefix = tmp_path / "report.html", tmp_path / "locust"
    files = ("--html", str(report), "--csv", str(prefix))
    done = locust("--host", f"{service.url}/", *files, STEP_SECONDS="2", MAX_USERS="20")
    assert done.returncode == 0, done.stderr
    assert "knee: " in done.stderr
    assert report.stat().st_size > 0
    with (tmp_path / "locust_stats.csv").open() as lines:
        rows = {row["Name"]: row for row in csv.DictReader(lines)}
    assert {"/predict (warm)", "/predict (corrupt)"} <= set(rows)
    assert {"/health", "/readyz"} & set(rows)
    assert rows["Aggregated"]["Failure Count"] == "0"
    assert int(rows["Aggregated"]["Request Count"]) >= 10
    assert {"locust_failures.csv", "locust_exceptions.csv"} <= {file.name for file in tmp_path.iterdir()}


def test_all_users_find_what_they_expect_of_a_table(wine: Service, tmp_path: Path) -> None:
    """The same with rows: known and new ones are answered, corrupted ones refused."""
    done = locust("--host", wine.url, "--csv", str(tmp_path / "locust"), STEP_SECONDS="2", MAX_USERS="20")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "locust_stats.csv").open() as lines:
        rows = {row["Name"]: row for row in csv.DictReader(lines)}
    assert {"/predict (warm)", "/predict (corrupt)"} <= set(rows)
    assert rows["Aggregated"]["Failure Count"] == "0"


def test_a_step_that_passes_between_two_ticks_is_measured(service: Service) -> None:
    """As when the machine stands still: there is no settled part of it, and no division by its length of zero."""
    done = locust("--host", service.url, STEP_SECONDS="0.001", MAX_USERS="20")
    assert done.returncode == 0, done.stderr
    assert "knee: " in done.stderr


def test_host_where_nobody_answers_ends_it_at_once() -> None:
    """One line with the host, no minutes of failing requests."""
    host = f"http://127.0.0.1:{free_port()}"
    done = locust("--host", host)
    assert done.returncode == 1
    assert f"error: --host {host}: POST /predict:" in done.stderr


def test_missing_host_is_named() -> None:
    """Without the web page nobody asks for it."""
    done = locust()
    assert done.returncode == 1
    assert "--host is missing" in done.stderr


def test_limit_of_open_files_is_named_before_users_start() -> None:
    """Connections that cannot be opened would pass for the knee of the service."""
    command = f"ulimit -n 256; exec {sys.executable} -m locust -f {FILES} --headless --host http://127.0.0.1:1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert "10000 users need 10100 open files, the limit is 256" in done.stderr


def test_soft_limit_is_raised() -> None:
    """A shell's usual 1,024 is no reason to stop."""
    code = (
        "from resource import *; from load.open_files import allow_users; "
        "allow_users(1500); print(getrlimit(RLIMIT_NOFILE)[0] >= 1600)"
    )
    command = f"ulimit -Sn 1024; exec {sys.executable} -c '{code}'"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "True", done.stderr
