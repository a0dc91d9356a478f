"""A fitted pipeline -> a model package that serves rows: model.onnx, manifest.json and, of 500 rows, profile.json."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict

from model_export import served
from model_export.errors import ExportError
from model_export.estimators import Fitted
from model_export.package import MANIFEST, MODEL, PROFILE, fingerprint, publish, staging, write_json
from model_export.profile import MIN_TEXTS, Histogram, histogram, quantile_histogram
from model_export.progress import note
from model_export.tabular.convert import OPSETS, FloatArray, convert, graph_scores, top, verify
from model_export.tabular.table import Table
from model_export.versions import tool_versions

FORMAT = 1
GOLDEN_ROWS = 10
GOLDEN_DIGITS = 6
LARGE_BYTES = 10_000_000
"""Behind which a package is pointed out: git, an image and each pod's memory carry it."""
PREDICTED = {"classification": ("predicted_label", "predicted_score"), "regression": ("predicted_value",)}
"""What the profile has beside the columns, whose names may not be these."""
_TOOLS = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "pandas")
_ADVICE = "please report it with the table's columns"


@dataclass(frozen=True)
class About:
    """What the manifest says beside what was measured; the folds are those that the metrics were made of."""

    name: str | None = None
    """None: the folder's."""
    licence: str | None = None
    intended_use: str | None = None
    target_unit: str | None = None
    seed: int = 0
    folds: int = 5


def export(fitted: Fitted, table: Table, output: Path, about: About | None = None) -> Path:
    """Write the package of a pipeline that was fitted on `table`; an older one at `output` is replaced.

    Raises ExportError when the graph differs from scikit-learn on any row, or the service can't serve it.
    """
    about = about or About()
    labels = _labels(fitted)
    for name in PREDICTED[fitted.task]:
        if name in table.features:
            raise ExportError(f"rename the column {name}: what the model predicts is called so")
    with staging(output) as stage:
        package = stage / "package"
        package.mkdir()
        graph = convert(fitted)
        (package / MODEL).write_bytes(graph)
        if len(graph) > LARGE_BYTES:
            note(f"{MODEL} has {len(graph)} bytes: fewer or shallower trees make it smaller")
        verification = verify(graph, fitted, table.features, about.seed)
        if profile := _profile(fitted, table, about):
            write_json(package / PROFILE, profile)
        manifest = {
            "format": FORMAT,
            "task": f"tabular-{fitted.task}",
            "name": about.name or output.resolve().name,
            "source": {"id": table.file, "revision": None, "sha256": {table.file: table.sha256}},
            "licence": about.licence,
            "algorithm": fitted.algorithm,
            "hyperparameters": fitted.hyperparameters,
            "features": [_column(table, str(name)) for name in table.features.columns],
            "target": _target(fitted, table, about),
            **({"labels": labels} if labels else {}),
            "opset": OPSETS[""],
            "files": {file: fingerprint(package / file) for file in (MODEL, PROFILE) if (package / file).exists()},
            "tools": tool_versions(_TOOLS),
            "verification": asdict(verification),
            "accuracy": _accuracy(fitted, table, about),
            "golden": _golden(graph, labels or [str(table.target.name)], table.features),
            "intended_use": about.intended_use,
        }
        write_json(package / MANIFEST, manifest)
        served.check(package, str(manifest["name"]), advice=_ADVICE)
        publish(package, output)
    return output


def _labels(fitted: Fitted) -> list[str] | None:
    """Names of the classes, in the order of the graph's scores; a regression has none."""
    if fitted.task == "regression":
        return None
    labels = [str(value) for value in fitted.pipeline.classes_.tolist()]
    if len(set(labels)) < len(labels):
        raise ExportError(f"two classes have one name: {', '.join(labels)}")
    return labels


def _column(table: Table, name: str) -> dict[str, Any]:
    """A feature as the manifest describes it; whole numbers throughout make an integer."""
    values = table.features[name]
    return {
        "name": name,
        "type": "integer" if pd.api.types.is_integer_dtype(values) else "number",
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "unit": table.units.get(name),
    }


def _target(fitted: Fitted, table: Table, about: About) -> dict[str, Any]:
    target: dict[str, Any] = {"name": str(table.target.name), "unit": about.target_unit}
    if fitted.task == "regression":
        target |= {"minimum": float(table.target.min()), "maximum": float(table.target.max())}
    return target


def _accuracy(fitted: Fitted, table: Table, about: About) -> dict[str, Any]:
    """The means over the folds, as `estimators.fit` measured them; equal rows in two folds flatter them."""
    measured = {name: round(value, 6) for name, value in fitted.metrics.items()}
    repeated = int(table.features.duplicated().sum())
    if repeated:
        note(f"{repeated} rows are there before: where the one is learned from and the other judged, metrics flatter")
    data = {"data": table.file, "sha256": table.sha256, "rows": len(table.target), "repeated_rows": repeated}
    return {**data, "folds": about.folds, **measured}


def _golden(graph: bytes, labels: list[str], features: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with what the graph says of them: some of each label that it predicts, or from the lowest value on."""
    values = features.to_numpy(np.float64)
    scores = graph_scores(graph, values)
    order = np.lexsort((scores.max(axis=1), top(scores)))
    spread = np.unique(np.linspace(0, len(order) - 1, GOLDEN_ROWS).astype(int))
    firsts = [int(np.flatnonzero(top(scores)[order] == label)[0]) for label in np.unique(top(scores))[:GOLDEN_ROWS]]
    chosen = order[np.unique([*firsts, *spread])]
    return [
        {
            "row": values[index].tolist(),
            "scores": {
                label: float(f"{score:.{GOLDEN_DIGITS + 1}g}") if len(labels) == 1 else round(score, GOLDEN_DIGITS)
                for label, score in zip(labels, scores[index].tolist(), strict=True)
            },
        }
        for index in chosen
    ]


def _profile(fitted: Fitted, table: Table, about: About) -> dict[str, Any] | None:
    """Histograms of the different rows and of what is predicted of each by a model that was not fitted on it."""
    different = table.features.drop_duplicates()
    if len(different) < MIN_TEXTS:
        note(f"no profile for drift: it takes {MIN_TEXTS} different rows, {table.file} has {len(different)}")
        return None
    predicted = _out_of_fold(fitted, table, about)[table.features.index.get_indexer(different.index)]
    features: dict[str, Histogram] = {
        str(name): quantile_histogram(column.to_numpy(np.float64)) for name, column in different.items()
    }
    if fitted.task == "classification":
        labels = predicted.shape[1]
        features["predicted_label"] = histogram(top(predicted), [float(label) for label in range(labels - 1)])
        features["predicted_score"] = quantile_histogram(predicted.max(axis=1))
    else:
        features["predicted_value"] = quantile_histogram(predicted[:, 0])
    head = {"format": FORMAT, "data": table.file, "sha256": table.sha256, "rows": len(different)}
    return {**head, "features": features}


def _out_of_fold(fitted: Fitted, table: Table, about: About) -> FloatArray:
    """Predictions (rows, labels or 1) for each row by a pipeline fitted on the other folds."""
    classifies = fitted.task == "classification"
    split = (StratifiedKFold if classifies else KFold)(about.folds, shuffle=True, random_state=about.seed)
    method = "predict_proba" if classifies else "predict"
    predicted: FloatArray = cross_val_predict(
        clone(fitted.pipeline), table.features, table.target, cv=split, method=method
    )
    return predicted.reshape(len(table.target), -1)
