"""Mutated bodies: each is answered, in the error's shape or with as many predictions as it holds texts."""

import json
import random
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException

from bench.fuzz.part import Part
from bench.questions import OK, Questions, post

REFUSALS = {400, 413, 415, 422}
UNCHANGED = 0.2
"""Share of the bodies that stay as they are, so that right answers come between the refusals."""

SPLICES: Sequence[bytes] = (
    b"[" * 5_000, b'{"text":' * 500, b"1e999", b"-0", b"9" * 400, b"NaN", b"null", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\\ud800", b"\\u0000", b"\\", b'"', b"}", b"]", b",", b":", b'"text":["x"],', b"/*", b"\x00", b"\xf0\x9f\x98\x80",
    b"\xe2\x80\x8b" * 50, b"a" * 120_000, b'"",' * 1_000, b"0," * 20_000,
)  # fmt: skip


def _flip(source: random.Random, body: bytes) -> bytes:
    at = source.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << source.randrange(8)]) + body[at + 1 :]


def _splice(source: random.Random, body: bytes) -> bytes:
    at = source.randrange(len(body) + 1)
    return body[:at] + source.choice(SPLICES) + body[at:]


def _cut(source: random.Random, body: bytes) -> bytes:
    begin, end = sorted(source.choices(range(len(body) + 1), k=2))
    return body[:begin] + body[end:]


def _repeat(source: random.Random, body: bytes) -> bytes:
    begin, end = sorted(source.choices(range(len(body) + 1), k=2))
    return body[:end] + body[begin:end] * source.randint(1, 30) + body[end:]


MUTATIONS: Sequence[Callable[[random.Random, bytes], bytes]] = (_flip, _flip, _splice, _cut, _repeat)


def mutated(source: random.Random, body: bytes) -> bytes:
    """The body, changed one to four times, or as it is."""
    if source.random() < UNCHANGED:
        return body
    for _ in range(source.randint(1, 4)):
        body = source.choice(MUTATIONS)(source, body) or b" "
    return body


def fault(questions: Questions, body: bytes, status: int, answer: bytes) -> str | None:
    """What is wrong with this answer, if anything."""
    if status in REFUSALS:
        return None if is_refusal(answer) else "a refusal in another shape"
    if status != OK:
        return f"status {status}"
    try:
        asked = json.loads(body)["text"]
        found = json.loads(answer)["predictions"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "an answer to what is no question"
    if not isinstance(asked, list) or len(asked) != len(found):
        return f"{len(found)} predictions"
    if all(text in questions.texts for text in asked) and not questions.is_right(asked, answer):
        return "a wrong score"
    return None


def is_refusal(answer: bytes) -> bool:
    """Whether this is the error's one shape, with something to read in it."""
    try:
        details = json.loads(answer)["detail"]
        return bool(details) and all({"type", "loc", "msg"} <= item.keys() and item["msg"] for item in details)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def fuzz(part: Part) -> None:
    """One after the other on a connection that is kept, unless the service closes it."""
    source = part.source
    with part.service() as port:
        questions = Questions(port)
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in part.turns():
            body = mutated(source, json.dumps({"text": questions.draw(source)}).encode())
            try:
                status, answer = post(connection, body)
            except (OSError, HTTPException) as exc:
                part.found(repr(exc), body)
                connection.close()
                continue
            part.tried[f"answers {status}"] += 1
            if wrong := fault(questions, body, status, answer):
                part.found(wrong, body)
        connection.close()
