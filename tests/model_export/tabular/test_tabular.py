"""Tables to packages: the graph says what scikit-learn says, and what can't be learned from is refused in one line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="the export group is not installed: make test-export")
pytest.importorskip("skl2onnx", reason="the export group is not installed: make test-export")

import numpy as np
import pandas as pd

from model_export.errors import ExportError
from model_export.estimators import Fitted, fit
from model_export.tabular.__main__ import main
from model_export.tabular.convert import MAX_NODES, convert, graph_scores, reference, top, verify
from model_export.tabular.export import About, export
from model_export.tabular.table import read_table
from tests.conftest import ROOT

WINE = ROOT.parent / "shared" / "data" / "wine" / "winequality-red.csv"
ROWS = 600


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Three columns of chance, one of them of whole numbers; classes and a number that follow from them."""
    chance = np.random.default_rng(0)
    made = pd.DataFrame(chance.normal(size=(ROWS, 2)).round(3), columns=["acid", "residual sugar"])
    made["count"] = chance.integers(0, 5, ROWS)
    made["price"] = made.acid + made["count"] + 1000
    made["class"] = np.where(made.acid > 0, "good", "bad")
    made["grade"] = np.select([made.acid > 0.5, made.acid > -0.5], [2, 1], 0)
    return made


@pytest.fixture(scope="module")
def file(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file of semicolons."""
    path = tmp_path_factory.mktemp("table") / "made.csv"
    frame.to_csv(path, sep=";", index=False)
    return path


def fitted(frame: pd.DataFrame, target: str, algorithm: str, **hyperparameters: Any) -> Fitted:
    """Of three columns."""
    small = {} if algorithm == "logistic_regression" else {"n_estimators": 10, "max_depth": 4}
    return fit(
        frame[["acid", "residual sugar", "count"]],
        frame[target],
        algorithm=algorithm,
        hyperparameters=small | hyperparameters,
        task="regression" if target == "price" else "classification",
        folds=3,
    )


@pytest.mark.parametrize("algorithm", ["random_forest", "gradient_boosting", "logistic_regression"])
@pytest.mark.parametrize("target", ["class", "grade", "price"])
def test_graph_says_what_scikit_learn_says(frame: pd.DataFrame, target: str, algorithm: str) -> None:
    """On every row, on the trees' own thresholds and a float32 beside them; no label differs."""
    if (target, algorithm) == ("price", "logistic_regression"):
        pytest.skip("there is no logistic regression of a number")
    made = fitted(frame, target, algorithm)
    features = frame[["acid", "residual sugar", "count"]]
    verification = verify(convert(made), made, features, seed=0)
    assert (verification.rows, verification.label_flips) == (ROWS, 0)
    assert verification.probes >= ROWS
    assert verification.max_difference < 2e-6


def test_scores_stay_from_0_to_1() -> None:
    """Twenty trees that are all sure: their shares of 0.05 add up to more than 1 in float32, and leave less than 0."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=["acid", "sugar"])
    target = (rows.acid + rows.sugar > 0).astype(int)
    few = {"n_estimators": 20}
    made = fit(rows, target, algorithm="random_forest", hyperparameters=few, task="classification")
    scores = graph_scores(convert(made), rows.to_numpy(np.float64))
    assert (scores.min(), scores.max()) == (0.0, 1.0)


def test_another_graph_is_refused(frame: pd.DataFrame) -> None:
    """The gate names the row and the difference."""
    made, other = fitted(frame, "class", "random_forest"), fitted(frame, "class", "random_forest", max_depth=2)
    with pytest.raises(ExportError, match=r"row \d+: the graph differs from scikit-learn by 0\.\d+, more than 1e-05"):
        verify(convert(other), made, frame[["acid", "residual sugar", "count"]], seed=0)


def test_equal_scores_choose_the_first_label() -> None:
    """As scikit-learn does, though float32 adds them up in another order."""
    assert top(np.array([[0.49999998, 0.50000002], [0.4, 0.6]])).tolist() == [0, 1]


def test_forest_that_is_too_large_is_refused(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before minutes of conversion."""
    monkeypatch.setattr("model_export.tabular.convert.MAX_NODES", 50)
    with pytest.raises(ExportError, match=r"the trees have \d+ nodes, more than 50"):
        convert(fitted(frame, "class", "random_forest"))
    assert MAX_NODES == 500_000


def run(file: Path, output: Path, *more: str, target: str = "class") -> int:
    """The command."""
    dropped = {"class": "price", "price": "class"}[target]
    frame = pd.read_csv(file, sep=";").drop(columns=[dropped, "grade"])
    kept = output.with_suffix(".csv")
    frame.to_csv(kept, index=False)
    small: Sequence[str] = ("--set", "n_estimators=10", "--set", "max_depth=4", "--folds", "3")
    return main(["--data", str(kept), "--target", target, "--output", str(output), *small, *more])


def test_command_writes_a_package_that_can_be_served(file: Path, tmp_path: Path) -> None:
    """Manifest, golden rows and profile; the service's own check has passed it, and the same seed gives the same."""
    output = tmp_path / "package"
    assert run(file, output, "--unit", "acid=g/dm3", "--unit", "class=grade", "--licence", "CC0-1.0") == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["task"], manifest["labels"]) == ("tabular-classification", ["bad", "good"])
    columns = [(column["name"], column["type"], column["unit"]) for column in manifest["features"]]
    assert columns == [("acid", "number", "g/dm3"), ("residual sugar", "number", None), ("count", "integer", None)]
    assert (manifest["features"][2]["minimum"], manifest["features"][2]["maximum"]) == (0, 4)
    assert manifest["accuracy"]["accuracy"] > 0.9
    assert {max(golden["scores"], key=golden["scores"].get) for golden in manifest["golden"]} == {"bad", "good"}
    profile = json.loads((output / "profile.json").read_text())
    assert profile["rows"] == ROWS
    assert list(profile["features"]) == [*(name for name, _, _ in columns), "predicted_label", "predicted_score"]
    assert run(file, tmp_path / "again") == 0
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (output / "model.onnx").read_bytes()


