"""The short way of parsing accepts what the published schema accepts, and says the same of what it refuses."""

import json
import random

import pytest

from app.errors import AppError
from app.schemas import RequestParser, predict_request

LIMITS = {"max_texts": 3, "max_text_characters": 12}
PARSER = RequestParser(predict_request(**LIMITS), **LIMITS)
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


def outcome(parsed_by_schema: bool, body: bytes) -> object:
    """The texts, or the status and every detail of the refusal."""
    try:
        return PARSER._parse_by_schema(body) if parsed_by_schema else PARSER(body)
    except AppError as exc:
        return exc.status, exc.details


def test_both_ways_agree_on_a_thousand_odd_bodies() -> None:
    """Same texts, or same status and same details; and the bodies are odd enough to be of both kinds."""
    outcomes = [outcome(parsed_by_schema=False, body=body) for body in odd_bodies(3_000)]
    for body, found in zip(odd_bodies(3_000), outcomes, strict=True):
        assert found == outcome(parsed_by_schema=True, body=body), body
    accepted = sum(isinstance(found, list) for found in outcomes)
    assert 50 < accepted < 2_900


@pytest.mark.parametrize("texts", [["good"], ["a", "b", "c"], ["x" * 12], ["\u200b"], ["é😀"]])
def test_right_body_gives_its_texts(texts: list[str]) -> None:
    """As they were sent, in order."""
    assert PARSER(json.dumps({"text": texts}).encode()) == texts
