"""k6 and Locust against a service that asks for keys."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.app.keys.keys import line
from tests.conftest import ROOT, Service, StartService


@pytest.fixture
def keyed(start_service: StartService, tmp_path: Path) -> Service:
    """A service that knows one key, `the-key` of `load`."""
    (tmp_path / "keys").write_text(line("load", "the-key"))
    return start_service(VALENCE_API_KEYS_FILE=str(tmp_path / "keys"), VALENCE_DRAIN_SECONDS="0").wait_ready()


def test_k6_sends_the_key(k6: str, keyed: Service) -> None:
    """With it every check holds; without it the run ends at once, and says why."""
    command = [k6, "run", "--quiet", "--no-usage-report", f"-eBASE_URL={keyed.url}", "-eDURATION_SCALE=0.05"]
    for key, status in ((["-eAPI_KEY=the-key"], 0), ([], 108)):
        done = subprocess.run(
            [*command, *key, "load/load.js"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        if status:
            assert "POST /predict answers 401" in done.stdout + done.stderr
    assert keyed.metric('valence_key_texts_total{key="load"}') > 100


def test_locust_sends_the_key(keyed: Service) -> None:
    """With it no request fails; without it nothing starts."""
    if find_spec("locust") is None:
        pytest.skip("Locust is not installed; make locust installs it with the group `load`")
    command = [sys.executable, "-m", "locust", "-f", "load/locust/locustfile.py", "--headless", "--host", keyed.url]
    for key, status in (("the-key", 0), ("", 1)):
        done = subprocess.run(
            [*command, "--users", "10", "--spawn-rate", "10", "--run-time", "3s"],
            cwd=ROOT,
            env={**os.environ, "API_KEY": key},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stderr
        if status:
            assert "HTTP Error 401" in done.stderr
    assert keyed.metric('valence_key_texts_total{key="load"}') > 3