def test_command_predicts_numbers(file: Path, tmp_path: Path) -> None:
    """A regression has a range, and what is predicted of rows that were not learned from is in its profile."""
    output = tmp_path / "package"
    assert run(file, output, "--task", "regression", "--algorithm", "gradient_boosting", target="price") == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert "labels" not in manifest
    assert manifest["target"]["minimum"] < 1000 < manifest["target"]["maximum"]
    assert list(manifest["golden"][0]["scores"]) == ["price"]
    assert "predicted_value" in json.loads((output / "profile.json").read_text())["features"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "n_estimators=1000"], "hyperparameter n_estimators of random_forest"),
        (["--set", "trees=3"], "hyperparameter trees of random_forest"),
        (["--set", "max_depth"], "'max_depth' should be like NAME=VALUE"),
        (["--unit", "salt=g"], "has no column 'salt'"),
        (["--task", "regression"], "column the target should hold numbers only"),
    ],
    ids=["limit", "unknown", "pair", "unit", "task"],
)
def test_wrong_arguments_are_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """In one line, and nothing is written."""
    assert run(file, tmp_path / "package", *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,a\n1,2,3\n", "has 2 columns 'a'"),
        ("a,\n1,2\n", "the name of a column should have 1 to 256 characters"),
        ("b,class\n1,2\n", r"has no column 'y': there are b, class"),
        ("y\n1\n", "has no column beside 'y'"),
        ("a,y\n1,2,3\n4,5,6,7\n", "is no table"),
        ("a,y\n1,\n", "row 0: there is no y"),
        ("", "has no column 'y'"),
    ],
    ids=["twice", "unnamed", "no-target", "alone", "ragged", "no-value", "empty"],
)
def test_wrong_table_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """The message names the file and the place."""
    (tmp_path / "made.csv").write_text(content)
    with pytest.raises(ExportError, match=message):
        read_table(tmp_path / "made.csv", "y")


def test_measure_is_no_class(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """600 different prices are rather predicted as numbers."""
    assert run(file, tmp_path / "package", target="price") == 1
    assert "more than 100 classes: is it a number to predict (--task regression)?" in capsys.readouterr().err


def test_few_rows_have_no_profile(frame: pd.DataFrame, tmp_path: Path) -> None:
    """The package is served without one."""
    path = tmp_path / "few.csv"
    frame.drop(columns=["price", "grade"]).head(200).to_csv(path, index=False)
    table = read_table(path, "class")
    made = fit(table.features, table.target, algorithm="logistic_regression", hyperparameters={}, task="classification")
    output = export(made, table, tmp_path / "package", About(name="few"))
    assert sorted(path.name for path in output.iterdir()) == ["manifest.json", "model.onnx"]


def test_column_that_is_called_as_the_prediction_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Drift of the two could not be told apart."""
    path = tmp_path / "made.csv"
    frame[["acid", "class"]].rename(columns={"acid": "predicted_label"}).to_csv(path, index=False)
    table = read_table(path, "class")
    made = fit(table.features, table.target, algorithm="logistic_regression", hyperparameters={}, task="classification")
    with pytest.raises(ExportError, match="rename the column predicted_label"):
        export(made, table, tmp_path / "package")


def test_bundled_model_is_what_its_card_says() -> None:
    """The same table and options give the same graph, to the byte with the same tools, and the same quality."""
    if not WINE.is_file():
        pytest.skip("the wine data (../shared/data/wine) is not part of this clone")
    bundled = json.loads((ROOT / "models" / "wine-quality" / "manifest.json").read_text(encoding="utf-8"))
    table = read_table(WINE, "quality")
    hyperparameters = {name: value for name, value in bundled["hyperparameters"].items() if value is not None}
    made = fit(
        table.features, table.target, algorithm="random_forest", hyperparameters=hyperparameters, task="classification"
    )
    assert made.metrics["accuracy"] == pytest.approx(bundled["accuracy"]["accuracy"], abs=0.02)
    graph = (ROOT / "models" / "wine-quality" / "model.onnx").read_bytes()
    found = graph_scores(graph, table.features.to_numpy(np.float64))
    assert np.abs(found - reference(made, table.features)).max() < 0.2
    card = (ROOT / "models" / "wine-quality" / "README.md").read_text(encoding="utf-8")
    assert f"{bundled['accuracy']['accuracy']:.1%}".replace("%", " %") in card
