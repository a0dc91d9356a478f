"""Tabular models: rows of numbers -> labels with scores, or one value. Knows neither HTTP nor asyncio.

A row goes the way of a text: its values stand where a text has token ids, so the queue, the caches and what counts them
are the same, and "tokens" of a row are its values.
"""

import json
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from app.errors import PackageError, one_line
from app.model.classifier import Classifier, GoldenMismatch, Prediction, checked_classifier, golden_difference, ranked
from app.model.files import FileFacts, check_files, digest, read_json
from app.model.package import Manifest, Package, Source, read_profile
from app.model.tokenizer import Tokens, Truncation
from app.settings import EngineChoice

GOLDEN_TOLERANCE = 1e-4
"""Largest difference to the manifest, of a value above 1 as a share of it: other CPUs may sum float32 in another order,
which moves 1e-6."""
LARGEST_VALUE = float(np.finfo(np.float32).max)
"""Of a feature, and its negative: trees compare float32, and beyond it no answer would be one."""
SCORE_DIGITS = 6
"""To which scores are rounded before they are ranked: two that are equal in float64 differ in float32 by chance."""
VALUE_DIGITS = 7
"""Digits that a float32 value has."""
OUTPUTS: dict[str, tuple[str, ...]] = {
    "tabular-classification": ("predicted_label", "predicted_score"),
    "tabular-regression": ("predicted_value",),
}
"""What is watched for drift beside the columns."""


class Column(BaseModel):
    """A number of each row, with what it was at training; `integer` has no fraction."""

    name: str = Field(min_length=1, max_length=256)
    type: Literal["number", "integer"]
    minimum: FiniteFloat
    maximum: FiniteFloat
    unit: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} exceeds maximum {self.maximum}")
        return self


class Target(BaseModel):
    """What is predicted; a class has no range."""

    name: str
    unit: str | None = None
    minimum: FiniteFloat | None = None
    maximum: FiniteFloat | None = None


class GoldenRow(BaseModel):
    """A row and what came of it at export: the score of each label, or the value by the target's name."""

    row: list[FiniteFloat]
    scores: dict[str, FiniteFloat]


class TabularManifest(BaseModel):
    """`manifest.json`; facts that the service only passes on stay untyped."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal[1]
    task: Literal["tabular-classification", "tabular-regression"]
    name: str
    source: Source
    algorithm: str
    features: list[Column] = Field(min_length=1, max_length=10_000)
    """In the order in which the model reads them."""
    target: Target
    classes: list[str] | None = Field(default=None, min_length=2, validation_alias="labels")
    """Label of each column of scores; a regression has none."""
    files: dict[str, FileFacts]
    golden: list[GoldenRow] = Field(min_length=1)
    accuracy: dict[str, Any] | None = None
    intended_use: str | None = None
    licence: str | None = None

    @property
    def labels(self) -> list[str]:
        """What answers are counted by: the classes, or the one name of what a regression predicts."""
        return self.classes or [self.target.name]

    @property
    def requests(self) -> str:
        """What requests are made of: models that differ in it can't take each other's place in one process."""
        columns = ", ".join(f"{column.name} ({column.type})" for column in self.features)
        return f"{self.task} of {columns}"

    @property
    def names(self) -> list[str]:
        """Of the features."""
        return [feature.name for feature in self.features]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.task == "tabular-classification") == (self.classes is None):
            raise ValueError(f"a {self.task} has {'no' if self.classes else 'its'} classes")
        if twice := [name for name, other in pairwise(sorted(self.names)) if name == other]:
            raise ValueError(f"the feature {twice[0]!r} is there twice")
        for index, golden in enumerate(self.golden):
            if len(golden.row) != len(self.features) or set(golden.scores) != set(self.labels):
                raise ValueError(f"golden row {index} has other features or labels than the model")
        return self


class TabularPackage:
    """A checked package folder of a tabular model, as `app.model.package.Package` is one of a text model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model_path = folder / "model.onnx"
        self.manifest = read_json(TabularManifest, folder / "manifest.json", f"no model package at {folder}")
        check_files(folder, self.manifest.files, ["model.onnx"])
        self.digest = digest(self.manifest.files)
        watched = {*self.manifest.names, *OUTPUTS[self.manifest.task]}
        self.profile = read_profile(folder, self.manifest.files, watched, self.manifest.labels)


