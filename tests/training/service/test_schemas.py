"""What may be asked for: each fault is one line with its place, its value and the limit."""

import json
import re
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="the export group is not installed: make test-export")

from tests.training.service.requests import table, texts
from training.service.schemas import MAX_CLASSES, MAX_COLUMNS, MAX_ROWS, Invalid, TabularTraining, TextTraining, parse


def refusal(document: object) -> tuple[tuple[int | str, ...], str]:
    """(place, message) of a request that is refused."""
    with pytest.raises(Invalid) as refused:
        parse(document if isinstance(document, bytes) else json.dumps(document).encode())
    assert "\n" not in str(refused.value)
    return refused.value.loc, str(refused.value)


def changed(document: dict[str, Any], field: str, index: int, value: object) -> dict[str, Any]:
    """The document with another value in one of its lists."""
    values = list(document[field])
    values[index] = value
    return document | {field: values}


def test_a_table_is_read() -> None:
    """As float64 with columns x0, x1; a whole number that is written as a float is a class, too."""
    training = parse(json.dumps(changed(table(), "target", 3, 1.0)).encode())
    assert isinstance(training, TabularTraining)
    assert list(training.features()) == ["x0", "x1"]
    assert training.features().to_numpy().dtype == "float64"
    assert training.targets().dtype == "int64"


def test_a_regression_is_read() -> None:
    """Whole numbers among its target are numbers as others are."""
    target = [row[0] for row in table()["data"]]
    training = parse(json.dumps(table(target=[3, *target[1:]], task="regression")).encode())
    assert isinstance(training, TabularTraining)
    assert training.targets().dtype == "float64"


def test_texts_are_read() -> None:
    """What is not said of the fine-tuning has its default."""
    training = parse(json.dumps(texts(hyperparameters={"epochs": 1})).encode())
    assert isinstance(training, TextTraining)
    assert training.hyperparameters.model_dump() == {
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 5e-5,
        "max_tokens": 128,
        "seed": 0,
    }


ROW = [0.5, 0.5]
TABLES: dict[str, tuple[Any, tuple[int | str, ...], str]] = {
    "no JSON": (b"{", (), "the body is not JSON: EOF"),
    "no object": ([1], (), "the body should be an object"),
    "missing": ({"data": [ROW]}, ("target",), "Field required"),
    "unknown": (table() | {"rows": 3}, ("rows",), "Extra inputs are not permitted, got 3"),
    "NaN": (changed(table(), "data", 7, [0.5, float("nan")]), ("data", 7, 1), "should be a finite number, got nan"),
    "too large": (b'{"data": [[1e999]]}', ("data", 0, 0), "should be a finite number, got inf"),
    "a long integer": (b'{"data": [[1' + b"0" * 400 + b"]]}", ("data", 0, 0), "should be a"),
    "a word": (changed(table(), "data", 7, ["a" * 99, 1]), ("data", 7, 0), "valid number, got '" + "a" * 39 + "..."),
    "a bool": (changed(table(), "data", 7, [True, 1]), ("data", 7, 0), "should be a valid number, got True"),
    "null": (changed(table(), "target", 7, None), ("target", 7), "should be a number from"),
    "a bool class": (changed(table(), "target", 7, True), ("target", 7), "number from .*, got True"),
    "blank class": (changed(table(), "target", 7, " "), ("target", 7), "not blank, got ' '"),
    "long class": (changed(table(), "target", 7, "a" * 101), ("target", 7), "a string of 1 to 100 characters"),
    "inexact class": (changed(table(), "target", 7, 2**60), ("target", 7), "-2\\*\\*53 to 2\\*\\*53"),
    "ragged": (changed(table(), "data", 7, [1, 2, 3]), ("data", 7), "the row has 3 columns, the first one has 2"),
    "no column": (changed(table(), "data", 7, []), ("data", 7), "at least 1 item"),
    "columns": (changed(table(), "data", 0, [1] * 1001), ("data", 0), f"at most {MAX_COLUMNS} items .*, not 1001"),
    "rows": (table() | {"data": [[1]] * 100_001}, ("data",), f"at most {MAX_ROWS} items"),
    "lengths": (table(target=[0, 1]), ("target",), "2 values for 60 rows of `data`"),
    "mixed classes": (changed(table(), "target", 7, "1"), ("target", 7), "should be a whole number .*, got '1'"),
    "a broken class": (changed(table(), "target", 7, 0.5), ("target", 7), "should be a whole number .*, got 0.5"),
    "a class to estimate": (
        changed(table(task="regression"), "target", 7, "1"),
        ("target", 7),
        "should be a number in a regression that begins with .*, got '1'",
    ),
    "classes": (
        table(rows=606, target=[row % 101 for row in range(606)]),
        ("target",),
        f"101 different values, more than {MAX_CLASSES} classes",
    ),
    "one class": (table(target=[1] * 60), (), "the target has one class only"),
    "few of a class": (table(target=[0] * 56 + [1] * 4), (), "class 1 has 4 rows, fewer than the 5 folds"),
    "few rows": (table(rows=9), (), "9 rows are too few for 5 folds: 10"),
    "algorithm": (table(algorithm="tree"), (), "algorithm 'tree' should be one of random_forest"),
    "hyperparameter": (table(hyperparameters={"max_depth": 99}), (), "max_depth of random_forest: .* 32, got 99"),
    "no regression": (table(algorithm="logistic_regression", task="regression", hyperparameters={}), (), "does no"),
}
TEXTS: dict[str, tuple[Any, tuple[int | str, ...], str]] = {
    "few": (texts(18), ("texts",), "at least 20 items .*, not 18"),
    "many": (texts() | {"texts": ["a"] * 100_001}, ("texts",), f"at most {MAX_ROWS} items"),
    "blank": (changed(texts(), "texts", 7, " \n"), ("texts", 7), "should not be blank, got ' "),
    "long": (changed(texts(), "texts", 7, "a" * 20_001), ("texts", 7), "at most 20000 characters, got 'a+\\.\\.\\.$"),
    "a number": (changed(texts(), "texts", 7, 7), ("texts", 7), "should be a valid string, got 7"),
    "labels": (texts(labels=["sad"] * 39), ("labels",), "39 values for 40 rows of `texts`"),
    "mixed labels": (changed(texts(), "labels", 7, 7), ("labels", 7), "should be a string .*'sad', got 7"),
    "one label": (texts(labels=["sad"] * 40), ("labels",), "there is one label only"),
    "many labels": (texts(202, labels=list(range(202))), ("labels",), "202 different values, more than 100"),
    "table and texts": (texts() | {"data": [ROW]}, ("data",), "Extra inputs are not permitted"),
    "epochs": (texts(hyperparameters={"epochs": 21}), ("hyperparameters", "epochs"), "equal to 20, got 21"),
    "option": (texts(hyperparameters={"output": "/"}), ("hyperparameters", "output"), "Extra inputs .*, got '/'"),
}
CASES = {f"table: {name}": case for name, case in TABLES.items()} | {f"texts: {n}": case for n, case in TEXTS.items()}


@pytest.mark.parametrize("case", CASES)
def test_refuses_in_one_line(case: str) -> None:
    """With the place in the request."""
    document, loc, message = CASES[case]
    found, said = refusal(document)
    assert found == loc
    assert re.search(message, said), said
    assert len(said) < 300
