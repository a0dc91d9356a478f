"""Rows of a table over HTTP: by position, by name, as tensors; what is refused, and what is pointed out."""

import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from tritonclient import http as triton

from tests.app import plain_http
from tests.app.tables import regression
from tests.app.versions import TOKEN, load
from tests.conftest import ROOT, Service, StartService, until

MANIFEST = json.loads((ROOT / "models" / "wine-quality" / "manifest.json").read_text(encoding="utf-8"))
NAMES = [feature["name"] for feature in MANIFEST["features"]]
GOLDEN = MANIFEST["golden"]
ROW = GOLDEN[0]["row"]
INFER = f"/v2/models/{MANIFEST['name']}/infer"


def post(service: Service, body: object, path: str = "/predict", **headers: str) -> httpx.Response:
    """A request as bytes or as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return plain_http.post(service.url + path, content=content, headers=headers)


def named(row: list[float], **changes: Any) -> dict[str, Any]:
    """A row by the names of its columns, the last one first."""
    return {**dict(reversed(list(zip(NAMES, row, strict=True)))), **changes}


def fault(service: Service, body: object, status: int = 422) -> tuple[str, list[str | int], str]:
    """Type, place and message of the only fault of a refused body."""
    answer = post(service, body)
    assert answer.status_code == status, answer.text
    ((detail),) = answer.json()["detail"]
    return detail["type"], detail["loc"], detail["msg"]


def test_both_forms_give_the_golden_scores(wine: Service) -> None:
    """By position and by name, in any order of the columns: the same rows to the cache, too."""
    by_position = post(wine, {"features": [golden["row"] for golden in GOLDEN]})
    by_name = post(wine, {"rows": [named(golden["row"]) for golden in GOLDEN]})
    assert by_position.json() == by_name.json()
    assert by_name.headers["X-Cache"] == f"{len(GOLDEN)}/{len(GOLDEN)}"
    for scores, golden in zip(by_name.json()["predictions"], GOLDEN, strict=True):
        assert {item["label"]: item["score"] for item in scores} == pytest.approx(golden["scores"], abs=1e-5)
        assert [item["score"] for item in scores] == sorted((item["score"] for item in scores), reverse=True)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("9.4", "float_type", "Input should be a valid number"),
        (True, "float_type", "Input should be a valid number"),
        (None, "float_type", "Input should be a valid number"),
        ([9.4], "float_type", "Input should be a valid number"),
        (float("nan"), "finite_number", "Input should be a finite number"),
        (float("inf"), "finite_number", "Input should be a finite number"),
        (10**400, "finite_number", "Input should be a finite number"),
        (1e39, "less_than_equal", "Input should be less than or equal to"),
        (-1e39, "greater_than_equal", "Input should be greater than or equal to"),
    ],
    ids=["string", "bool", "null", "list", "nan", "infinity", "integer", "large", "low"],
)
def test_value_that_is_no_number_is_located(wine: Service, value: object, kind: str, message: str) -> None:
    """By the name of its column, or its place in the row."""
    found, place, said = fault(wine, {"rows": [named(ROW), named(ROW, alcohol=value)]})
    assert (found, place) == (kind, ["body", "rows", 1, "alcohol"])
    assert said.startswith(message)
    found, place, _ = fault(wine, {"features": [ROW, [*ROW[:-1], value]]})
    assert (found, place) == (kind, ["body", "features", 1, 10])


MISSING = {name: value for name, value in named(ROW).items() if name != "pH"}


@pytest.mark.parametrize(
    ("body", "kind", "place"),
    [
        ({"rows": [MISSING]}, "missing", ["rows", 0, "pH"]),
        ({"rows": [named(ROW, salt=1)]}, "extra_forbidden", ["rows", 0, "salt"]),
        ({"rows": [ROW]}, "model_type", ["rows", 0]),
        ({"rows": []}, "too_short", ["rows"]),
        ({"rows": None}, "list_type", ["rows"]),
        ({"features": ROW}, "tuple_type", ["features", 0]),
        ({"features": [ROW[:-1]]}, "missing", ["features", 0, 10]),
        ({"features": [[*ROW, 1]]}, "too_long", ["features", 0]),
        ({"features": [ROW], "top_k": 1}, "extra_forbidden", ["top_k"]),
        ({"features": [ROW], "rows": [named(ROW)]}, "missing", []),
        ({"text": ["good"]}, "missing", []),
        ({"inputs": "good"}, "missing", []),
        ([ROW], "missing", []),
        (b'{"features": [[1e999, 1', "json_invalid", []),
        (b"\xef\xbb\xbf{}", "byte_order_mark", []),
        (b"", "json_invalid", []),
    ],
    ids=[
        *("column-missing", "column-unknown", "list-for-row", "no-rows", "null", "flat", "short", "long", "option"),
        *("both", "text", "inputs", "list", "broken", "mark", "empty"),
    ],
)
def test_wrong_structure_is_located(wine: Service, body: object, kind: str, place: list[str | int]) -> None:
    """422 with the place of the first fault, whatever it is."""
    found, where, _ = fault(wine, body)
    assert (found, where) == (kind, ["body", *place])


def test_key_that_is_there_twice_is_refused(wine: Service) -> None:
    """Whichever value would count: of a column, or of the rows."""
    row = json.dumps(named(ROW))
    assert fault(wine, f'{{"rows": [{row[:-1]}, "alcohol": 1}}]}}'.encode())[:2] == (
        "duplicate_key",
        ["body", "alcohol"],
    )
    rows = json.dumps([ROW])
    assert fault(wine, f'{{"features": {rows}, "features": {rows}}}'.encode())[0] == "duplicate_key"


def test_key_may_be_escaped(wine: Service) -> None:
    """JSON knows many ways to write one name."""
    escaped = (
        json.dumps({"rows": [named(ROW)]}).replace('"rows"', '"\\u0072ows"').replace('"alcohol"', '"\\u0061lcohol"')
    )
    assert post(wine, escaped.encode()).json() == post(wine, {"features": [ROW]}).json()


def test_rows_beyond_the_limit_are_too_many(wine: Service) -> None:
    """413, and the limit is named; as many as allowed are answered."""
    assert post(wine, {"features": [ROW] * 128}).status_code == 200
    for body in ({"features": [ROW] * 129}, {"rows": [named(ROW)] * 129}):
        kind, _, said = fault(wine, body, 413)
        assert (kind, said) == ("too_large", "129 rows exceed the limit of 128 (VALENCE_MAX_TEXTS)")


def test_values_outside_the_training_range_are_answered_and_pointed_out(wine: Service) -> None:
    """The header names the rows, the counter the columns; from the cache as from the model."""
    counter = 'valence_values_out_of_range_total{feature="alcohol"}'
    before = wine.metric(counter)
    strong = [*ROW[:-1], 40.0]
    for _ in range(2):
        answer = post(wine, {"features": [ROW, strong, ROW, strong]})
        assert answer.status_code == 200
        assert answer.headers["X-Out-Of-Range"] == "1,3"
    assert "X-Out-Of-Range" not in post(wine, {"features": [ROW]}).headers
    assert wine.metric(counter) - before == 4


def test_description_is_of_this_model(wine: Service) -> None:
    """Names, units and ranges of the columns; what judges by it agrees with the service. No other protocol is there."""
    described = plain_http.get(wine.url + "/openapi.json").json()
    assert set(described["paths"]) >= {"/predict", "/v2", "/v2/models/{name}/infer"}
    assert not {"/", "/info"} & set(described["paths"])
    operation = described["paths"]["/predict"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    by_name, by_position = content["schema"]["anyOf"]
    columns = by_name["properties"]["rows"]["items"]["properties"]
    assert list(columns) == NAMES
    assert columns["alcohol"]["description"] == "% vol; at training from 8.4 to 14.9."
    assert [item["title"] for item in by_position["properties"]["features"]["items"]["prefixItems"]] == NAMES
    request = Draft202012Validator(content["schema"])
    for body in (
        content["example"],
        {"features": [ROW]},
        {"rows": [MISSING]},
        {"features": [ROW[1:]]},
        {"text": ["x"]},
    ):
        answer = post(wine, body)
        assert request.is_valid(body) == (answer.status_code == 200)
        schema = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
        Draft202012Validator(schema | {"components": described["components"]}).validate(answer.json())


def test_other_protocols_are_not_there(wine: Service) -> None:
    """They are of texts."""
    assert plain_http.get(wine.url + "/info").status_code == 404
    assert post(wine, {"inputs": "good"}, "/").status_code == 405


def test_model_says_what_it_is(wine: Service) -> None:
    """Its task, columns and measured quality."""
    info = plain_http.get(wine.url + "/model/info").json()
    assert (info["task"], info["labels"]) == ("tabular-classification", ["3", "4", "5", "6", "7", "8"])
    assert [feature["name"] for feature in info["features"]] == NAMES
    assert info["target"]["name"] == "quality"
    assert info["accuracy"]["folds"] == 5
    assert info["golden_difference"] < 1e-5


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_triton_client_gets_the_same(wine: Service, *, binary: bool) -> None:
    """The protocol of KServe: a tensor of rows by columns, labels and scores back."""
    client = triton.InferenceServerClient(wine.url.removeprefix("http://"))
    (tensor,) = client.get_model_metadata(MANIFEST["name"])["inputs"]
    assert tensor == {"name": "features", "datatype": "FP64", "shape": [-1, 11]}
    sent = triton.InferInput("features", [2, 11], "FP64")
    sent.set_data_from_numpy(np.array([ROW, GOLDEN[1]["row"]]), binary_data=binary)
    answer = client.infer(MANIFEST["name"], [sent])
    expected = post(wine, {"features": [ROW, GOLDEN[1]["row"]]}).json()["predictions"]
    labels = [
        [label.decode() if isinstance(label, bytes) else label for label in row] for row in answer.as_numpy("labels")
    ]
    assert labels == [[item["label"] for item in row] for row in expected]
    assert answer.as_numpy("scores") == pytest.approx(np.array([[item["score"] for item in row] for row in expected]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datatype": "BYTES"}, "there should be one tensor, of FP32, FP64, INT32, INT64"),
        ({"shape": [11]}, "the shape should be [rows, 11], got [11]"),
        ({"shape": [1, 12]}, "the shape should be [rows, 11], got [1, 12]"),
        ({"shape": [2, 11]}, "the shape is of 22 values, the data of 11"),
        ({"data": [*ROW[:-1], "9"]}, "features.0.10: Input should be a valid number"),
        ({"data": None}, "the values stand neither in `data`"),
        ({"shape": [0, 11], "data": []}, "List should have at least 1 item"),
        ({"parameters": {"binary_data_size": 8}}, "0 bytes stand behind the JSON"),
    ],
    ids=["type", "flat", "wide", "count", "string", "nothing", "no-rows", "binary"],
)
def test_wrong_tensor_is_refused(wine: Service, changes: dict[str, Any], message: str) -> None:
    """In the protocol's shape: one sentence."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 11], "data": ROW, **changes}
    answer = post(wine, {"inputs": [tensor]}, INFER)
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["error"]


