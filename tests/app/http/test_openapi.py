"""`/openapi.json` says exactly what is accepted and returned: its schemas judge real requests and real answers."""

import json
from functools import cache
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.errors import AppError
from tests.app import plain_http
from tests.conftest import Service, StartService

GET_PATHS = [
    *("/health", "/livez", "/readyz", "/model/info", "/metrics/summary"),
    *("/info", "/v2", "/v2/health/live", "/v2/health/ready"),
]


@cache
def document(service: Service) -> dict[str, Any]:
    """The published description."""
    response = plain_http.get(service.url + "/openapi.json")
    assert response.status_code == 200
    described: dict[str, Any] = response.json()
    return described


def validator(described: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Judges JSON by one schema of the document, whose references lead into the rest of it."""
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema | {"components": described["components"]})


def request_schema(described: dict[str, Any]) -> dict[str, Any]:
    """What a body of `/predict` must be: one of ours, or one of TEI's."""
    body = described["paths"]["/predict"]["post"]["requestBody"]
    assert body["required"] is True
    schema: dict[str, Any] = body["content"]["application/json"]["schema"]
    return schema


def our_request_schema(described: dict[str, Any]) -> dict[str, Any]:
    """The former."""
    schema: dict[str, Any] = request_schema(described)["anyOf"][0]
    return schema


def assert_documented(described: dict[str, Any], response: httpx.Response, path: str, method: str = "post") -> None:
    """The status is listed, the body fits that status's schema, the endpoint's own headers are named."""
    responses = described["paths"][path][method]["responses"]
    assert str(response.status_code) in responses, response.text
    documented = responses[str(response.status_code)]
    validator(described, documented["content"]["application/json"]["schema"]).validate(response.json())
    own = {name for name in response.headers if name in ("x-cache", "x-truncated", "retry-after")}
    assert own <= {name.lower() for name in documented.get("headers", {})}


def test_every_endpoint_is_described(service: Service) -> None:
    """The API's endpoints and no others; each with a summary and a description."""
    paths = document(service)["paths"]
    assert {path: list(operations) for path, operations in paths.items()} == {
        "/predict": ["post"],
        "/health": ["get"],
        "/livez": ["get"],
        "/readyz": ["get"],
        "/model/info": ["get"],
        "/metrics/summary": ["get"],
        "/": ["post"],
        "/info": ["get"],
        "/v2": ["get"],
        "/v2/health/live": ["get"],
        "/v2/health/ready": ["get"],
        **{
            f"/v2/models/{{name}}{version}{path}": [method]
            for version in ("", "/versions/{version}")
            for path, method in (("", "get"), ("/ready", "get"), ("/infer", "post"))
        },
    }
    for operations in paths.values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]


@pytest.mark.parametrize(
    "path",
    [
        *("/health", "/livez", "/readyz", "/model/info", "/metrics/summary", "/info"),
        *("/v2", "/v2/health/live", "/v2/health/ready"),
    ],
)
def test_get_answers_as_described(service: Service, path: str) -> None:
    """The real answer fits the published schema."""
    assert_documented(document(service), plain_http.get(service.url + path), path, "get")


def test_every_refusal_of_a_prediction_is_described(service: Service) -> None:
    """Each of our errors has its status there, with the one shape of errors and, where sent, `Retry-After`.

    But for those of what is no request yet, whatever it asks for.
    """
    responses = document(service)["paths"]["/predict"]["post"]["responses"]
    statuses = {str(int(refusal.status)) for refusal in AppError.__subclasses__()} - {"400", "414", "431"}
    assert statuses == {"401", "408", "413", "415", "422", "429", "503", "504"}
    assert set(responses) >= {"200", *statuses}
    for status in statuses:
        schema = responses[status]["content"]["application/json"]["schema"]
        shapes = [{"$ref": f"#/components/schemas/{name}"} for name in ("ErrorResponse", "TeiError")]
        assert schema["anyOf"] == shapes
    assert [status for status in sorted(responses) if "Retry-After" in responses[status].get("headers", {})] == [
        "429",
        "503",
    ]


def test_published_limits_are_the_limits_in_force(start_service: StartService, service: Service) -> None:
    """The schema follows the settings: the defaults here, others there, and the service keeps to both."""
    small = start_service(VALENCE_MAX_TEXTS="3", VALENCE_MAX_TEXT_CHARACTERS="5").wait_ready()
    for started, texts, characters in ((service, 128, 100_000), (small, 3, 5)):
        text = our_request_schema(document(started))["properties"]["text"]
        assert (text["minItems"], text["maxItems"]) == (1, texts)
        assert (text["items"]["minLength"], text["items"]["maxLength"]) == (1, characters)
        for body, status in ((["é" * characters] * texts, 200), (["é"] * (texts + 1), 413)):
            content = json.dumps({"text": body[:1] if texts > 3 and status == 200 else body})
            assert plain_http.post(started.url + "/predict", content=content).status_code == status
        too_long = {"text": ["é" * (characters + 1)]}
        assert plain_http.post(started.url + "/predict", json=too_long).status_code == 422


def test_documented_example_really_works(service: Service) -> None:
    """The example request fits its schema and gets an answer that fits the documented one, as its example does."""
    described = document(service)
    schema = our_request_schema(described)
    (body,) = schema["examples"]
    validator(described, schema).validate(body)
    response = plain_http.post(service.url + "/predict", json=body)
    assert response.status_code == 200
    assert_documented(described, response, "/predict")
    (example_answer,) = described["components"]["schemas"]["PredictResponse"]["examples"]
    assert _labels(response.json()) == _labels(example_answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
TEXTS = st.lists(st.text(max_size=30) | st.text(" \t\n\u3000\x85\x1c\ufeff") | JSON, max_size=4)
BODIES = JSON | st.fixed_dictionaries({"text": TEXTS}) | st.fixed_dictionaries({"text": JSON}, optional={"a": JSON})


@settings(
    deadline=None,  # wall-clock says nothing on a busy machine
    derandomize=True,
    database=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(body=BODIES)
@example(body={"text": ["a"] * 129})
@example(body={"text": ["a" * 100_001]})
@example(body={"text": ["\x1c", "\x85"]})
@example(body={"text": ["\ufeff"]})
@example(body={"text": ["a"], "text ": ["a"]})
@example(body={"text": ["a"], "top_k": 1, "raw_scores": True, "truncation": "start"})
@example(body={"text": ["a"], "top_k": 0})
@example(body={"text": ["a"], "raw_scores": 1})
@example(body={"text": ["a"], "truncation": "window"})
@example(body={"inputs": "a"})
@example(body={"inputs": ["a", ["b"]]})
def test_any_json_is_answered_as_described(service: Service, body: object) -> None:
    """Accepted if and only if it fits the published schema; whatever comes, the answer is one that is described."""
    described = document(service)
    response = plain_http.post(service.url + "/predict", content=json.dumps(body))
    accepted = validator(described, request_schema(described)).is_valid(body)
    assert response.status_code in ((200,) if accepted else (413, 422))
    assert_documented(described, response, "/predict")


def _labels(answer: dict[str, Any]) -> list[list[str]]:
    return [[entry["label"] for entry in scores] for scores in answer["predictions"]]
