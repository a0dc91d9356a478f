"""A fitted pipeline -> ONNX, and the gate: the graph against scikit-learn.

The graph maps `features`, float64 (rows, columns), to `scores`: (rows, labels) of a classification, (rows, 1) of a
regression. Trees compare float32 in scikit-learn, whatever they are given, so their graph begins with the same cast;
linear models stay in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.pipeline import Pipeline

from model_export.errors import ExportError, one_line
from model_export.estimators import Fitted

OPSETS = {"": 21, "ai.onnx.ml": 3}
MAX_NODES = 500_000
"""Of all trees: 35 MB of ONNX, and half a minute to write it."""
TOLERANCE = 1e-5
"""Largest difference to scikit-learn, of a value above 1 as a share of it: the graph adds trees up in float32."""
TIE_DIGITS = 6
"""To which scores are rounded before the highest is chosen, as the service does: two that are equal in float64 differ
in float32 by chance."""
MAX_PROBES = 4_000

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verification:
    """What the graph was compared on, and how far it is from scikit-learn."""

    rows: int
    """All of the table."""
    probes: int
    """Rows made of them: columns shuffled, and values on the trees' thresholds and next to them."""
    max_difference: float
    tolerance: float
    label_flips: int


def convert(fitted: Fitted) -> bytes:
    """The graph as bytes. Raises ExportError for a forest that is too large, or one that skl2onnx does not know."""
    nodes = sum(tree.node_count for tree in _trees(fitted.pipeline))
    if nodes > MAX_NODES:
        raise ExportError(f"the trees have {nodes} nodes, more than {MAX_NODES}: fewer or shallower ones would do")
    pipeline = fitted.pipeline
    if nodes:
        pipeline = Pipeline([("cast", CastTransformer(dtype=np.float32)), *pipeline.steps])
    classifies = fitted.task == "classification"
    try:
        model = to_onnx(
            pipeline,
            initial_types=[("features", DoubleTensorType([None, pipeline[-1].n_features_in_]))],
            options={id(pipeline): {"zipmap": False}} if classifies else None,
            final_types=[("label", None), ("scores", None)] if classifies else [("scores", None)],
            target_opset=OPSETS,
        )
    except Exception as exc:  # skl2onnx's errors have no base class of their own
        raise ExportError(f"skl2onnx can't convert {fitted.algorithm}: {one_line(exc)}") from exc
    graph = _within_bounds(_scores_only(model)) if classifies else _scores_only(model)
    onnx.checker.check_model(graph)
    serialised: bytes = graph.SerializeToString()
    return serialised


def verify(graph: bytes, fitted: Fitted, features: pd.DataFrame, seed: int) -> Verification:
    """Compare the graph with scikit-learn on all rows and probes. Raises ExportError when one differs too much."""
    probes = _probes(fitted.pipeline, features, np.random.default_rng(seed))
    values = np.concatenate([features.to_numpy(np.float64), probes])
    expected = reference(fitted, pd.DataFrame(values, columns=features.columns))
    found = graph_scores(graph, values)
    if found.shape != expected.shape:
        raise ExportError(f"the graph gives {found.shape[1]} scores a row, scikit-learn {expected.shape[1]}")
    differences = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    worst = float(np.nan_to_num(differences, nan=np.inf).max())
    if worst > TOLERANCE:
        row = int(differences.max(axis=1).argmax())
        raise ExportError(f"row {row}: the graph differs from scikit-learn by {worst:.2g}, more than {TOLERANCE:g}")
    flips = 0
    if fitted.task == "classification":
        flips = int((top(found) != top(expected)).sum())
    return Verification(len(features), len(probes), worst, TOLERANCE, flips)


def reference(fitted: Fitted, features: pd.DataFrame) -> FloatArray:
    """What scikit-learn says: float64 (rows, labels), or (rows, 1) of a regression."""
    if fitted.task == "classification":
        scores: FloatArray = fitted.pipeline.predict_proba(features)
        return scores
    values: FloatArray = fitted.pipeline.predict(features).reshape(-1, 1)
    return values


def graph_scores(graph: bytes, values: FloatArray) -> FloatArray:
    """What the graph says of rows (rows, columns): float64 (rows, labels or 1)."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    scores: FloatArray = session.run(["scores"], {"features": values})[0].astype(np.float64)
    return scores


def top(scores: FloatArray) -> npt.NDArray[np.int64]:
    """The index of each row's highest score; of equal ones the first."""
    highest: npt.NDArray[np.int64] = scores.round(TIE_DIGITS).argmax(axis=1)
    return highest


def _trees(pipeline: Pipeline) -> Sequence[Any]:
    """Of a forest or of boosting; none of a linear model."""
    estimators = getattr(pipeline[-1], "estimators_", ())
    return [tree.tree_ for tree in np.ravel(np.asarray(estimators, dtype=object))]


def _probes(pipeline: Pipeline, features: pd.DataFrame, chance: np.random.Generator) -> FloatArray:
    """Rows that the table lacks: where a float32 that is rounded the other way would take another branch."""
    values = features.to_numpy(np.float64)
    shuffled = chance.permuted(values, axis=0)[:MAX_PROBES]
    splits = [
        (int(feature), np.float32(threshold))
        for tree in _trees(pipeline)
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True)
        if feature >= 0
    ]
    if not splits:
        return shuffled
    chosen = chance.choice(len(splits), size=min(len(splits), MAX_PROBES // 3), replace=False)
    edges = values[chance.integers(len(values), size=3 * len(chosen))]
    for row, index in enumerate(chosen):
        feature, threshold = splits[index]
        low, high = np.nextafter(threshold, np.float32(-np.inf)), np.nextafter(threshold, np.float32(np.inf))
        edges[3 * row : 3 * row + 3, feature] = low, threshold, high
    return np.concatenate([shuffled, edges])


def _scores_only(model: Any) -> Any:
    """The graph without what only the label needs, which the service finds itself; each opset is named once."""
    needed, kept = {"scores"}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    graph = onnx.helper.make_graph(
        kept[::-1],
        "tabular",
        list(model.graph.input),
        [output for output in model.graph.output if output.name == "scores"],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=model.ir_version)


def _within_bounds(model: Any) -> Any:
    """The graph with scores from 0 to 1: the shares of many trees add up to 1.0000001 or -0.0000001 in float32."""
    (output,) = model.graph.output
    kind = output.type.tensor_type.elem_type
    for node in model.graph.node:
        node.output[:] = ["unbounded" if name == output.name else name for name in node.output]
    bounds = [onnx.helper.make_tensor(name, kind, [], [value]) for name, value in (("least", 0.0), ("most", 1.0))]
    model.graph.initializer.extend(bounds)
    model.graph.node.append(onnx.helper.make_node("Clip", ["unbounded", "least", "most"], [output.name]))
    return model