def test_too_many_rows_of_a_tensor_are_refused(wine: Service) -> None:
    """Before they are looked at."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [129, 11], "data": ROW}
    assert post(wine, {"inputs": [tensor]}, INFER).status_code == 413


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A regression, served with a Redis that is not there."""
    folder = tmp_path_factory.mktemp("line")
    service = Service(folder / "log", VALENCE_MODEL_DIR=str(regression(folder / "package")), VALENCE_DRAIN_SECONDS="0")
    try:
        yield service.wait_ready()
    finally:
        service.stop()


def test_regression_answers_values(line: Service) -> None:
    """One a row; `/model/info` has its range, and the metric of top scores knows nothing of them."""
    answer = post(line, {"rows": [{"acid": 1, "count": 2}, {"count": 1.0, "acid": 0.5}]})
    assert answer.json() == {"predictions": [{"value": 2.0}, {"value": 0.5}]}
    assert line.metric("valence_top_score_count") == 0
    assert line.metric('valence_texts_total{label="price",protocol="valence"}') == 2
    assert plain_http.get(line.url + "/model/info").json()["target"]["maximum"] == 21
    described = plain_http.get(line.url + "/openapi.json").json()
    assert "price in EUR" in json.dumps(described["components"]["schemas"]["Value"])


def test_integer_has_no_fraction(line: Service) -> None:
    """`2.0` is one, `2.5` is none."""
    assert post(line, {"features": [[1, 2.0]]}).status_code == 200
    kind, place, _ = fault(line, {"features": [[1, 2.5]]})
    assert (kind, place) == ("multiple_of", ["body", "features", 0, 1])


