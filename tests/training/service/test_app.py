"""The training service over HTTP: what it answers, and what it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
pytest.importorskip("mlflow", reason="the export group is not installed: make test-export")
pytest.importorskip("skl2onnx", reason="the export group is not installed: make test-export")
pytest.importorskip("matplotlib", reason="the export group is not installed: make test-export")
import mlflow

from tests.conftest import free_port
from tests.training.service.requests import table, texts
from tests.training.service.running import TrainingService, started, until

TOKEN = "sixteen characters"  # noqa: S105 - of this test's service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingService]:
    """One that asks for a token, which its client sends, and takes bodies of 100 kB."""
    limits = {"VALENCE_TRAINING_TOKEN": TOKEN, "VALENCE_TRAINING_MAX_BODY_BYTES": "100000"}
    with started(tmp_path_factory.mktemp("service"), **limits) as service:
        service.http.headers["Authorization"] = f"Bearer {TOKEN}"
        yield service


def run_of(service: TrainingService, run_id: str) -> Any:
    """The run in MLflow."""
    return mlflow.MlflowClient(service.store).get_run(run_id)


@pytest.fixture(autouse=True)
def _store_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def test_a_table_is_answered_with_its_run(service: TrainingService) -> None:
    """With accuracy and F1 as MLflow has them; the status says the same later, and no file is left behind."""
    answer = service.train(table())
    assert answer.status_code == httpx.codes.OK, answer.text
    said = answer.json()
    assert said["status"] == "succeeded"
    assert {"accuracy", "f1"} <= set(said["metrics"])
    assert said["metrics"] == run_of(service, said["run_id"]).data.metrics
    assert service.state(said["status_url"]) == said
    assert list(service.temporary.iterdir()) == []


def test_texts_are_trained_in_the_background(service: TrainingService) -> None:
    """202 with the URL of a status that ends with the run, which has all that `make export` needs."""
    answer = service.train(texts())
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    url = answer.json()["status_url"]
    assert answer.headers["Location"] == url
    assert answer.json()["status"] in ("queued", "running")
    until(lambda: service.state(url)["status"] not in ("queued", "running"), "the fine-tuning has ended")
    said = service.state(url)
    assert said["status"] == "succeeded", said
    assert said["metrics"] == run_of(service, said["run_id"]).data.metrics
    assert {"accuracy.dev", "macro_F1.dev"} <= set(said["metrics"])
    found = mlflow.MlflowClient(service.store).list_artifacts(said["run_id"], "checkpoint")
    assert {Path(file.path).name for file in found} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert list(service.temporary.iterdir()) == []


def test_what_cannot_be_fitted_is_the_requests_fault(service: TrainingService) -> None:
    """422 with the reason, as for what is refused before."""
    answer = service.train(table(algorithm="logistic_regression", hyperparameters={"C": 1e5, "max_iter": 1}))
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (detail,) = answer.json()["detail"]
    assert "max_iter=1: allow more" in detail["msg"]


def test_a_wrong_request_is_refused_with_its_place(service: TrainingService) -> None:
    """Before anything is trained."""
    answer = service.train(table(target=[1]))
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert answer.json() == {
        "detail": [{"type": "unprocessable_entity", "loc": ["body", "target"], "msg": "1 values for 60 rows of `data`"}]
    }


@pytest.mark.parametrize("whole", [True, False], ids=["announced", "in pieces"])
def test_a_long_body_is_refused(service: TrainingService, whole: bool) -> None:
    """413 that names the limit, however the body comes; the client gets to read it."""
    body = json.dumps(table(rows=8_000)).encode()
    pieces = (body[start : start + 1_000] for start in range(0, len(body), 1_000))
    answer = service.http.post("/train", content=body if whole else pieces)
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    assert "limit of 100000 bytes (VALENCE_TRAINING_MAX_BODY_BYTES)" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
@pytest.mark.parametrize(("method", "path"), [("POST", "/train"), ("GET", "/train/x"), ("DELETE", "/train/x")])
def test_a_token_is_needed(service: TrainingService, method: str, path: str, sent: dict[str, str]) -> None:
    """For all but the health and the description."""
    answer = httpx.request(method, service.http.base_url.join(path), headers=sent)
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


def test_the_description_knows_both_requests(service: TrainingService) -> None:
    """`/openapi.json` refers to schemas that it has."""
    document = httpx.get(service.http.base_url.join("/openapi.json")).json()
    content = document["paths"]["/train"]["post"]["requestBody"]["content"]["application/json"]
    names = [choice["$ref"].removeprefix("#/components/schemas/") for choice in content["schema"]["oneOf"]]
    assert names == ["TabularTraining", "TextTraining"]
    assert {*names, "Finetuning"} <= set(document["components"]["schemas"])


def test_an_unknown_training_and_an_unknown_path_are_404(service: TrainingService) -> None:
    """In the shape of all errors."""
    for path in ("/train/none", "/nothing"):
        answer = service.http.get(path)
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert answer.json()["detail"][0]["loc"] == ["path"]


def test_an_mlflow_that_is_down_is_said_before_the_training(tmp_path: Path) -> None:
    """503 with the reason, and no process was started."""
    uri = f"http://127.0.0.1:{free_port()}"
    with started(tmp_path, MLFLOW_TRACKING_URI=uri, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0") as service:
        answer = service.train(table())
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.headers["Retry-After"]
        assert answer.json()["detail"][0]["msg"].startswith(f"MLFLOW_TRACKING_URI={uri}: ")
        assert "training " not in service.log.read_text()
