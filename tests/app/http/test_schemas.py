"""Bodies that are right, wrong and nearly right."""

import json
import random

import pytest

from app.errors import AppError
from app.http.protocols.native import Native
from app.http.schemas import MAX_FAULTS, predict_request

LIMITS = {"max_texts": 3, "max_text_characters": 12}
NATIVE = Native(predict_request(**LIMITS))
PIECES = [
    *(
        '{"text": ["good"]}',
        '{"text": ["good", "bad"]}',
        '{"text":[]}',
        '{"text": "good"}',
        '{"text": [1]}',
        "[]",
        "{}",
    ),
    *('{"text": ["a","b","c"]}', '{"text": ["a","b","c","d"]}', '{"text": ["1234567890123"]}', '{"text": [" "]}'),
    *(
        '{"text": ["\\u3000"]}',
        '{"text": ["\\ud800"]}',
        '{"text": [null]}',
        '{"text": [["a"]]}',
        '{"text": ["a"], "b": 1}',
    ),
    *('{"text": ["a"], "text": ["b"]}', '{"Text": ["a"]}', "null", '"text"', "NaN", "", "   ", '{"text": ["a"]} x'),
]
NOISE = [
    '"',
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\\",
    " ",
    "\x00",
    "\ufeff",
    "\u2028",
    "é",
    "0",
    "-1e400",
    "true",
    "NaN",
    "\\u00",
]


def odd_bodies(count: int) -> list[bytes]:
    """Bodies that are right, nearly right and wrong, the same in each run."""
    rng = random.Random(5)
    bodies = [piece.encode() for piece in PIECES]
    while len(bodies) < count:
        body = list(rng.choice(PIECES))
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(body))
            body[at : at + rng.randint(0, 2)] = rng.choice(NOISE) if rng.random() < 0.7 else []
        encoded = "".join(body).encode()
        if rng.random() < 0.1:
            encoded = encoded[: rng.randint(0, len(encoded))] + rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"])
        bodies.append(encoded)
    return bodies


def outcome(body: bytes) -> object:
    """The texts, or the status and every detail of the refusal."""
    try:
        return NATIVE.parse(body, {})[0].text
    except AppError as exc:
        return exc.status, exc.details


def test_odd_bodies_are_read_or_refused() -> None:
    """Never anything else, and what is read is what a JSON parser finds there."""
    accepted = 0
    for body in odd_bodies(3_000):
        found = outcome(body)
        if isinstance(found, list):
            accepted += 1
            assert found == json.loads(body)["text"]
    assert 50 < accepted < 2_900


@pytest.mark.parametrize("texts", [["good"], ["a", "b", "c"], ["x" * 12], ["é😀"], ["\u200ba"], ["👍🏽"]])
def test_right_body_gives_its_texts(texts: list[str]) -> None:
    """As they were sent, in order."""
    assert outcome(json.dumps({"text": texts}).encode()) == texts


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "\x1c", "\u200b", "\ufeff\u2060", "\u3164", "\ufe0f", "\u00ad", "\u2800"]
)
def test_text_without_a_visible_character_is_blank(text: str) -> None:
    """Whatever leaves nothing to see has no sentiment."""
    status, (detail,) = outcome(json.dumps({"text": ["a", text]}).encode())
    assert (status, detail["type"], detail["loc"]) == (422, "blank_text", ["body", "text", 1])


def test_first_wrong_text_is_enough() -> None:
    """And the list is too long before its elements are wrong."""
    (detail,) = outcome(b'{"text": [1, 2, 3]}')[1]
    assert detail["loc"] == ["body", "text", 0]
    (detail,) = outcome(b'{"text": [' + b",".join([b'"a"'] * 100_000) + b"]}")[1]
    assert detail["msg"] == "100000 texts exceed the limit of 3 (VALENCE_MAX_TEXTS)"


def test_many_unknown_fields_are_counted_and_not_listed() -> None:
    """A hundred thousand messages would take longer than the request."""
    body = b'{"text": ["a"]' + b"".join(b', "f%d": 1' % number for number in range(MAX_FAULTS + 1)) + b"}"
    (detail,) = outcome(body)[1]
    assert (detail["type"], detail["msg"]) == ("extra_forbidden", f"{MAX_FAULTS + 1} fields that are unknown")
