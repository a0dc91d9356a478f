"""What callers of our own API may choose: how many labels, logits, and what is cut of a long text."""

import math
import uuid
from typing import Any

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import Service

TAIL = "It was dreadful, awful and a waste of time. " * 300
HEAD = "It was wonderful, a great joy to watch. " * 300


def predict(service: Service, text: str, **options: Any) -> httpx.Response:
    """One text with options."""
    return plain_http.post(service.url + "/predict", json={"text": [text], **options})


def scores(response: httpx.Response) -> list[dict[str, Any]]:
    """Its labels with their scores."""
    found: list[dict[str, Any]] = response.json()["predictions"][0]
    return found


def test_top_k_is_the_first_of_all(service: Service) -> None:
    """As many labels as are asked for, highest first; no more than there are."""
    every = scores(predict(service, "good"))
    assert scores(predict(service, "good", top_k=1)) == every[:1]
    assert scores(predict(service, "good", top_k=1000)) == every
    assert scores(predict(service, "good", top_k=None)) == every


def test_raw_scores_are_the_logits_of_the_scores(service: Service) -> None:
    """Their softmax is what is answered otherwise, whichever was asked for first: both come from one cache entry."""
    for first, second in ((False, True), (True, False)):
        text = f"a fine text {uuid.uuid4()}"
        answers = {raw: predict(service, text, raw_scores=raw) for raw in (first, second)}
        assert answers[second].headers["X-Cache"] == "1/1"
        logits = [item["score"] for item in scores(answers[True])]
        total = sum(map(math.exp, logits))
        expected = [math.exp(logit) / total for logit in logits]
        assert [item["score"] for item in scores(answers[False])] == pytest.approx(expected, abs=1e-6)
        assert min(logits) < 0 or sum(logits) != pytest.approx(1)


def test_either_end_of_a_long_text_is_cut(service: Service) -> None:
    """What stays decides, both are cached apart, and both are told to be cut."""
    text = f"{HEAD}{TAIL}{uuid.uuid4()}"
    for _ in range(2):
        kept_start, kept_end = (predict(service, text, truncation=end) for end in ("end", "start"))
        assert scores(kept_start)[0]["label"] == "POSITIVE"
        assert scores(kept_end)[0]["label"] == "NEGATIVE"
        assert kept_start.headers["X-Truncated"] == kept_end.headers["X-Truncated"] == "0"
    assert kept_start.headers["X-Cache"] == kept_end.headers["X-Cache"] == "1/1"


def test_windows_are_the_default_by_name(service: Service) -> None:
    """Of the bundled package, which has some: the same cache entry, whether the text fits them or not."""
    for text in (f"good {uuid.uuid4()}", f"{HEAD}{TAIL}{uuid.uuid4()}"):
        plain, named = predict(service, text), predict(service, text, truncation="window")
        assert named.json() == plain.json()
        assert named.headers["X-Cache"] == "1/1"


def test_windows_of_long_texts_are_told(service: Service) -> None:
    """By their indices; an answer without one has no such header."""
    answer = plain_http.post(service.url + "/predict", json={"text": ["good " * 600, "good", "good " * 1900]})
    assert (answer.headers["X-Windows"], answer.headers["X-Truncated"]) == ("0:2,2:4", "2")
    full = predict(service, "good " * 510)
    assert not {"x-windows", "x-truncated"} & full.headers.keys()


def test_long_text_is_refused_if_it_should_be(service: Service) -> None:
    """With its place and the limit; one that fits is answered."""
    answer = plain_http.post(service.url + "/predict", json={"text": ["good", TAIL], "truncation": "error"})
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert (detail["type"], detail["loc"]) == ("too_many_tokens", ["body", "text", 1])
    assert "1850 tokens" in detail["msg"]
    assert predict(service, "good", truncation="error").json() == predict(service, "good").json()


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"top_k": 0}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"top_k": "1"}, "top_k"),
        ({"raw_scores": "yes"}, "raw_scores"),
        ({"truncation": "middle"}, "truncation"),
    ],
)
def test_wrong_option_is_located(service: Service, options: dict[str, Any], place: str) -> None:
    """422 with its name."""
    answer = predict(service, "good", **options)
    assert answer.status_code == 422
    assert [detail["loc"] for detail in answer.json()["detail"]] == [["body", place]]


def test_option_that_is_there_twice_is_refused(service: Service) -> None:
    """Which of its values counts is each parser's own choice."""
    body = b'{"text": ["good"], "top_k": 1, "top_k": 2}'
    answer = plain_http.post(service.url + "/predict", content=body)
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert (detail["type"], detail["loc"]) == ("duplicate_key", ["body", "top_k"])
