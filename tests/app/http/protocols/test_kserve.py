"""KServe's own Python client, unchanged, against a real service.

It stands in an environment of its own: it needs protobuf below 7 and pandas below 3, which the lock does not have.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, START_SECONDS, Service

PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
CLIENT = Path(__file__).with_name("kserve_client.py")
MODEL = "distilbert-sst2-mini"


def test_kserve_client_is_answered(service: Service) -> None:
    """Health, readiness of a model, texts as JSON and as bytes, and the sentence of a refusal."""
    if not PYTHON.exists():
        pytest.skip("KServe's client is not installed: make .venv-kserve/bin/kserve")
    command = [PYTHON, CLIENT, service.wait_ready().url, MODEL]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=START_SECONDS)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["live"], told["ready"], told["model"], told["other"]) == (True, True, True, False)
    assert told["json"]["labels"] == told["binary"]["labels"] == [["NEGATIVE"], ["POSITIVE"]]
    assert told["json"]["scores"] == told["binary"]["scores"]
    assert all(0.9 < score < 1 for (score,) in told["json"]["scores"])
    assert "no-such-model" in told["refusal"]
    assert "404" in told["refusal"]
