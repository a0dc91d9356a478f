"""One training by its command: what MLflow keeps of it, and the exit status of one that has no run."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
pytest.importorskip("mlflow", reason="the export group is not installed: make test-export")
pytest.importorskip("skl2onnx", reason="the export group is not installed: make test-export")
pytest.importorskip("matplotlib", reason="the export group is not installed: make test-export")
import mlflow

from model_export.tracking import VARIABLE
from tests.conftest import free_port
from tests.training.service.requests import table, texts
from training.service.job import main
from training.service.statuses import REFUSED, UNTRACKED


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the store that MLFLOW_TRACKING_URI names."""
    uri = (tmp_path / "runs").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv(VARIABLE, uri)
    return mlflow.MlflowClient(uri)


def request(folder: Path, document: object) -> str:
    """The file of a request."""
    file = folder / "request.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return str(file)


def test_a_table_becomes_a_run(store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the package that the API serves; the last line of standard output has its id and its metrics."""
    assert main([request(tmp_path, table())]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    run = store.get_run(answer["run_id"])
    assert answer["metrics"] == run.data.metrics
    assert answer["metrics"]["accuracy"] == pytest.approx(answer["metrics"]["accuracy.accuracy"], abs=1e-6)
    assert answer["metrics"]["accuracy"] > 0.7
    assert answer["metrics"]["f1"] > 0.7
    wanted = {"algorithm": "random_forest", "hyperparameters.n_estimators": "5", "hyperparameters.max_depth": "12"}
    assert wanted.items() <= run.data.params.items()
    kept = {Path(file.path).name for file in store.list_artifacts(answer["run_id"], "package")}
    assert kept == {"manifest.json", "model.onnx"}
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (table(target=[1]), r"request.json: target: 1 values for 60 rows"),
        (table(algorithm="logistic_regression", hyperparameters={"C": 1e5, "max_iter": 1}), r"max_iter=1: allow more"),
        (texts(21, texts=["the same"] * 20, labels=["a", "b"] * 10), "cannot be split by label"),
    ],
    ids=["a bad request", "no convergence", "a bad data set"],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    store: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], document: object, message: str
) -> None:
    """The last one of standard error; there is no run."""
    assert main([request(tmp_path, document)]) == REFUSED
    said, errors = capfd.readouterr()
    assert said == ""
    assert errors.splitlines()[-1].startswith("error: ")
    assert message in errors.splitlines()[-1]
    found = store.get_experiment_by_name("valence")
    assert found is None or store.search_runs([found.experiment_id]) == []


def test_an_mlflow_that_is_down_is_said_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an exit status of its own."""
    monkeypatch.setenv(VARIABLE, uri := f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main([request(tmp_path, table())]) == UNTRACKED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: MLFLOW_TRACKING_URI={uri}: ")


def test_a_missing_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name."""
    assert main([str(tmp_path / "none.json")]) == REFUSED
    assert "none.json" in capsys.readouterr().err
