"""Runs told to MLflow: the real client and a store of files, as a server would keep them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")
pytest.importorskip("mlflow", reason="needs mlflow-skinny")
import mlflow

from model_export import tracking
from model_export.__main__ import main
from model_export.errors import ExportError
from tests.conftest import ROOT, free_port
from tests.model_export.command import error_line
from tests.model_export.tiny import TOLERANCE


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the store that MLFLOW_TRACKING_URI names."""
    uri = (tmp_path / "runs").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv(tracking.VARIABLE, uri)
    return mlflow.MlflowClient(uri)


def only_run(store: Any) -> Any:
    """The one run of the experiment."""
    experiment = store.get_experiment_by_name("valence")
    (run,) = store.search_runs([experiment.experiment_id])
    return run


def test_export_is_logged_with_its_package(
    store: Any, checkpoint: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the manifest says becomes parameters and metrics; the files are those of the package."""
    output = tmp_path / "package"
    options = ["--data", str(labelled), "--licence", "MIT", "--tolerance", str(TOLERANCE), "--output", str(output)]
    assert main(["--model", str(checkpoint), *options]) == 0
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    run = only_run(store)
    said, errors = capsys.readouterr()
    assert (said, f"as run {run.info.run_id}" in errors) == ("", True)
    assert (run.info.run_name, run.info.status, run.data.tags["kind"]) == ("package", "FINISHED", "package")
    assert run.data.params["licence"] == "MIT"
    assert run.data.params["quantisation.scheme"] == manifest["quantisation"]["scheme"]
    metrics = run.data.metrics
    assert metrics["accuracy.onnx"] == manifest["accuracy"]["onnx"]
    assert metrics["verification.max_score_difference"] == manifest["verification"]["max_score_difference"]
    assert metrics["bytes.model.onnx"] == (output / "model.onnx").stat().st_size
    kept = {artefact.path for artefact in store.list_artifacts(run.info.run_id, "package")}
    assert kept == {f"package/{path.name}" for path in output.iterdir()}


def test_fine_tuning_is_logged_with_its_recipe(store: Any, tmp_path: Path) -> None:
    """Each stage's accuracies are a step of a metric, those of the shipped weights the last."""
    training = {
        "recipe": {"epochs": 1, "learning_rate": 5e-5},
        "texts": {"training": 20, "held out": 2},
        "data": {"training": {"file": "a.csv", "sha256": "f" * 64}},
        "loss": {"epoch 1": {"training": 0.7, "dev": 0.6}},
        "accuracy": {"epoch 1": {"dev": 50.0, "held out": 49.0}, "mean of snapshots": {"dev": 60.5, "held out": 59.0}},
        "calibration": {"temperature": 1.5, "data": "a.csv"},
    }
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("a page", encoding="utf-8")
    (tmp_path / "training.json").write_text(json.dumps(training), encoding="utf-8")
    told = tracking.tracker()
    assert told
    run_id = told.log(tracking.of_checkpoint(tmp_path))
    assert only_run(store).data.params == {
        "recipe.epochs": "1",
        "recipe.learning_rate": "5e-05",
        "texts.training": "20",
        "texts.held_out": "2",
        "data.training.file": "a.csv",
        "data.training.sha256": "f" * 64,
    }
    assert only_run(store).data.metrics.items() >= {"loss.training": 0.7, "calibration.temperature": 1.5}.items()
    kept = {artefact.path for artefact in store.list_artifacts(run_id, "checkpoint")}
    assert kept == {"checkpoint/training.json", "checkpoint/report.html"}
    history = store.get_metric_history(run_id, "accuracy.dev")
    assert sorted((item.step, item.value) for item in history) == [(1, 50.0), (2, 60.5)]


def test_many_figures_are_logged_in_parts(store: Any, tmp_path: Path) -> None:
    """MLflow takes 1,000 at once, and a run may have as many epochs."""
    stages = {f"epoch {n}": {"dev": float(n)} for n in range(1, 1_202)}
    (tmp_path / "training.json").write_text(json.dumps({"accuracy": stages}), encoding="utf-8")
    told = tracking.tracker()
    assert told
    told.log(tracking.of_checkpoint(tmp_path))
    assert only_run(store).data.metrics["accuracy.dev"] == 1_201.0


def test_server_that_is_down_is_said_before_the_work(checkpoint: Path, tmp_path: Path) -> None:
    """One line that names the variable; nothing was exported."""
    uri = f"http://127.0.0.1:{free_port()}"
    variables = {tracking.VARIABLE: uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    line = error_line("--model", checkpoint, "--output", tmp_path / "package", **variables)
    assert line.startswith(f"MLFLOW_TRACKING_URI={uri}: ")
    assert not (tmp_path / "package").exists()


def test_missing_client_is_said(monkeypatch: pytest.MonkeyPatch, store: Any) -> None:
    """Where the variable is set and the package is not installed; without the variable nobody asks for it."""
    assert store
    monkeypatch.setitem(sys.modules, "mlflow", None)  # so that importing it fails
    with pytest.raises(ExportError, match="install mlflow-skinny"):
        tracking.tracker()
    monkeypatch.delenv(tracking.VARIABLE)
    assert tracking.tracker() is None


def test_tabular_package_is_described_by_what_it_has() -> None:
    """Its algorithm, hyperparameters and cross-validated metrics; what only text models have is left out."""
    record = tracking.of_package(ROOT / "models" / "wine-quality")
    metrics = {name: value for name, value, _ in record.metrics}
    assert metrics["accuracy.folds"] == 5
    assert 0.6 < metrics["accuracy.accuracy"] < 0.7
    assert record.parameters["hyperparameters.max_depth"] == "8"
    assert record.parameters["algorithm"] == "random_forest"
    assert "max_tokens" not in record.parameters
