"""Tabular models by scikit-learn: which algorithms there are, what may be set of them, and how well each one does.

Every figure is a mean over folds that the estimator was not fitted on; the estimator that is kept is fitted on all
rows.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from model_export.errors import ExportError

Task = Literal["classification", "regression"]
SCORES: dict[Task, dict[str, str]] = {
    "classification": {"accuracy": "accuracy", "f1": "f1_weighted", "log_loss": "neg_log_loss"},
    "regression": {
        "r2": "r2",
        "mean_absolute_error": "neg_mean_absolute_error",
        "root_mean_squared_error": "neg_root_mean_squared_error",
    },
}
"""Our name of each metric, and scikit-learn's scorer for it; `f1` is the mean of the classes', by their rows."""


class _Hyperparameters(BaseModel):
    """scikit-learn's own names, with bounds that keep one training within minutes and a model within megabytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RandomForest(_Hyperparameters):
    """Of RandomForestClassifier and RandomForestRegressor."""

    n_estimators: int = Field(100, ge=1, le=500)
    max_depth: int = Field(12, ge=1, le=32)
    min_samples_leaf: int = Field(1, ge=1, le=10_000)
    class_weight: Literal["balanced"] | None = None


class GradientBoosting(_Hyperparameters):
    """Of GradientBoostingClassifier and GradientBoostingRegressor."""

    n_estimators: int = Field(100, ge=1, le=500)
    learning_rate: float = Field(0.1, gt=0, le=1)
    max_depth: int = Field(3, ge=1, le=12)
    min_samples_leaf: int = Field(1, ge=1, le=10_000)
    subsample: float = Field(1.0, gt=0, le=1)


class Logistic(_Hyperparameters):
    """Of LogisticRegression, on columns that were scaled to a mean of 0 and a deviation of 1."""

    C: float = Field(1.0, gt=0, le=1_000_000)
    max_iter: int = Field(1_000, ge=1, le=10_000)
    class_weight: Literal["balanced"] | None = None


_HYPERPARAMETERS: dict[str, type[_Hyperparameters]] = {
    "random_forest": RandomForest,
    "gradient_boosting": GradientBoosting,
    "logistic_regression": Logistic,
}
ALGORITHMS = tuple(_HYPERPARAMETERS)
FOLDS = 5
_ESTIMATORS: dict[tuple[str, Task], type] = {
    ("random_forest", "classification"): RandomForestClassifier,
    ("random_forest", "regression"): RandomForestRegressor,
    ("gradient_boosting", "classification"): GradientBoostingClassifier,
    ("gradient_boosting", "regression"): GradientBoostingRegressor,
    ("logistic_regression", "classification"): LogisticRegression,
}


@dataclass(frozen=True)
class Fitted:
    """A pipeline fitted on all rows, and the means of its metrics over the folds (docs: `SCORES`)."""

    pipeline: Pipeline
    task: Task
    algorithm: str
    hyperparameters: dict[str, Any]
    """All of them, defaults included."""
    metrics: dict[str, float]


def estimator(
    algorithm: str, task: Task, hyperparameters: dict[str, Any], seed: int
) -> tuple[Pipeline, dict[str, Any]]:
    """An unfitted pipeline, and its hyperparameters with the defaults. Raises ExportError for what is not offered."""
    if algorithm not in _HYPERPARAMETERS:
        raise ExportError(f"algorithm {algorithm!r} should be one of {', '.join(ALGORITHMS)}")
    if (algorithm, task) not in _ESTIMATORS:
        raise ExportError(f"{algorithm} does no {task}: use random_forest or gradient_boosting")
    try:
        checked = _HYPERPARAMETERS[algorithm].model_validate(hyperparameters).model_dump()
    except ValidationError as exc:
        error = exc.errors()[0]
        place = ".".join(map(str, error["loc"]))
        raise ExportError(f"hyperparameter {place} of {algorithm}: {error['msg']}, got {error['input']!r}") from exc
    if task == "regression" and checked.get("class_weight"):
        raise ExportError(f"hyperparameter class_weight of {algorithm}: a regression has no classes")
    used = {name: value for name, value in checked.items() if task == "classification" or name != "class_weight"}
    model = _ESTIMATORS[algorithm, task](random_state=seed, **used)
    scaled = [StandardScaler()] if algorithm == "logistic_regression" else []
    return make_pipeline(*scaled, model), used


def fit(
    features: pd.DataFrame,
    target: "pd.Series[Any]",
    *,
    algorithm: str,
    hyperparameters: dict[str, Any],
    task: Task,
    seed: int = 0,
    folds: int = FOLDS,
) -> Fitted:
    """Fit on numbers (rows, columns) and a target (rows,); the metrics come from `folds` shuffled folds.

    Folds of a classification are stratified. The same data and seed give the same result. Raises ExportError for
    hyperparameters out of their bounds, for values that are no finite numbers, and where a class has fewer rows than
    there are folds.
    """
    pipeline, used = estimator(algorithm, task, hyperparameters, seed)
    check(features, target, task, folds)
    split = (StratifiedKFold if task == "classification" else KFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Its advice is sound and its text six lines long: the one thing to do about it is said here.
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            found = cross_validate(pipeline, features, target, cv=split, scoring=SCORES[task], error_score="raise")
            pipeline.fit(features, target)
        except ConvergenceWarning as exc:
            raise ExportError(f"{algorithm} did not converge in max_iter={used['max_iter']}: allow more") from exc
    signs = {name: -1.0 if scorer.startswith("neg_") else 1.0 for name, scorer in SCORES[task].items()}
    metrics = {name: sign * float(np.mean(found[f"test_{name}"])) for name, sign in signs.items()}
    return Fitted(pipeline, task, algorithm, used, metrics)


def check(features: pd.DataFrame, target: "pd.Series[Any]", task: Task, folds: int = FOLDS) -> None:
    """Raises ExportError for a table that `fit` would refuse, without fitting anything."""
    if len(features) != len(target):
        raise ExportError(f"{len(features)} rows of features, but {len(target)} targets")
    if len(features) < 2 * folds:
        raise ExportError(f"{len(features)} rows are too few for {folds} folds: {2 * folds} are needed")
    for name in features.columns:
        _check_numbers(str(name), features[name])
    if task == "regression":
        _check_numbers("the target", target)
        return
    counts = target.value_counts()
    if len(counts) <= 1:
        raise ExportError("the target has one class only: there is nothing to learn")
    if counts.min() < folds:
        rarest = counts.index.tolist()[counts.argmin()]  # not idxmin(), which would read np.int64(1)
        raise ExportError(f"class {rarest!r} has {counts.min()} rows, fewer than the {folds} folds")


def _check_numbers(name: str, column: "pd.Series[Any]") -> None:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        raise ExportError(f"column {name} should hold numbers only")
    finite = np.isfinite(column.to_numpy(dtype=float))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ExportError(f"column {name}, row {row}: {column.iloc[row]} is no finite number")
