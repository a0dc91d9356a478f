"""What POST /predict refuses: status, type, place and sentence of every fault, and never the text itself."""

import json

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import Service

DIARY = "my neighbour's diary"


def post(service: Service, body: bytes | str) -> httpx.Response:
    """Post a body as it is."""
    return plain_http.post(service.url + "/predict", content=body)


def fault(service: Service, body: bytes | str, status: int = 422) -> tuple[str, list[str | int], str]:
    """Type, place and message of the only fault of a refused body."""
    response = post(service, body)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    ((detail),) = response.json()["detail"]
    assert sorted(detail) == ["loc", "msg", "type"]
    return detail["type"], detail["loc"], detail["msg"]


@pytest.mark.parametrize(
    ("body", "kind", "place", "message"),
    [
        ({"text": []}, "too_short", ["text"], "List should have at least 1 item after validation, not 0"),
        ({}, "missing", ["text"], "Field required"),
        ({"text": DIARY}, "list_type", ["text"], "Input should be a valid array"),
        ({"text": None}, "list_type", ["text"], "Input should be a valid array"),
        ({"text": {"0": DIARY}}, "list_type", ["text"], "Input should be a valid array"),
        ({"text": 1}, "list_type", ["text"], "Input should be a valid array"),
        ({"text": ["a", 1]}, "string_type", ["text", 1], "Input should be a valid string"),
        ({"text": ["a", 1.5]}, "string_type", ["text", 1], "Input should be a valid string"),
        ({"text": [None, "a"]}, "string_type", ["text", 0], "Input should be a valid string"),
        ({"text": [True]}, "string_type", ["text", 0], "Input should be a valid string"),
        ({"text": [[DIARY]]}, "string_type", ["text", 0], "Input should be a valid string"),
        ({"text": [{"a": DIARY}]}, "string_type", ["text", 0], "Input should be a valid string"),
        ({"text": ["a"], "texts": [DIARY]}, "extra_forbidden", ["texts"], "Extra inputs are not permitted"),
        ([DIARY], "model_type", [], "Input should be an object"),
        (DIARY, "model_type", [], "Input should be an object"),
        (1, "model_type", [], "Input should be an object"),
        (None, "model_type", [], "Input should be an object"),
        (True, "model_type", [], "Input should be an object"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_wrong_structure_is_located(
    service: Service, body: object, kind: str, place: list[str | int], message: str
) -> None:
    """Valid JSON of the wrong form answers 422 with the place of the fault."""
    assert fault(service, json.dumps(body)) == (kind, ["body", *place], message)


def test_first_wrong_text_and_unknown_fields_are_listed(service: Service) -> None:
    """Each with its place; one wrong text is enough."""
    response = post(service, json.dumps({"text": ["fine", 1, " ", None], "mode": "fast"}))
    places = [(detail["type"], detail["loc"][1:]) for detail in response.json()["detail"]]
    assert places == [("string_type", ["text", 1]), ("extra_forbidden", ["mode"])]


def test_list_of_faults_is_bounded(service: Service) -> None:
    """A body full of unknown fields does not come back ten times its size."""
    response = post(service, json.dumps({"text": ["a"], **{str(number): 1 for number in range(50_000)}}))
    assert response.status_code == 422
    assert [detail["msg"] for detail in response.json()["detail"]] == ["50000 fields that are unknown"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\u3000",
        "\u00a0",
        "\u2028",
        " \t\r\n\u3000\u2003",
        " " * 100_000,
        "\u200b",
        "\u00ad",
    ],
    ids=[
        *("empty", "space", "tab", "newline", "crlf", "ideographic", "no-break", "separator", "mixed", "longest"),
        *("zero-width", "soft-hyphen"),
    ],
)
def test_blank_text_is_refused(service: Service, text: str) -> None:
    """Whatever leaves nothing to see is no text; the index says which one it was."""
    expected = ("blank_text", ["body", "text", 1], "a blank text has no sentiment")
    assert fault(service, json.dumps({"text": ["fine", text]})) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "EOF while parsing a value at line 1 column 0"),
        (b'{"text": ["a"', "EOF while parsing a list at line 1 column 13"),
        (b'{"text": ["a",]}', "trailing comma at line 1 column 15"),
        (b'{"text": ["a"]} {}', "trailing characters at line 1 column 17"),
        (b"{'text': ['a']}", "key must be a string at line 1 column 2"),
        (b"text=I+love+you", "expected ident at line 1 column 2"),
        (b'{"text": ["a\x01"]}', "control character"),
        (b'{"text": ["\\x41"]}', "invalid escape"),
        (b'{"text": ["caf\xe9"]}', "invalid unicode code point at line 1"),
        (b'{"text": ["\xc0\xaf"]}', "invalid unicode code point at line 1"),
        (b'{"text": ["\xed\xa0\x80"]}', "invalid unicode code point at line 1"),
        (b'{"text": ["\xf0\x9f\x98"]}', "invalid unicode code point at line 1"),
        (b'{"\xff": 1}', "invalid unicode code point at line 1"),
        (b'{"text": ["\\ud83d"]}', "unexpected end of hex escape at line 1"),
        (b'{"text": ["\\ud83d\\ud83d"]}', "lone leading surrogate in hex escape at line 1"),
        (b'{"text": ["\\ude00"]}', "lone leading surrogate in hex escape at line 1"),
        (b'{"text": ["\\ude00\\ud83d"]}', "lone leading surrogate in hex escape at line 1"),
        (b'{"text": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "recursion limit exceeded at line 1"),
        (b"[" * 1_000_000, "recursion limit exceeded at line 1"),
        (b'{"a":' * 10_000, "recursion limit exceeded at line 1"),
        (b'{"text": [' + b"9" * 100_000 + b"]}", "number out of range at line 1"),
    ],
    ids=[
        "empty",
        "truncated",
        "trailing-comma",
        "two-values",
        "single-quotes",
        "form",
        "control",
        "escape",
        "latin-1",
        "overlong",
        "utf-8-surrogate",
        "cut-character",
        "in-key",
        "lone-high",
        "two-high",
        "lone-low",
        "swapped",
        "brackets",
        "only-brackets",
        "objects",
        "huge-integer",
    ],
)
def test_invalid_json_is_located(service: Service, body: bytes, message: str) -> None:
    """What is not JSON in UTF-8 answers 422 with line and column."""
    kind, place, found = fault(service, body)
    assert (kind, place) == ("json_invalid", ["body"])
    assert found.startswith("Invalid JSON: ")
    assert message in found


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"123456789012345678901234567890"])
def test_numbers_of_any_kind_are_no_texts(service: Service, number: bytes) -> None:
    """Python's own NaN and very large numbers are refused for what they are."""
    kind, place, _ = fault(service, b'{"text": [' + number + b"]}")
    assert (kind, place) == ("string_type", ["body", "text", 0])


