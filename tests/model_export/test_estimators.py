"""Tabular models: what each algorithm learns of a table that holds a rule, and what is refused."""

from typing import Any

import pytest

pytest.importorskip("sklearn", reason="the export group is not installed: make test-export")

import numpy as np
import pandas as pd

from model_export.errors import ExportError
from model_export.estimators import ALGORITHMS, Fitted, fit

ROWS = 120


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Two columns of chance; the class is the sign of their sum, the number their sum."""
    chance = np.random.default_rng(0).normal(size=(ROWS, 2))
    frame = pd.DataFrame(chance, columns=["acid", "sugar"])
    frame["number"] = frame.acid + frame.sugar
    frame["class"] = np.where(frame.number > 0, "good", "bad")
    return frame


def fitted(table: pd.DataFrame, target: str = "class", **changes: Any) -> Fitted:
    """A small forest, unless told otherwise."""
    task = "classification" if target == "class" else "regression"
    options: dict[str, Any] = {"algorithm": "random_forest", "hyperparameters": {}, "task": task} | changes
    if options["algorithm"] != "logistic_regression":
        options["hyperparameters"] = {"n_estimators": 20} | options["hyperparameters"]
    return fit(table[["acid", "sugar"]], table[target], **options)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learns_classes(table: pd.DataFrame, algorithm: str) -> None:
    """Better than the larger class by far, and the same again with the same seed."""
    result = fitted(table, algorithm=algorithm)
    assert result.metrics["accuracy"] > 0.85
    assert result.metrics["f1"] > 0.85
    assert 0 < result.metrics["log_loss"] < 1
    assert result.metrics == fitted(table, algorithm=algorithm).metrics
    assert result.pipeline.predict(table[["acid", "sugar"]])[0] in {"good", "bad"}


@pytest.mark.parametrize("algorithm", ["random_forest", "gradient_boosting"])
def test_learns_numbers(table: pd.DataFrame, algorithm: str) -> None:
    """Errors are told as what they are, not as scikit-learn's negative scores."""
    result = fitted(table, "number", algorithm=algorithm)
    assert result.metrics["r2"] > 0.7
    assert 0 < result.metrics["mean_absolute_error"] < result.metrics["root_mean_squared_error"]


def test_metrics_come_from_rows_that_were_not_fitted(table: pd.DataFrame) -> None:
    """A forest knows its own rows by heart; of a class by chance it knows nothing of others."""
    chance = table.assign(**{"class": np.random.default_rng(1).permutation(table["class"])})
    result = fitted(chance, hyperparameters={"n_estimators": 50})
    assert (result.pipeline.predict(chance[["acid", "sugar"]]) == chance["class"]).mean() > 0.95
    assert result.metrics["accuracy"] < 0.7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "tree"}, r"algorithm 'tree' should be one of random_forest"),
        ({"hyperparameters": {"max_depth": 99}}, r"max_depth of random_forest: .* 32, got 99"),
        ({"hyperparameters": {"max_depth": "3"}}, r"max_depth of random_forest: .*integer, got '3'"),
        ({"hyperparameters": {"n_jobs": 64}}, r"n_jobs of random_forest: Extra inputs"),
        ({"algorithm": "logistic_regression", "task": "regression"}, r"logistic_regression does no regression"),
        ({"algorithm": "logistic_regression", "hyperparameters": {"C": 1e5, "max_iter": 1}}, r"max_iter=1: allow more"),
        ({"folds": 100}, r"120 rows are too few for 100 folds: 200"),
    ],
)
def test_refuses_in_one_line(table: pd.DataFrame, changes: dict[str, Any], message: str) -> None:
    """What is asked for, with its bound."""
    with pytest.raises(ExportError, match=message) as refused:
        fitted(table, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("acid", np.nan, r"column acid, row 7: nan is no finite number"),
        ("sugar", np.inf, r"column sugar, row 7: inf is no finite number"),
        ("class", "best", r"class 'best' has 1 rows, fewer than the 5 folds"),
    ],
)
def test_refuses_a_bad_table(table: pd.DataFrame, column: str, value: object, message: str) -> None:
    """With column and row."""
    bad = table.copy()
    bad.loc[7, column] = value
    with pytest.raises(ExportError, match=message):
        fitted(bad)


def test_refuses_words_and_one_class(table: pd.DataFrame) -> None:
    """Words are not encoded here, and of one class nothing can be learned."""
    with pytest.raises(ExportError, match="column acid should hold numbers only"):
        fitted(table.assign(acid="sour"))
    with pytest.raises(ExportError, match="one class only"):
        fitted(table.assign(**{"class": "good"}))