def test_regression_answers_tensors(line: Service) -> None:
    """FP32 in, one FP64 a row out, plain and binary."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [0.5, 1]]}
    answer = post(line, {"id": "7", "inputs": [tensor]}, "/v2/models/line/infer").json()
    assert answer["id"] == "7"
    assert answer["outputs"] == [{"name": "value", "datatype": "FP64", "shape": [2, 1], "data": [2.0, 0.5]}]
    wanted = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    content = post(line, wanted, "/v2/models/line/infer").content
    assert struct.unpack("<2d", content[-16:]) == (2.0, 0.5)
    other = {"inputs": [tensor], "outputs": [{"name": "scores"}]}
    assert (
        "there is no output 'scores': there are 'value'" in post(line, other, "/v2/models/line/infer").json()["error"]
    )


def test_redis_keeps_values_of_any_size(start_service: StartService, tmp_path: Any, redis_server: Any) -> None:
    """A regression's one number is believed beyond 1, by the next pod, too."""
    variables = {"VALENCE_MODEL_DIR": str(regression(tmp_path / "package")), "VALENCE_REDIS_URL": redis_server.url}
    first = start_service(**variables).wait_ready()
    assert post(first, {"features": [[10, 4]]}).json() == {"predictions": [{"value": 21.0}]}
    second = start_service(**variables).wait_ready()

    def hit() -> bool:
        answer = post(second, {"features": [[10, 4]]})
        assert answer.json() == {"predictions": [{"value": 21.0}]}
        return second.metric('valence_cache_texts_total{source="redis"}') == 1

    assert hit()
    assert second.metric("valence_redis_values_rejected_total") == 0


