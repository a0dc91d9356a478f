"""Tabular packages: what is read of them, what is refused, and that a row's answer is its own."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import PackageError
from app.model.check import main as check
from app.model.classifier import GoldenMismatch
from app.model.package import Package
from app.model.tabular import Row, TabularModel, TabularPackage, checked_model, open_package, out_of_range
from app.settings import BUNDLED_MODEL
from tests.app.tables import regression

WINE = BUNDLED_MODEL.parent / "wine-quality"


@pytest.fixture(scope="module")
def wine() -> TabularModel:
    """The bundled model, which gives its golden answers."""
    package = open_package(WINE)
    assert isinstance(package, TabularPackage)
    model, difference = checked_model(package)
    assert isinstance(model, TabularModel)
    assert difference < 1e-5
    return model


def test_task_says_which_package_it_is() -> None:
    """Texts or rows."""
    assert isinstance(open_package(BUNDLED_MODEL), Package)
    assert isinstance(open_package(WINE), TabularPackage)


@pytest.mark.parametrize("folder", [WINE, BUNDLED_MODEL / "none"], ids=["wine", "missing"])
def test_check_gives_its_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for packages of texts: what serves it, or why it can't be served."""
    status = check([str(folder)])
    said = capsys.readouterr().out
    assert (status, said) == (0, "can be served, by onnxruntime\n") if folder == WINE else status == 1


def test_answer_does_not_depend_on_the_batch(wine: TabularModel) -> None:
    """Labels, scores and their order, to the last bit."""
    rows: list[list[Any]] = [golden.row for golden in wine.package.manifest.golden]
    together = wine.predict(rows)
    assert together == [wine.predict([row])[0] for row in rows]
    for prediction in together:
        assert sorted(prediction.labels) == list(range(6))
        assert sorted(prediction.scores, reverse=True) == list(prediction.scores)
        assert sum(prediction.scores) == pytest.approx(1, abs=1e-5)


def test_regression_gives_its_value(tmp_path: Path) -> None:
    """With the seven digits that float32 has."""
    model, difference = checked_model(open_package(regression(tmp_path)))
    assert difference == 0
    (prediction,) = model.predict([[1 / 3, 1]])
    assert (prediction.labels, prediction.scores) == ((0,), (0.1666667,))


def test_equal_rows_have_equal_bytes() -> None:
    """Whatever the sign of a zero; other rows have others."""
    assert Row((0.0, 1.5)).encode() == Row((-0.0, 1.5)).encode()
    assert len({Row(values).encode() for values in ((0.0, 1.5), (1.5, 0.0), (0.0,), (0.0, 1.5000000001))}) == 4


def test_values_outside_the_training_range_are_named(tmp_path: Path) -> None:
    """Both ends belong to the range."""
    package = open_package(regression(tmp_path))
    assert isinstance(package, TabularPackage)
    columns = package.manifest.features
    assert out_of_range(columns, Row((0.0, 4.0))) == []
    assert out_of_range(columns, Row((-0.1, 5.0))) == ["acid", "count"]


def test_wrong_golden_answer_is_refused(tmp_path: Path) -> None:
    """The message names the row and both answers."""
    golden = [{"row": [1.0, 2.0], "scores": {"price": 2.1}}]
    with pytest.raises(GoldenMismatch, match=r"golden row 0 gives 2 for price, at export 2\.1"):
        checked_model(open_package(regression(tmp_path, golden=golden)))


def test_graph_of_another_width_is_refused(tmp_path: Path) -> None:
    """Before anything is served."""
    column = {"name": "acid", "type": "number", "minimum": 0, "maximum": 1}
    golden = [{"row": [1.0], "scores": {"price": 2.0}}]
    with pytest.raises(GoldenMismatch, match="the golden rows can't be computed"):
        checked_model(open_package(regression(tmp_path, features=[column], golden=golden)))


def test_native_engine_computes_no_table(tmp_path: Path) -> None:
    """Who asks for it is told."""
    with pytest.raises(PackageError, match=r"VALENCE_ENGINE=native can't compute .* tabular-regression"):
        checked_model(open_package(regression(tmp_path)), "native")


COLUMN = {"name": "acid", "type": "number", "minimum": 0, "maximum": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "tabular-clustering"}, "task: Input should be 'tabular-classification' or 'tabular-regression'"),
        ({"features": []}, "features: List should have at least 1"),
        ({"features": [COLUMN, COLUMN]}, "the feature 'acid' is there twice"),
        ({"features": [{**COLUMN, "minimum": 2}, COLUMN]}, "minimum 2.0 exceeds maximum 1.0"),
        ({"features": [{**COLUMN, "type": "text"}]}, "features.0.type: Input should be 'number' or 'integer'"),
        ({"labels": ["a", "b"]}, "a tabular-regression has no classes"),
        ({"task": "tabular-classification"}, "a tabular-classification has its classes"),
        ({"golden": [{"row": [1.0], "scores": {"price": 0.0}}]}, "golden row 0 has other features"),
        ({"golden": [{"row": [1.0, 2.0], "scores": {"cost": 0.0}}]}, "golden row 0 has other features or labels"),
        ({"files": {}}, "names no sha256 for model.onnx"),
    ],
    ids=[
        *(
            "task",
            "no-features",
            "twice",
            "range",
            "type",
            "labels",
            "no-labels",
            "golden-row",
            "golden-label",
            "files",
        ),
    ],
)
def test_wrong_manifest_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """In one line that names the place."""
    with pytest.raises(PackageError, match=message):
        open_package(regression(tmp_path, **changes))


def test_changed_graph_is_refused(tmp_path: Path) -> None:
    """One byte more is enough."""
    regression(tmp_path)
    with (tmp_path / "model.onnx").open("ab") as file:
        file.write(b" ")
    with pytest.raises(PackageError, match=r"model\.onnx was changed after its export"):
        open_package(tmp_path)


def test_profile_of_another_table_is_refused(tmp_path: Path) -> None:
    """A feature that the model has not."""
    profile = {"format": 1, "data": "x", "rows": 1, "features": {"salt": {"edges": [], "counts": [1]}}}
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    manifest = json.loads((regression(tmp_path) / "manifest.json").read_text())
    sha256 = hashlib.sha256((tmp_path / "profile.json").read_bytes()).hexdigest()
    manifest["files"]["profile.json"] = {"sha256": sha256, "bytes": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=r"not a profile of this model, which has no features\.salt"):
        open_package(tmp_path)