AnyManifest = Manifest | TabularManifest
AnyPackage = Package | TabularPackage


def open_package(folder: Path) -> AnyPackage:
    """The package of whatever task it is. Raises PackageError for what can't be used."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        tabular = str(manifest["task"]).startswith("tabular-")
    except (OSError, ValueError, KeyError, TypeError):
        tabular = False  # what is wrong, if anything, is said by the text package
    return TabularPackage(folder) if tabular else Package(folder)


class Row(tuple[float, ...]):
    """The values of one row, in the order of the manifest's features."""

    __slots__ = ()

    def encode(self) -> bytes:
        """What tells rows apart, as a text's own `encode`: float64 values, one after the other; -0.0 is 0.0."""
        return struct.pack(f"<{len(self)}d", *[value + 0.0 for value in self])


Item = str | Row
"""What is scored; `encode` gives what tells it from others."""


class RowEncoder:
    """Rows as the queue takes them."""

    def __init__(self, columns: int) -> None:
        self.max_tokens = self.longest = columns

    def encode(self, row: Row, _: Truncation = "end") -> Tokens:
        """Its values; nothing is cut, and nothing unknown."""
        values: list[Any] = list(row)
        return Tokens(values, truncated=False, unknown=0)


class TabularModel:
    """Rows -> predictions, from several threads at once; what a `Classifier` is to texts."""

    engine_reason: str | None = None
    native_differs: str | None = None

    def __init__(self, package: TabularPackage) -> None:
        from app.model.onnxruntime import RowSession  # noqa: PLC0415 - 20 MB that a text model may do without

        self.package = package
        self.engine = RowSession(package.model_path)
        self.window_tokens = len(package.manifest.features)
        self.encoder = RowEncoder(self.window_tokens)

    def predict(self, rows: list[list[Any]]) -> list[Prediction]:
        """Values of some rows -> every label with its score, or the value as the one score."""
        scores = self.engine.scores(rows)
        packed = scores.astype(np.float32)
        if self.package.manifest.classes is not None:
            return ranked(scores.round(SCORE_DIGITS), packed)
        values = [float(f"{value:.{VALUE_DIGITS}g}") for (value,) in scores.tolist()]
        return [Prediction((0,), (value,), raw.tobytes()) for value, raw in zip(values, packed, strict=True)]

    def check_golden(self) -> float:
        """Compute the manifest's golden rows, alone and as one batch; return the largest difference.

        Raises GoldenMismatch when one differs by more than `GOLDEN_TOLERANCE`: wrong answers must not be served.
        """
        golden, labels = self.package.manifest.golden, self.package.manifest.labels
        expected = np.array([[item.scores[label] for label in labels] for item in golden])
        rows: list[list[float]] = [item.row for item in golden]
        try:
            together = self.engine.scores(rows).reshape(expected.shape)
            alone = np.concatenate([self.engine.scores([row]) for row in rows]).reshape(expected.shape)
        except Exception as exc:  # whatever a graph and a manifest that do not fit each other come to
            raise GoldenMismatch(f"the golden rows can't be computed: {one_line(exc)}") from exc
        return golden_difference(
            expected,
            (alone, together),
            labels,
            tolerance=GOLDEN_TOLERANCE,
            scale=np.maximum(1.0, np.abs(expected)),
            item="row {} gives",
            digits=".6g",
        )

    def warm_up(self) -> None:
        """Run once, so that the first request does not pay for first-time allocations."""
        self.predict([[feature.minimum for feature in self.package.manifest.features]])


AnyModel = Classifier | TabularModel


def checked_model(package: AnyPackage, choice: EngineChoice = "auto") -> tuple[AnyModel, float]:
    """What computes a package and gives its golden answers, and by how much they differ from those at export.

    Raises GoldenMismatch, and PackageError for an engine that can't compute it.
    """
    if isinstance(package, Package):
        return checked_classifier(package, choice)
    if choice == "native":
        raise PackageError(f"VALENCE_ENGINE=native can't compute {package.folder}: it is a {package.manifest.task}")
    model = TabularModel(package)
    return model, model.check_golden()


def out_of_range(features: Sequence[Column], row: Row) -> list[str]:
    """Names of the features whose value lies outside what it was at training."""
    columns = zip(features, row, strict=True)
    return [column.name for column, value in columns if not column.minimum <= value <= column.maximum]