@pytest.mark.parametrize("count", [1, 128])
def test_allowed_number_of_texts_is_answered(service: Service, count: int) -> None:
    """The limit itself is within the limit."""
    assert len(post(service, json.dumps({"text": ["good"] * count})).json()["predictions"]) == count


@pytest.mark.parametrize("text", ["good", 1, ""], ids=["texts", "numbers", "blanks"])
def test_too_many_texts_answer_413(service: Service, text: object) -> None:
    """One more than the limit, whatever they are: a smaller request would be looked at."""
    message = "129 texts exceed the limit of 128 (VALENCE_MAX_TEXTS)"
    assert fault(service, json.dumps({"text": [text] * 129}), 413) == ("too_large", ["body", "text"], message)


@pytest.mark.parametrize("character", ["a", "é", "映", "\U0001f600"], ids=["ascii", "latin", "cjk", "emoji"])
def test_characters_are_counted_not_bytes(service: Service, character: str) -> None:
    """100,000 characters are allowed and one more is not, however many bytes each takes."""
    assert post(service, _raw(character * 100_000)).status_code == httpx.codes.OK
    message = "100001 characters exceed the limit of 100000 (VALENCE_MAX_TEXT_CHARACTERS)"
    assert fault(service, _raw("fine", character * 100_001)) == ("text_too_long", ["body", "text", 1], message)


@pytest.mark.parametrize(
    "body",
    [
        {"text": [DIARY, 1]},
        {"text": DIARY},
        {"text": [[DIARY]]},
        {"text": [DIARY], "other": DIARY},
        [DIARY],
        {"text": [DIARY] * 129},
        {"text": [DIARY * 10_000]},
        {"text": [DIARY, " "]},
    ],
    ids=["beside-number", "plain", "nested", "beside-unknown", "list", "too-many", "too-long", "beside-blank"],
)
def test_refusal_never_repeats_the_text(service: Service, body: object) -> None:
    """Error bodies end up in logs of clients and proxies: texts are personal data."""
    for content in (json.dumps(body), json.dumps(body) + "}"):
        response = post(service, content)
        assert response.status_code in (413, 422)
        assert DIARY not in response.text
        assert DIARY not in str(response.headers)


def _raw(*texts: str) -> bytes:
    return json.dumps({"text": texts}, ensure_ascii=False).encode()
