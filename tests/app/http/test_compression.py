"""Bodies that come and go as gzip or deflate, and what they may unpack to."""

import gzip
import json
import tracemalloc
import zlib

import httpx
import pytest

from app.errors import TooLarge
from app.http.compression import packed, unpacked
from tests.app import plain_http
from tests.conftest import Service

BODY = b'{"text": ["I love you."]}'
LIMIT = 1_048_576


def post(service: Service, content: bytes, encoding: str) -> httpx.Response:
    """Post a body under an encoding."""
    return plain_http.post(service.url + "/predict", content=content, headers={"Content-Encoding": encoding})


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), "x-gzip"),
        (gzip.compress(BODY), "GZIP"),
        (zlib.compress(BODY), "deflate"),
        (BODY, "identity"),
        (BODY, "gzip"),
    ],
    ids=["gzip", "x-gzip", "capitals", "deflate", "identity", "not-at-all"],
)
def test_packed_body_is_read(service: Service, content: bytes, encoding: str) -> None:
    """As if it had come as it is; what is not compressed in spite of the header is served."""
    plain = plain_http.post(service.url + "/predict", content=BODY).json()
    assert post(service, content, encoding).json() == plain


@pytest.mark.parametrize(
    ("content", "encoding", "status", "said"),
    [
        (gzip.compress(BODY)[:-9], "gzip", 422, "it is cut off"),
        (gzip.compress(BODY) + b"x", "gzip", 422, "there is more behind its end"),
        (b"\x1f\x8bnonsense", "gzip", 422, "as its Content-Encoding says"),
        (gzip.compress(b'{"text": []}'), "gzip", 422, "at least 1 item"),
        (gzip.compress(b'{"text": ["' + b"a" * LIMIT + b'"]}'), "gzip", 413, "limit of 1048576 bytes"),
        (BODY[1:], "br", 415, "'br' is not undone"),
    ],
    ids=["cut", "more", "nonsense", "wrong-within", "too-large", "brotli"],
)
def test_what_can_not_be_unpacked_is_refused(
    service: Service, content: bytes, encoding: str, status: int, said: str
) -> None:
    """Each with its reason; the limit of bodies is that of what they unpack to, too."""
    answer = post(service, content, encoding)
    assert answer.status_code == status
    assert said in answer.json()["detail"][0]["msg"]
    assert ("Accept-Encoding" in answer.headers) == (status == 415)


def test_bomb_is_never_unpacked() -> None:
    """No more than the limit is ever made of it, whatever it would be: 10 MB here, whole or cut off."""
    bomb = gzip.compress(bytes(10_000_000))
    tracemalloc.start()
    for body in (bomb, bomb[: len(bomb) // 2]):
        with pytest.raises(TooLarge, match="limit of 1000 bytes"):
            unpacked(body, {b"content-encoding": b"gzip"}, 1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_long_answer_is_packed_for_who_takes_it(service: Service) -> None:
    """The same JSON in less than a third of the bytes; short answers and other clients get it as it is."""
    body = json.dumps({"text": [f"text {number}" for number in range(100)]})
    answers = [
        plain_http.post(service.url + "/predict", content=body, headers={"Accept-Encoding": accepted})
        for accepted in ("identity", "gzip")
    ]
    assert answers[0].json() == answers[1].json()
    assert [answer.headers.get("Content-Encoding") for answer in answers] == [None, "gzip"]
    assert answers[1].headers["Vary"] == "accept-encoding"
    assert 3 * int(answers[1].headers["Content-Length"]) < int(answers[0].headers["Content-Length"])
    short = plain_http.post(service.url + "/predict", content=BODY, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in short.headers


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br", True),
        (b"deflate,GZIP;q=0.5", True),
        (b"br;q=1.0, gzip ; q=1", True),
        (b"gzip;q=0", False),
        (b"gzip;q=0.000, br", False),
        (b"deflate, br", False),
        (b"x-gzipped", False),
        (b"", False),
    ],
)
def test_accepted_encodings_are_read(accepted: bytes, takes: bool) -> None:
    """With their weights: zero means that it is not accepted (RFC 9110, 12.4.2)."""
    assert (packed(b"answer", {b"accept-encoding": accepted}) is not None) == takes
