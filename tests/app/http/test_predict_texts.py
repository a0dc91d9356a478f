"""Texts that are unusual but valid: each gets an answer, none a refusal and none a 500."""

import json

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import Service

UNUSUAL = {
    "emoji": "😀🎉👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈",
    "cjk": "この映画は本当に退屈だった。真是太好了。 정말 좋아요",
    "right-to-left": "هذا الفيلم رائع جدا וזה סרט נפלא",
    "bidi-controls": "\u202egood\u202c \u2066bad\u2069",
    "combining-marks": "g" + "\u0301\u0327\u20dd" * 500 + "ood",
    "nul": "\x00good\x00",
    "control-characters": "".join(map(chr, range(32))) + "good\x7f\x80\x9f",
    "one-letter": "a",
    "one-digit": "7",
    "only-punctuation": "?!?!... --- ;-)",
    "private-use": "\ue000\uf8ff\U0010ffff",
    "noncharacter": "\ufffe\uffff good",
    "replacement-character": "\ufffd",
    "astral": "\U0001d4f0\U0001d4f8\U0001d4f8\U0001d4ed \U00010348 \U00012000",
    "special-tokens": "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "markup": "<script>alert('good')</script> & \"quotes\" \\ / \\u0000",
    "sql": "'; DROP TABLE texts; --",
    "long-url": "https://example.org/?" + "q=%20good&" * 5_000,
    "letters-without-a-space": "a" * 100_000,
    "spaces-and-a-word": " " * 99_996 + "good",
    "a-word-and-line-breaks": "good" + "\r\n" * 49_998,
    "marks-without-a-letter": "\u0301" * 100_000,
    "many-emoji": "😀" * 100_000,
    "cjk-without-a-space": "映" * 100_000,
}


@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_unusual_text_is_answered(service: Service, text: str) -> None:
    """Both labels with scores between 0 and 1, and again the same from the cache."""
    body = json.dumps({"text": [text]}, ensure_ascii=False).encode()
    answers = [plain_http.post(service.url + "/predict", content=body) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == httpx.codes.OK, answer.text
        (scores,) = answer.json()["predictions"]
        assert {entry["label"] for entry in scores} == {"NEGATIVE", "POSITIVE"}
        assert all(0 <= entry["score"] <= 1 for entry in scores)
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize("name", sorted(UNUSUAL.keys() - {"many-emoji"}))  # whose escapes exceed the limit of the body
def test_escaped_text_is_the_same_text(service: Service, name: str) -> None:
    """JSON's escapes (surrogate pairs among them) and raw UTF-8 meet in the cache."""
    raw, escaped = (json.dumps({"text": [UNUSUAL[name]]}, ensure_ascii=flag).encode() for flag in (False, True))
    plain_http.post(service.url + "/predict", content=raw)
    assert plain_http.post(service.url + "/predict", content=escaped).headers["X-Cache"] == "1/1"


def test_unusual_texts_do_not_disturb_each_other(service: Service) -> None:
    """Asked for together, each text scores as it does alone."""
    texts = [text for text in UNUSUAL.values() if len(text) < 10_000]
    alone = [
        plain_http.post(service.url + "/predict", json={"text": [text]}).json()["predictions"][0] for text in texts
    ]
    together = plain_http.post(service.url + "/predict", json={"text": texts})
    assert together.json()["predictions"] == alone
