"""What may be asked for: a training on a table of numbers, or one on texts, each with its bounds."""

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails, from_json

from model_export.dataset import MIN_ROWS
from model_export.errors import ExportError
from model_export.estimators import check, estimator
from training.errors import TrainingError

MAX_ROWS = 100_000
"""Of a table, and texts of one training."""
MAX_COLUMNS = 1_000
MAX_CLASSES = 100
"""Different labels, and different values of a table's target that is no number to be estimated."""
MAX_LABEL_CHARACTERS = 100
MAX_NUMBER = 2**53
"""Of a label: whole numbers are exact as float64 up to here."""
MAX_TEXT_CHARACTERS = 20_000
"""Far more than the tokens that a fine-tuning reads of a text."""
SHOWN_CHARACTERS = 40
Place = tuple[int | str, ...]


class Invalid(TrainingError):
    """What is wrong with a request, and where: `loc` leads to it, such as ("data", 3, 0)."""

    def __init__(self, msg: str, loc: Place = ()) -> None:
        super().__init__(msg)
        self.loc = loc


def _label(value: object) -> object:
    """Whole numbers and strings are labels, and numbers may be estimated; a bool or null is neither."""
    if isinstance(value, str) and value.strip() and len(value) <= MAX_LABEL_CHARACTERS:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER:
        return int(value) if float(value).is_integer() else value
    raise ValueError(
        f"should be a number from -2**53 to 2**53 or a string of 1 to {MAX_LABEL_CHARACTERS} characters, not blank"
    )


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("should not be blank")
    return value


Label = Annotated[int | float | str, PlainValidator(_label, json_schema_input_type=int | float | str)]
Row = Annotated[list[FiniteFloat], Field(min_length=1, max_length=MAX_COLUMNS)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS), AfterValidator(_not_blank)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class TabularTraining(_Request):
    """A table of numbers, a value for each row, and what is to be fitted to them by scikit-learn."""

    data: list[Row] = Field(min_length=1, max_length=MAX_ROWS)
    """Rows of equally many finite numbers."""
    target: list[Label] = Field(min_length=1, max_length=MAX_ROWS)
    """One value for each row: all whole numbers or all strings for a classification, numbers for a regression."""
    algorithm: str
    """`random_forest`, `gradient_boosting` or `logistic_regression`."""
    hyperparameters: dict[str, Any] = {}
    """By scikit-learn's names; what is left out has our default."""
    task: Literal["classification", "regression"] = "classification"

    def features(self) -> pd.DataFrame:
        """The rows as float64, in columns x0, x1, ..."""
        return pd.DataFrame(self.data, columns=[f"x{number}" for number in range(len(self.data[0]))], dtype=float)

    def targets(self) -> "pd.Series[Any]":
        """The target: int64 or str, or float64 for a regression."""
        return pd.Series(self.target, name="target", dtype=float if self.task == "regression" else None)

    def check(self) -> None:
        """Raises Invalid, or ExportError for what `model_export.estimators` refuses."""
        estimator(self.algorithm, self.task, self.hyperparameters, seed=0)
        _check_lengths("data", self.data, "target", self.target)
        widths = np.array([len(row) for row in self.data])
        if (odd := np.flatnonzero(widths != widths[0])).size:
            row = int(odd[0])
            raise Invalid(f"the row has {widths[row]} columns, the first one has {widths[0]}", ("data", row))
        _check_kind(self.target, (int, float) if self.task == "regression" else type(self.target[0]), self.task)
        if self.task == "classification":
            _check_classes("target", self.target)
        check(self.features(), self.targets(), self.task)


class Finetuning(_Request):
    """What may be set of a fine-tuning; the options of `python -m model_export.finetune`."""

    epochs: int = Field(3, ge=1, le=20)
    batch_size: int = Field(32, ge=1, le=256)
    learning_rate: float = Field(5e-5, gt=0, le=0.01)
    max_tokens: int = Field(128, ge=8, le=512)
    seed: int = Field(0, ge=0, le=2**31 - 1)


class TextTraining(_Request):
    """Labelled texts on which the small language model of the export is fine-tuned."""

    texts: list[Text] = Field(min_length=MIN_ROWS, max_length=MAX_ROWS)
    """None of them blank. A tenth is kept for validation."""
    labels: list[Label] = Field(min_length=MIN_ROWS, max_length=MAX_ROWS)
    """One for each text: all whole numbers or all strings."""
    hyperparameters: Finetuning = Finetuning()

    def check(self) -> None:
        """Raises Invalid."""
        _check_lengths("texts", self.texts, "labels", self.labels)
        _check_kind(self.labels, type(self.labels[0]), "classification", "labels")
        _check_classes("labels", self.labels)
        if len(set(self.labels)) == 1:
            raise Invalid("there is one label only, and nothing to learn", ("labels",))


Training = TabularTraining | TextTraining


def _check_lengths(one: str, rows: list[Any], other: str, values: list[Any]) -> None:
    if len(rows) != len(values):
        raise Invalid(f"{len(values)} values for {len(rows)} rows of `{one}`", (other,))


def _check_kind(values: list[Any], kind: type | tuple[type, ...], task: str, field: str = "target") -> None:
    """Raises Invalid for a number among strings, and for a class that is a broken number."""
    wanted = "number" if task == "regression" else "string" if kind is str else "whole number"
    for row, value in enumerate(values):
        if not isinstance(value, kind) or (task == "classification" and isinstance(value, float)):
            msg = f"should be a {wanted} in a {task} that begins with {values[0]!r}, got {value!r}"
            raise Invalid(msg, (field, row))


def _check_classes(field: str, values: list[Any]) -> None:
    if (classes := len(set(values))) > MAX_CLASSES:
        raise Invalid(f"{classes} different values, more than {MAX_CLASSES} classes", (field,))


def parse(body: bytes) -> Training:
    """A request from its JSON, checked as far as can be without training. Raises Invalid for the first fault."""
    try:
        fields = from_json(body)
    except ValueError as exc:
        raise Invalid(f"the body is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise Invalid("the body should be an object, with `data` and `target` or with `texts` and `labels`")
    kind = TextTraining if "texts" in fields else TabularTraining
    try:
        training = kind.model_validate(fields)
        training.check()
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        raise Invalid(_message(error), error["loc"]) from exc
    except ExportError as exc:
        raise Invalid(str(exc)) from exc
    return training


def _message(error: ErrorDetails) -> str:
    """What is wrong, with a value that is a short one."""
    message, value = error["msg"].removeprefix("Value error, "), error["input"]
    if error["type"] == "missing" or isinstance(value, list | dict):
        return message
    shown = repr(value)
    return f"{message}, got {shown if len(shown) <= SHOWN_CHARACTERS else f'{shown[:SHOWN_CHARACTERS]}...'}"
