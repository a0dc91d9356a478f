"""From a package to the champion of a registered model, with a real MLflow server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")
pytest.importorskip("mlflow", reason="needs mlflow-skinny")
import mlflow
import onnx

from app.model.classifier import Classifier
from app.model.package import Package
from app.model.source import look_up
from model_export.__main__ import main
from model_export.package import fingerprint, write_json
from tests.mlflow_server import MlflowServer, running
from tests.model_export.tiny import TOLERANCE

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow warns of type hints of its own while it logs a model."""
TEXTS = ("good film", "never again", "worst", "perfect, love it", "bad bad bad", "it is not the worst film")


@pytest.fixture(scope="module")
def server() -> Iterator[MlflowServer]:
    """One server for the file, whose models have names of their own."""
    with running() as started:
        yield started


@pytest.fixture
def client(server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the server that MLFLOW_TRACKING_URI names; what is fetched goes to a cache of the test."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VALENCE_MODEL_CACHE_DIR", str(tmp_path / "cache"))
    return mlflow.MlflowClient(server.url)


@pytest.fixture(scope="module")
def opinions(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts under the labels that the tiny package gives them."""
    classifier = Classifier(Package(package))
    rows = [f"{classifier.predict([classifier.encoder.encode(text).ids])[0].labels[0]}\t{text}" for text in TEXTS]
    path = tmp_path_factory.mktemp("data") / "opinions.tsv"
    path.write_text("\n".join(["label\tsentence", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def contrary(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny package with every logit's sign turned, and golden texts that say so."""
    folder = tmp_path_factory.mktemp("packages") / "contrary"
    folder.mkdir()
    graph = onnx.load(package / "model.onnx")
    graph.graph.node[-1].output[0] = "turned"
    graph.graph.node.append(onnx.helper.make_node("Neg", ["turned"], ["logits"]))
    onnx.save(graph, folder / "model.onnx")
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    for file in ("tokenizer.json", "config.json"):
        (folder / file).write_bytes((package / file).read_bytes())
    manifest["files"] = {path.name: fingerprint(path) for path in folder.iterdir()}
    for item in manifest["golden"]:
        item["scores"] = dict(zip(item["scores"], reversed(item["scores"].values()), strict=True))
    write_json(folder / "manifest.json", manifest)
    return folder


def test_export_registers_a_version_that_says_what_it_is(
    client: Any, checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    """With signature, input example, tags and the alias; the run keeps the digest of the data."""
    output = tmp_path / "exported"
    options = ["--data", str(labelled), "--licence", "MIT", "--tolerance", str(TOLERANCE), "--register", "exported"]
    assert main(["--model", str(checkpoint), "--output", str(output), *options]) == 0
    version = client.get_model_version_by_alias("exported", "candidate")
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    assert version.tags == {
        "digest": Package(output).digest,
        "engine": "native, onnxruntime",
        "accuracy": f"{manifest['accuracy']['onnx']} on dev.tsv",
        "verification": f"differs from PyTorch by {manifest['verification']['max_score_difference']:.4f} at most",
    }
    params = client.get_run(version.run_id).data.params
    assert params["accuracy.sha256"] == manifest["accuracy"]["sha256"]
    found = mlflow.models.get_model_info("models:/exported/1")
    assert [column.type.name for column in found.signature.inputs] == ["string"]
    assert found.signature.outputs.input_names() == ["label", "score", "NEGATIVE", "POSITIVE"]
    assert found.saved_input_example_info["type"] == "dataframe"
    assert Package(look_up("models:/exported@candidate", tmp_path / "cache").folder).digest == Package(output).digest


SCORE = """
import json, sys
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
import app
texts = json.loads(sys.argv[2])
frame = model.predict(pd.DataFrame({"review": [*texts, None, " "]}, index=range(7, 9 + len(texts))))
assert list(frame.index) == [*range(7, 9 + len(texts))]
rows = frame.astype(object).where(frame.notna(), None).values.tolist()
print(json.dumps([app.__file__, model.predict(texts).values.tolist(), rows]))
"""


def test_registered_model_scores_as_the_service_does_without_the_repository(
    client: Any, package: Path, tmp_path: Path
) -> None:
    """From a list and from a column of any name; a missing or blank text gets an empty label and stops nothing."""
    assert main(["register", "standalone", "--package", str(package)]) == 0
    command = [sys.executable, "-c", SCORE, "models:/standalone@candidate", json.dumps(TEXTS)]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    code, listed, column = json.loads(process.stdout.splitlines()[-1])
    assert not Path(code).is_relative_to(Path(__file__).parents[2])
    classifier = Classifier(Package(package))
    for text, row in zip(TEXTS, listed, strict=True):
        (prediction,) = classifier.predict([classifier.encoder.encode(text).ids])
        first, second = (dict(zip(prediction.labels, prediction.scores, strict=True))[index] for index in (0, 1))
        assert row == [("NEGATIVE", "POSITIVE")[prediction.labels[0]], max(first, second), first, second]
    assert column == [*listed, *[["", None, None, None]] * 2]
    assert client.get_model_version_by_alias("standalone", "candidate").version == "1"


LOAD = """
import sys
import mlflow.pyfunc
try:
    mlflow.pyfunc.load_model(sys.argv[1])
except Exception as exc:
    print(type(exc).__name__, exc)
"""


@pytest.mark.usefixtures("client")
def test_registered_model_that_scores_otherwise_is_not_loaded(contrary: Path, package: Path, tmp_path: Path) -> None:
    """Its golden texts are scored where it is loaded, whoever loads it."""
    assert main(["register", "elsewhere", "--package", str(package)]) == 0
    folder = Path(mlflow.artifacts.download_artifacts("models:/elsewhere/1", dst_path=str(tmp_path / "model")))
    (manifest,) = folder.glob("artifacts/**/manifest.json")
    told = json.loads(manifest.read_text(encoding="utf-8"))
    told["golden"] = json.loads((contrary / "manifest.json").read_text(encoding="utf-8"))["golden"]
    manifest.write_text(json.dumps(told), encoding="utf-8")
    command = [sys.executable, "-c", LOAD, str(folder)]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.stdout.startswith("GoldenMismatch "), process.stdout + process.stderr


def champion_of(client: Any, name: str) -> str | None:
    """The number of the champion, as MLflow has it."""
    found: Any = client.get_registered_model(name).aliases.get("champion")
    return None if found is None else str(found)


def test_champion_is_replaced_only_when_every_gate_holds(
    client: Any,
    package: Path,
    contrary: Path,
    opinions: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first takes an empty place; one that errs is refused with the reasons, and an equal one is not."""
    promote = ["promote", "ladder", "--data", str(opinions)]
    for folder in (package, contrary, package):
        assert main(["register", "ladder", "--package", str(folder)]) == 0
    assert main([*promote, "--version", "1"]) == 0
    assert champion_of(client, "ladder") == "1"
    capsys.readouterr()
    assert main([*promote, "--version", "2"]) == 1
    output, errors = capsys.readouterr()
    reason = errors.splitlines()[-1]
    assert reason.startswith("error: models:/ladder/2 stays a candidate: wrong labels, % 100.00 (allowed: up to 0.50)")
    assert "wrong labels, %" in output
    assert champion_of(client, "ladder") == "1"
    gates = json.loads(client.get_model_version("ladder", "2").tags["gates"])
    assert [gate["holds"] for gate in gates if gate["name"] == "wrong labels, %"] == [False]
    assert main(promote) == 0  # of the alias `candidate`, which the last one has
    assert champion_of(client, "ladder") == "3"
    assert main(promote) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "models:/ladder/3 is the champion already"


def test_champion_by_names_of_labels_is_not_one_that_came_meanwhile(
    client: Any, package: Path, opinions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who was compared with the present champion takes no other one's place.

    The texts come through a pipe, so that the test has its turn between the comparison's beginning and its end.
    """
    for _ in range(2):
        assert main(["register", "race", "--package", str(package)]) == 0
    client.set_registered_model_alias("race", "champion", "1")
    client.delete_registered_model_alias("race", "candidate")
    assert main(["promote", "race", "--data", str(opinions)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: models:/race has no alias candidate"
    named = [line.split("\t") for line in opinions.read_text(encoding="utf-8").splitlines()[1:]]
    rows = "".join(f'"{text}",{("NEGATIVE", "POSITIVE")[int(label)]}\n' for label, text in named)
    pipe = tmp_path / "opinions.csv"
    os.mkfifo(pipe)

    def come_between() -> None:
        with pipe.open("w", encoding="utf-8") as file:  # once it is opened for reading
            client.delete_registered_model_alias("race", "champion")
            file.write("review,mood\n" + rows)

    columns = ["--text-column", "review", "--label-column", "mood"]
    with ThreadPoolExecutor(1) as pool:
        came = pool.submit(come_between)
        assert main(["promote", "race", "--version", "2", "--data", str(pipe), *columns]) == 1
        came.result()
    output, errors = capsys.readouterr()
    (wrong,) = (line for line in output.splitlines() if line.startswith("wrong labels, %"))
    assert wrong.split()[3:5] == ["0.00", "0.00"]
    assert errors.splitlines()[-1] == "error: models:/race has another champion meanwhile; compare with that one"
    assert champion_of(client, "race") is None


@pytest.mark.usefixtures("client")
def test_unknown_models_and_servers_are_one_line(
    opinions: Path,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever is asked for, nothing is changed and the reason stands alone."""

    def reason(*arguments: str | Path) -> str:
        assert main([str(argument) for argument in arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "Registered Model with name=unknown not found" in reason("promote", "unknown", "--data", opinions)
    assert "dev.tsv" in reason("promote", "unknown", "--data", tmp_path / "dev.tsv")
    assert "no model package at" in reason("register", "x", "--package", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    nowhere = "error: MLFLOW_TRACKING_URI should name the server of MLflow"
    assert reason("register", "x", "--package", package) == nowhere
    line = reason("--model", "x", "--output", tmp_path / "p", "--register", "x")
    assert line == "error: --register needs MLFLOW_TRACKING_URI, which names the server of MLflow"