def test_drift_is_watched_by_column(wine: Service) -> None:
    """Every column and what is predicted has an index; of rows that are drawn evenly from the ranges, a high one."""
    chance = np.random.default_rng(1)
    ranges = [(feature["minimum"], feature["maximum"]) for feature in MANIFEST["features"]]
    rows = chance.uniform(*np.array(ranges).T, size=(640, len(NAMES))).tolist()
    for start in range(0, len(rows), 128):
        assert post(wine, {"features": rows[start : start + 128]}).status_code == 200
    series = 'valence_drift_psi{{feature="{}"}}'
    until(lambda: wine.metric(series.format("alcohol")) > 0, "there is an index")
    for name in (*NAMES, "predicted_label", "predicted_score"):
        assert wine.metric(series.format(name)) > 0
    assert wine.metric(series.format("residual sugar")) > 0.25


def test_another_version_brings_its_own_ranges_and_other_columns_are_refused(
    start_service: StartService, tmp_path: Any
) -> None:
    """Without a restart: the same columns with other ranges take the place, a model of texts does not."""
    first, second = regression(tmp_path / "first"), tmp_path / "second"
    narrow = [{**column, "maximum": 1.0} for column in json.loads((first / "manifest.json").read_text())["features"]]
    regression(second, features=narrow)
    service = start_service(VALENCE_MODEL_DIR=str(first), VALENCE_ADMIN_TOKEN=TOKEN).wait_ready()
    assert "X-Out-Of-Range" not in post(service, {"features": [[1, 2]]}).headers
    assert load(service, second).status_code == 200
    answer = post(service, {"features": [[1, 2]]})
    assert (answer.json(), answer.headers["X-Out-Of-Range"]) == ({"predictions": [{"value": 2.0}]}, "0")
    refused = load(service, ROOT / "models" / "distilbert-sst2-mini")
    assert refused.status_code == 422
    assert "this process serves tabular-regression of acid (number), count (integer)" in refused.text
    assert post(service, {"features": [[1, 2]]}).status_code == 200
