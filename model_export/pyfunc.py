"""A model package as an MLflow pyfunc model: `mlflow models serve`, Spark UDFs and whatever else takes one.

MLflow copies this file and the service's `app.model` into the model (model_export/registry.py) and runs it where the
model is loaded, where nothing else of this project need be installed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from app.model.classifier import checked_classifier
from app.model.package import Package


class PackageModel(PythonModel):  # type: ignore[misc]
    """Texts -> label, score, and the score of every label. Scores are those of the service on the same CPU."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the package, and check that it scores here as it did at export. Raises GoldenMismatch."""
        self._classifier, _ = checked_classifier(Package(Path(context.artifacts["package"])))
        self._labels = self._classifier.package.manifest.labels

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: "pd.DataFrame",
        params: Mapping[str, Any] | None = None,  # noqa: ARG002 - as above
    ) -> "pd.DataFrame":
        """One column of texts -> one row each: `label`, `score` and a column for each label, named after it.

        A missing or blank text, which the service would refuse, gets an empty label and scores that are no numbers.
        """
        rows = [self._row(text) for text in model_input.iloc[:, 0]]
        return pd.DataFrame(rows, columns=["label", "score", *self._labels], index=model_input.index)

    def _row(self, text: object) -> list[str | float]:
        """One text alone: a batch changes no score, and pays only for much padding."""
        if not isinstance(text, str) or not text.strip():
            return ["", *[float("nan")] * (1 + len(self._labels))]  # of no label Spark would make the text "nan"
        (prediction,) = self._classifier.predict([self._classifier.encoder.encode(text).ids])
        by_index = dict(zip(prediction.labels, prediction.scores, strict=True))
        scores = [by_index[index] for index in range(len(self._labels))]
        return [self._labels[prediction.labels[0]], prediction.scores[0], *scores]


set_model(PackageModel())
