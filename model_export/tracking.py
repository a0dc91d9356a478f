"""Runs as MLflow keeps them: parameters, metrics and files, where MLFLOW_TRACKING_URI names a server.

    MLFLOW_TRACKING_URI=http://127.0.0.1:5000 python -m model_export ...

Needs `mlflow-skinny`. The server is asked at the start, so that one that is down is not noticed after minutes of work;
it is told at the end, when the files lie in their place, so that it can cost the record only and never the model.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from model_export.errors import ExportError, one_line
from model_export.progress import note

VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_EXPERIMENT = "valence"
"""MLFLOW_EXPERIMENT_NAME names another."""
DESCRIBED = (
    *("source", "licence", "task", "architecture", "algorithm", "hyperparameters", "labels", "max_tokens", "opset"),
    *("quantisation", "tools"),
)
"""Of text and of tabular models: what a manifest lacks is left out."""
MEASURED = ("verification", "accuracy", "calibration")
GIVEN = ("recipe", "texts", "start", "data", "columns", "precision", "saved")
"""What a training was given."""
FIGURES = ("loss", "accuracy", "balanced accuracy", "macro F1", "micro F1")
"""What it was measured by, those of them that it has."""
MOST_METRICS = 500
"""MLflow takes 1,000 at once."""
MAX_VALUE = 500
"""Characters of a parameter; older servers refuse longer ones."""
CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own patience is 7 tries of 120 s each
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output stays free
}
"""How MLflow's client behaves unless the user says otherwise."""


@dataclass(frozen=True)
class Record:
    """What is kept of one run. A metric is (name, value, step); `files` go below the folder `kind` of the run."""

    kind: str
    name: str
    files: list[Path]
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)


class Tracker:
    """A tracking server that answers. Raises ExportError for one that does not, and where MLflow is not installed."""

    def __init__(self, uri: str) -> None:
        for name, value in CLIENT.items():
            os.environ.setdefault(name, value)
        try:
            # By name: it is no dependency, and a type checker need not find it.
            self.mlflow: Any = import_module("mlflow")
        except ModuleNotFoundError as exc:
            raise ExportError(f"{VARIABLE} is set, but MLflow is missing: install mlflow-skinny, or unset it") from exc
        self.uri = uri
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
        try:
            self._client = self.mlflow.MlflowClient(uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment = found.experiment_id if found else self._client.create_experiment(experiment)
        except self.mlflow.MlflowException as exc:
            raise ExportError(f"{VARIABLE}={uri}: {one_line(exc)}") from exc

    def log(self, record: Record) -> str:
        """Keep a run, and return its id. Raises ExportError when the server does not take it."""
        entities = self.mlflow.entities
        now = int(time.time() * 1000)
        try:
            run = self._client.create_run(self._experiment, tags={"kind": record.kind}, run_name=record.name)
            run_id = str(run.info.run_id)
            parameters = [entities.Param(name, value[:MAX_VALUE]) for name, value in record.parameters.items()]
            metrics = [entities.Metric(name, value, now, step) for name, value, step in record.metrics]
            self._client.log_batch(run_id, params=parameters)
            for start in range(0, len(metrics), MOST_METRICS):
                self._client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])
            for file in record.files:
                self._client.log_artifact(run_id, str(file), record.kind)
            self._client.set_terminated(run_id)
        except self.mlflow.MlflowException as exc:
            raise ExportError(f"the files are written, but MLflow at {self.uri} refused: {one_line(exc)}") from exc
        note(f"logged to {self.uri} as run {run_id}")
        return run_id


def tracker() -> Tracker | None:
    """The server that MLFLOW_TRACKING_URI names; None where it is not set. Raises ExportError as Tracker does."""
    uri = os.environ.get(VARIABLE)
    return Tracker(uri) if uri else None


def of_package(package: Path) -> Record:
    """A package as its manifest describes it: what it is as parameters, what was measured and its sizes as metrics."""
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    measured = dict(flat({name: manifest[name] for name in MEASURED if manifest.get(name)}))
    sizes = {f"bytes.{file}": facts["bytes"] for file, facts in manifest["files"].items()}
    return Record(
        kind="package",
        name=manifest["name"],
        files=sorted(path for path in package.iterdir() if path.is_file()),
        parameters={
            name: str(value) for name, value in flat({key: manifest[key] for key in DESCRIBED if key in manifest})
        }
        | {name: value for name, value in measured.items() if isinstance(value, str)},  # the data and its digest
        metrics=[(name, value, 0) for name, value in (measured | sizes).items() if isinstance(value, int | float)],
    )


def of_checkpoint(checkpoint: Path) -> Record:
    """A trained checkpoint as its training.json describes it, with its report if it has one.

    Figures are by epoch, those of the result last.
    """
    file = checkpoint / "training.json"
    training = json.loads(file.read_text(encoding="utf-8"))
    stages = ((name, step, stage) for name in FIGURES for step, stage in enumerate(training.get(name, {}).values(), 1))
    figures = [(name, value, step) for measure, step, stage in stages for name, value in flat({measure: stage})]
    calibration = flat({"calibration": training.get("calibration") or {}})
    given = {name: training[name] for name in GIVEN if training.get(name)}
    return Record(
        kind="checkpoint",
        name=checkpoint.resolve().name,
        files=[file, *sorted((checkpoint / "report").glob("*"))],
        parameters={name: str(value) for name, value in flat(given)},
        metrics=[*figures, *((name, value, 0) for name, value in calibration if isinstance(value, int | float))],
    )


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b c": 1}} as ("a.b_c", 1): MLflow's names have no levels, and few characters."""
    for key, value in node.items():
        name = prefix + key.replace(" ", "_")
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        else:
            yield name, value
