"""One training at a time: the queue, its bound, and trainings that are ended before they are done."""

import os
import signal
from pathlib import Path

import httpx
import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
pytest.importorskip("mlflow", reason="the export group is not installed: make test-export")
pytest.importorskip("skl2onnx", reason="the export group is not installed: make test-export")
pytest.importorskip("matplotlib", reason="the export group is not installed: make test-export")

from tests.training.service.requests import table
from tests.training.service.running import TrainingService, started, until

ENDLESS = {"algorithm": "gradient_boosting", "hyperparameters": {"n_estimators": 500, "max_depth": 12}}
"""Minutes with a table of 2,000 rows."""


def submit(service: TrainingService) -> str:
    """The status' URL of a training that takes minutes."""
    answer = service.train(table(rows=2_000, columns=10, **ENDLESS))
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return str(answer.json()["status_url"])


def test_one_runs_one_waits_and_no_more(tmp_path: Path) -> None:
    """What is cancelled or killed has failed, and ends neither the service nor what comes after it."""
    limits = {"VALENCE_TRAINING_QUEUE": "1", "VALENCE_TRAINING_ANSWER_SECONDS": "0"}
    with started(tmp_path, **limits) as service:
        first = submit(service)
        until(lambda: service.state(first)["status"] == "running", "the first training runs")
        second = submit(service)
        assert service.state(second)["status"] == "queued"

        refused = service.train(table())
        assert refused.status_code == httpx.codes.TOO_MANY_REQUESTS
        assert int(refused.headers["Retry-After"]) > 0
        assert "1 trainings wait already (VALENCE_TRAINING_QUEUE)" in refused.json()["detail"][0]["msg"]

        assert service.http.delete(second).json() | {"id": ""} == {
            "id": "",
            "status": "failed",
            "status_url": second,
            "reason": "cancelled",
        }
        (process,) = service.children()
        adjustment = Path(f"/proc/{process}/oom_score_adj")
        until(lambda: adjustment.read_text() == "1000\n", "the kernel would end the training before the service")
        os.kill(process, signal.SIGKILL)
        until(lambda: service.state(first)["status"] == "failed", "the first training has failed")
        assert service.state(first)["reason"] == "its process was ended by SIGKILL: too little memory?"

        third = submit(service)
        until(lambda: service.state(third)["status"] == "running", "the third training runs")
        until(service.children, "its process is there")
        (process,) = service.children()
        assert service.http.delete(third).json()["reason"] == "cancelled"
        assert not Path(f"/proc/{process}").exists()
        assert service.http.delete(third).json()["status"] == "failed"

        last = service.train(table()).json()["status_url"]
        until(lambda: service.state(last)["status"] == "succeeded", "a training after all this succeeds")
        assert list(service.temporary.iterdir()) == []


def test_a_training_has_its_time(tmp_path: Path) -> None:
    """One that takes longer is ended, and has failed with the limit as its reason."""
    with started(tmp_path, VALENCE_TRAINING_TIMEOUT_SECONDS="0.5") as service:
        answer = service.train(table(rows=2_000, columns=10, **ENDLESS))
        assert answer.status_code == httpx.codes.GATEWAY_TIMEOUT
        assert "longer than 0.5 s (VALENCE_TRAINING_TIMEOUT_SECONDS)" in answer.json()["detail"][0]["msg"]
        assert service.children() == []


def test_the_end_of_the_service_ends_its_training(tmp_path: Path) -> None:
    """No process and no file stays behind."""
    with started(tmp_path, VALENCE_TRAINING_ANSWER_SECONDS="0") as service:
        url = submit(service)
        until(lambda: service.state(url)["status"] == "running" and service.children(), "the training runs")
        (process,) = service.children()
        assert service.stop() in (0, -signal.SIGTERM)
        assert not Path(f"/proc/{process}").exists()
        assert list(service.temporary.iterdir()) == []
