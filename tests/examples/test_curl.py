"""The script, with the real curl and jq."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT, Service
from tests.examples.limited import limited


def run(service: Service, texts: str, key: str) -> subprocess.CompletedProcess[str]:
    """Run the script with these lines as this caller."""
    if not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("needs curl and jq (Debian: apt-get install curl jq)")
    env = os.environ | {"BASE_URL": service.url, "API_KEY": key}
    command = [str(ROOT / "examples" / "curl.sh")]
    return subprocess.run(command, input=texts, env=env, capture_output=True, text=True, check=False)


def test_scores_lines(keyed: Service) -> None:
    """Label, score and text of each, blank lines left out; quotes and other alphabets come through."""
    done = run(keyed, 'I love "you".\n\n  \nIch hasse Käse, I hate it.\n', "shop-key")
    assert done.stderr == ""
    rows = [row.split("\t") for row in done.stdout.splitlines()]
    assert [(label, text) for label, _, text in rows] == [
        ("POSITIVE", 'I love "you".'),
        ("NEGATIVE", "Ich hasse Käse, I hate it."),
    ]
    assert all(0.5 < float(score) < 1 for _, score, _ in rows)


def test_waits_when_it_is_told_to(keyed: Service) -> None:
    """Of callers with a rate every run is answered, if later."""
    before = limited(keyed, "slow")
    for _ in range(3):
        assert run(keyed, "A fine film.\n" * 4, "slow-key").returncode == 0
    assert limited(keyed, "slow") > before


def test_a_refusal_is_seen(keyed: Service) -> None:
    """The status is not 0, and standard error says why."""
    done = run(keyed, "A fine film.\n", "another-key")
    assert (done.returncode, done.stdout) == (22, "")
    assert "unauthorized" in done.stderr
