"""Hugging Face's inference API, as its own client speaks it, and TEI, which has no client but curl."""

import json
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.app import plain_http
from tests.conftest import Service

LONG = "good " * 1900


@pytest.fixture(scope="module")
def client(service: Service) -> InferenceClient:
    """Hugging Face's client, unchanged."""
    return InferenceClient(model=service.url)


def ours(service: Service, *texts: str, **options: Any) -> list[list[dict[str, Any]]]:
    """What our own API says."""
    answer = plain_http.post(service.url + "/predict", json={"text": texts, **options})
    predictions: list[list[dict[str, Any]]] = answer.json()["predictions"]
    return predictions


def post(service: Service, body: object, path: str = "/predict") -> httpx.Response:
    """JSON, or what is none."""
    return plain_http.post(service.url + path, content=body if isinstance(body, str) else json.dumps(body))


def test_client_classifies(service: Service, client: InferenceClient) -> None:
    """The labels and scores of our own API."""
    found = client.text_classification("I love you.")
    assert [{"label": item.label, "score": item.score} for item in found] == ours(service, "I love you.")[0]


@pytest.mark.parametrize(
    ("function", "total"), [("softmax", pytest.approx(1, abs=1e-6)), ("sigmoid", None), ("none", None)]
)
def test_client_may_choose(service: Service, client: InferenceClient, function: str, total: object) -> None:
    """How many labels, and what makes scores of logits."""
    found = client.text_classification("I love you.", function_to_apply=function)  # type: ignore[arg-type]
    assert [item.label for item in found] == ["POSITIVE", "NEGATIVE"]
    assert found[0].score > found[1].score
    if total is not None:
        assert sum(item.score for item in found) == total
    if function == "none":
        raw = ours(service, "I love you.", raw_scores=True)[0]
        assert [item.score for item in found] == [item["score"] for item in raw]
    (first,) = client.text_classification("I love you.", top_k=1, function_to_apply=function)  # type: ignore[arg-type]
    assert first == found[0]


def test_client_is_told_what_is_wrong(client: InferenceClient) -> None:
    """Its exception has our sentence."""
    with pytest.raises(HfHubHTTPError, match="blank"):
        client.text_classification(" ")


def test_list_is_answered_in_order(service: Service) -> None:
    """One list of labels for each text."""
    expected = ours(service, "good", "bad")
    assert post(service, {"inputs": ["good", "bad"]}, "/").json() == expected
    assert post(service, {"inputs": [{"text": "good"}, {"text": "bad"}]}, "/").json() == expected


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"inputs": "a", "parameters": {"top": 1}}, 422, "parameters.top: Extra inputs"),
        ({"inputs": "a", "parameters": {"function_to_apply": "tanh"}}, 422, "parameters.function_to_apply"),
        ({"inputs": {"txt": "a"}}, 422, "an object should have `text`"),
        (
            {"inputs": {"text": "a", "text_pair": "b"}},
            422,
            "inputs.0: 2 texts are given as one: this model takes one text",
        ),
        ({"inputs": ["a"] * 129}, 413, "129 texts exceed"),
        ("{", 422, "Invalid JSON"),
    ],
)
def test_wrong_request_is_refused(service: Service, body: object, status: int, said: str) -> None:
    """In one sentence."""
    answer = post(service, body, "/")
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_page_is_still_there(service: Service) -> None:
    """At the same path, and other methods are told both."""
    assert plain_http.get(service.url + "/").headers["Content-Type"].startswith("text/html")
    assert plain_http.request("DELETE", service.url + "/").headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_tei_shape(service: Service) -> None:
    """One text alone without the outer list, lists with it; the cache is that of our own API."""
    alone = post(service, {"inputs": "good"})
    assert alone.json() == ours(service, "good")[0]
    for inputs in (["good", "bad"], [["good"], ["bad"]], ["good", ["bad"]]):
        answer = post(service, {"inputs": inputs, "truncate": True})
        assert answer.json() == ours(service, "good", "bad")
        assert answer.headers["X-Cache"] == "2/2"
    raw = post(service, {"inputs": "good", "raw_scores": True})
    assert raw.json() == ours(service, "good", raw_scores=True)[0]


def test_tei_truncates_as_told(service: Service) -> None:
    """By default at the end, to the left at the start, and not at all."""
    text = LONG + "It was dreadful, awful and a waste of time. " * 200
    for direction, ours_is in (("Right", "end"), ("right", "end"), ("Left", "start"), ("left", "start")):
        answer = post(service, {"inputs": text, "truncation_direction": direction})
        assert answer.json() == ours(service, text, truncation=ours_is)[0]
    refused = post(service, {"inputs": LONG, "truncate": False})
    assert refused.status_code == 422
    assert "1850 tokens" in refused.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"inputs": [["a", "b"]]}, 422, "this model takes one text, not a pair"),
        ({"inputs": [[]]}, 422, "0 texts"),
        ({"inputs": []}, 422, "at least 1 item"),
        ({"inputs": 1}, 422, "inputs"),
        ({"inputs": [1]}, 422, "valid string"),
        ({"inputs": ["a"] * 129}, 413, "129 texts exceed"),
        ({"inputs": "a", "truncation_direction": "up"}, 422, "truncation_direction"),
        ('{"inputs": "a"', 422, "Invalid JSON"),
    ],
)
def test_wrong_tei_request_is_refused(service: Service, body: object, status: int, said: str) -> None:
    """In TEI's shape: a sentence and a kind."""
    answer = post(service, body)
    assert answer.status_code == status
    assert sorted(answer.json()) == ["error", "error_type"]
    assert said in answer.json()["error"]
    assert answer.json()["error_type"] == "Validation"


def test_tei_info_has_the_limits(service: Service) -> None:
    """And the labels by their ids.

    The length is what four windows of 512 tokens read of a text, 64 in common and two special ones each: 1,850. A text
    of so many is taken with `truncate: false`, and one of a token more is refused by the same number.
    """
    info = plain_http.get(service.url + "/info").json()
    assert (info["max_input_length"], info["max_client_batch_size"]) == (1850, 128)
    fits, too_long = ({"inputs": "good " * words, "truncate": False} for words in (1848, 1849))
    assert post(service, fits).status_code == 200
    assert "more than the model's 1850 tokens" in post(service, too_long).json()["error"]
    assert info["model_type"] == {
        "classifier": {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    }


def test_our_own_text_may_say_inputs(service: Service) -> None:
    """The key tells TEI from ours, and not a text; our own errors keep their shape."""
    assert post(service, {"text": ["inputs"]}).status_code == 200
    assert "detail" in post(service, {"text": ["inputs", 1]}).json()
    assert "detail" in post(service, {"text": ['"inputs": 1', 1]}).json()
