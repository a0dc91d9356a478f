"""Packages as versions of a registered model in MLflow, with the alias `candidate` on the last.

    python -m model_export register NAME --package DIR

A version is a pyfunc model (model_export/pyfunc.py) with the package among its artifacts, from where the service
fetches it by `models:/NAME@ALIAS` (app/model/source.py).
"""

import argparse
import json
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from app.errors import PackageError
from app.model.package import Package
from model_export.command import ended
from model_export.errors import ExportError, one_line
from model_export.package import MANIFEST
from model_export.progress import note
from model_export.served import ROOT
from model_export.tracking import VARIABLE, Tracker, of_package, tracker

CANDIDATE, CHAMPION = "candidate", "champion"
CODE = ("__init__.py", "errors.py", "settings.py", "model")
"""What of `app` a package is scored with."""
LEFT_OUT = ("__pycache__", "check.py", "download.py", "source.py", "*.c", "*.part")
LIBRARIES = ("numpy", "onnxruntime", "pydantic", "pydantic-settings", "safetensors", "tokenizers")
"""Those that it imports, in the versions of pyproject.toml."""
EXAMPLES = ("Neither the plot nor the acting could save it.", "A warm and funny film.")


def main(arguments: Sequence[str]) -> int:
    """Run from the command line: 0 when the package is a version, 1 with the reason when it is not."""
    parser = argparse.ArgumentParser(
        prog="python -m model_export register", description="Make a package the next version of a registered model."
    )
    parser.add_argument("name", help="the registered model, which is made when it is missing")
    parser.add_argument("--package", type=Path, required=True, help="folder of the package")
    options = parser.parse_args(arguments)
    return ended(partial(_run, options), "model_export register", expected=(ExportError, PackageError))


def _run(options: argparse.Namespace) -> None:
    Package(options.package)  # before anything is told to the server
    told = needed_tracker()
    register(told, options.package, options.name, told.log(of_package(options.package)))


def needed_tracker() -> Tracker:
    """The server that MLFLOW_TRACKING_URI names. Raises ExportError where it is not set, and as `tracker` does."""
    found = tracker()
    if found is None:
        raise ExportError(f"{VARIABLE} should name the server of MLflow")
    return found


def register(told: Tracker, package: Path, name: str, run_id: str) -> str:
    """Make `package`, which the run `run_id` made, the next version of the model `name`; returns its number.

    Raises ExportError for a package with a label that a column of the answers is called, and when MLflow refuses.
    """
    manifest = json.loads((package / MANIFEST).read_text(encoding="utf-8"))
    if taken := {"label", "score"} & set(manifest["labels"]):
        raise ExportError(f"a label is called {taken.pop()!r}, as is a column of a registered model's answers")
    mlflow = told.mlflow
    mlflow.set_tracking_uri(told.uri)
    with refusals(told):
        with mlflow.start_run(run_id=run_id), _parts(package) as parts:
            model = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("pyfunc.py")),
                artifacts={"package": str(parts / "package")},
                code_paths=[str(parts / "app")],
                pip_requirements=_requirements(mlflow),
                signature=_signature(mlflow, manifest["labels"]),
                input_example=_example(),
                registered_model_name=name,
            )
        version = str(model.registered_model_version)
        client = mlflow.MlflowClient(told.uri)
        for tag, value in tags(package, manifest).items():
            client.set_model_version_tag(name, version, tag, value)
        client.set_registered_model_alias(name, CANDIDATE, version)
    note(f"registered as models:/{name}/{version}, alias {CANDIDATE}")
    return version


@contextmanager
def refusals(told: Tracker) -> Iterator[None]:
    """MLflow's refusals, and a server that is down, as ExportError."""
    try:
        yield
    except (told.mlflow.MlflowException, OSError) as exc:
        raise ExportError(f"MLflow at {told.uri}: {one_line(exc)}") from exc


def tags(package: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """What a version's page should say without a download. `digest` is what /model/info says, and is checked."""
    found = Package(package)
    accuracy, verification = manifest["accuracy"] or {}, manifest["verification"]
    return {
        "digest": found.digest,
        "engine": "native, onnxruntime" if found.weights_path else "onnxruntime",
        "accuracy": f"{accuracy['onnx']} on {accuracy['data']}" if accuracy else "not measured",
        "verification": f"differs from PyTorch by {verification['max_score_difference']:.4f} at most",
    }


@contextmanager
def _parts(package: Path) -> Iterator[Path]:
    """A folder with the package as `package` and the code as `app`: MLflow keeps the names that it is given."""
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder)
        (parts / "package").mkdir()
        for file in (MANIFEST, *Package(package).manifest.files):
            shutil.copy2(package / file, parts / "package" / file)
        (parts / "app").mkdir()
        for part in CODE:
            source, target = ROOT / "app" / part, parts / "app" / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
            else:
                shutil.copy2(source, target)
        yield parts


def _requirements(mlflow: Any) -> list[str]:
    """For pip, where the model is loaded."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [line for line in project["project"]["dependencies"] if line.split(" ")[0] in LIBRARIES]
    pandas = project["tool"]["poetry"]["group"]["export"]["dependencies"]["pandas"].removeprefix("^")
    return [f"mlflow-skinny=={mlflow.__version__}", f"pandas>={pandas}", *(line.replace(" ", "") for line in wanted)]


def _signature(mlflow: Any, labels: list[str]) -> Any:
    schema, column = mlflow.types.Schema, mlflow.types.ColSpec
    scores = [column("double", name) for name in ("score", *labels)]
    return mlflow.models.ModelSignature(
        inputs=schema([column("string")]),  # by no name: a list, a column of any name, a Series
        outputs=schema([column("string", "label"), *scores]),
    )


def _example() -> Any:
    import pandas as pd  # noqa: PLC0415 - half a second that an export without --register does without

    return pd.DataFrame({"text": list(EXAMPLES)})
