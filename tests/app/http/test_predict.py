"""POST /predict over HTTP: the answers, their headers, and every way to send a body."""

import math
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.conftest import Service

LABELS = {"NEGATIVE", "POSITIVE"}
FRIENDLY, HOSTILE = "I love you.", "I hate you."
BODY = b'{"text": ["I hate you.", "I love you."]}'
LONG = "a truly wonderful film " * 500  # more than four windows of 512 tokens hold
PLAIN = "The train leaves the station at nine and arrives in the next town at ten. " * 40  # more than 512 tokens


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    """One connection to the service, kept open."""
    with httpx.Client(base_url=service.url, timeout=60) as opened:
        yield opened


def predict(client: httpx.Client, *texts: str) -> httpx.Response:
    """Post texts as a well-behaved client does."""
    response = client.post("/predict", json={"text": texts})
    assert response.status_code == httpx.codes.OK, response.text
    return response


def fresh(text: str) -> str:
    """The text with something in front that no cache has seen."""
    return f"{uuid.uuid4().hex}: {text}"


def winners(response: httpx.Response) -> list[str]:
    """The first label of each text."""
    return [scores[0]["label"] for scores in response.json()["predictions"]]


def test_answer_has_the_agreed_shape(client: httpx.Client) -> None:
    """Every label of every text, the highest score first; the scores of a text sum to 1."""
    response = client.post("/predict", content=BODY)
    assert response.headers["Content-Type"] == "application/json"
    assert list(response.json()) == ["predictions"]
    for scores in response.json()["predictions"]:
        assert [sorted(entry) for entry in scores] == [["label", "score"]] * 2
        assert {entry["label"] for entry in scores} == LABELS
        assert scores[0]["score"] > scores[1]["score"]
        assert math.isclose(sum(entry["score"] for entry in scores), 1, abs_tol=1e-6)


def test_answers_keep_the_order_of_the_texts(client: httpx.Client) -> None:
    """Sixty-four texts, half of them known already, are answered each in its place."""
    texts = [fresh(HOSTILE if index % 3 else FRIENDLY) for index in range(64)]
    predict(client, *texts[::2])
    together = predict(client, *texts).json()["predictions"]
    assert together == [predict(client, text).json()["predictions"][0] for text in texts]
    assert winners(predict(client, HOSTILE, FRIENDLY)) == ["NEGATIVE", "POSITIVE"]
    assert winners(predict(client, FRIENDLY, HOSTILE)) == ["POSITIVE", "NEGATIVE"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        None,
    ],
    ids=["json", "with-charset", "text", "curl-d", "empty", "none"],
)
def test_content_type_does_not_matter(client: httpx.Client, content_type: str | None) -> None:
    """Clients of this API send JSON under any content type, or under none."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = client.post("/predict", content=BODY, headers=headers)
    assert winners(response) == ["NEGATIVE", "POSITIVE"]


def test_chunked_body_is_read(client: httpx.Client) -> None:
    """A body without a length, cut inside of a character, is put together again."""
    body = '{"text": ["I love you, café."]}'.encode()
    response = client.post("/predict", content=iter([body[:-4], body[-4:-3], body[-3:]]))
    assert response.request.headers["Transfer-Encoding"] == "chunked"
    assert winners(response) == ["POSITIVE"]


def test_connection_serves_many_requests(client: httpx.Client) -> None:
    """Refusals included, one connection is enough; the client need not open another."""
    bodies = (BODY, b"{", BODY, b"[]", BODY)
    ports = set()
    for body in bodies:
        with client.stream("POST", "/predict", content=body) as response:
            ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
            response.read()
    assert len(ports) == 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["a", "b"], ["a", "b"], ("0/2", "2/2")),
        (["a", "a"], ["a", "b"], ("0/2", "1/2")),
        (["a", "b"], ["b", "b", "c"], ("0/2", "2/3")),
        (["a"], ["A", " a", "a "], ("0/1", "0/3")),
    ],
    ids=["again", "twice-in-one", "mixed", "every-character-counts"],
)
def test_cache_header_counts_texts(
    client: httpx.Client, first: list[str], second: list[str], expected: tuple[str, str]
) -> None:
    """`X-Cache` says how many of the texts were known; a text that came twice when unknown is no hit."""
    mark = uuid.uuid4().hex
    responses = [predict(client, *(f"{text}{mark}{text}" for text in texts)) for texts in (first, second)]
    assert tuple(response.headers["X-Cache"] for response in responses) == expected


def test_cut_texts_are_named(client: httpx.Client) -> None:
    """`X-Truncated` holds the indices of texts longer than the model reads, from the cache, too."""
    texts = [FRIENDLY, fresh(LONG), HOSTILE, fresh(LONG)]
    responses = [predict(client, *texts), predict(client, *texts)]
    assert [response.headers["X-Truncated"] for response in responses] == ["1,3", "1,3"]
    assert responses[1].headers["X-Cache"] == "4/4"
    assert responses[0].json() == responses[1].json()


def test_whole_texts_are_not_named(client: httpx.Client) -> None:
    """A window of 510 words and three of 446 new ones just fit: no `X-Truncated`; one word more does not."""
    assert "X-Truncated" not in predict(client, "good " * 1848).headers
    assert predict(client, "good " * 1849).headers["X-Truncated"] == "0"


def test_verdict_behind_the_first_window_counts(client: httpx.Client) -> None:
    """The bundled model reads 512 tokens at once; a longer text is scored as the mean of its windows."""
    response = predict(client, PLAIN + "I love this town, it is wonderful.", PLAIN + "I hate this town, it is awful.")
    assert winners(response) == ["POSITIVE", "NEGATIVE"]
    assert "X-Truncated" not in response.headers


@pytest.mark.parametrize(
    "request_id",
    ["a", "A-Z_0.9:/+=", "b7ad6b7169203331", "x" * 128],
    ids=["short", "signs", "trace", "longest"],
)
def test_sane_request_id_is_taken_over(client: httpx.Client, request_id: str) -> None:
    """So that a call can be followed through all services."""
    response = client.get("/health", headers={"X-Request-ID": request_id})
    assert response.headers["X-Request-ID"] == request_id


@pytest.mark.parametrize(
    "request_id",
    [b"", b"x" * 129, b"two words", b"tab\there", "é".encode(), "é".encode("latin-1"), b'"quoted"', b"a;b", b"<b>"],
    ids=["empty", "too-long", "space", "tab", "utf-8", "latin-1", "quotes", "semicolon", "markup"],
)
def test_other_request_ids_are_replaced(client: httpx.Client, request_id: bytes) -> None:
    """What could spoil a log or a header never gets there."""
    response = client.get("/health", headers={b"X-Request-ID": request_id})
    assert response.status_code == httpx.codes.OK
    assert re.fullmatch("[0-9a-f]{16,}", response.headers["X-Request-ID"])


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/predict", BODY),
        ("POST", "/predict", b"{"),
        ("GET", "/predict", b""),
        ("GET", "/health", b""),
        ("GET", "/", b""),
        ("GET", "/no/such/path", b""),
    ],
    ids=["prediction", "refusal", "wrong-method", "health", "page", "unknown-path"],
)
def test_every_response_is_identified_and_timed(client: httpx.Client, method: str, path: str, content: bytes) -> None:
    """A request id of its own, the time in UTC, and the latency in milliseconds stand on every response."""
    began = datetime.now(UTC)
    responses = [client.request(method, path, content=content) for _ in range(2)]
    assert responses[0].headers["X-Request-ID"] != responses[1].headers["X-Request-ID"]
    for response in responses:
        stamp = datetime.fromisoformat(response.headers["X-Timestamp"])
        assert stamp.utcoffset() == timedelta(0)
        assert began - timedelta(milliseconds=1) <= stamp <= datetime.now(UTC)  # it is cut to milliseconds
        milliseconds = float(response.headers["X-Latency-ms"])
        assert 0 < milliseconds <= response.elapsed.total_seconds() * 1000


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "OPTIONS, POST"),
        ("HEAD", "/predict", "OPTIONS, POST"),
        ("DELETE", "/predict", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("PUT", "/model/info", "GET, HEAD, OPTIONS"),
    ],
)
def test_wrong_method_answers_405(client: httpx.Client, method: str, path: str, allowed: str) -> None:
    """The header says what is allowed, the body has the shape of every error."""
    response = client.request(method, path)
    assert response.status_code == httpx.codes.METHOD_NOT_ALLOWED
    assert response.headers["Allow"] == allowed
    if method == "HEAD":
        assert response.content == b""
    else:
        detail = {"type": "method_not_allowed", "loc": ["path"], "msg": "Method Not Allowed"}
        assert response.json() == {"detail": [detail]}


@pytest.mark.parametrize("path", ["/nope", "/predict/nope", "/metrics", "/static/none.js", "/static/..%2fmain.py"])
def test_unknown_path_answers_404(client: httpx.Client, path: str) -> None:
    """In the same shape; nothing outside of the page's folder is served."""
    response = client.get(path)
    assert response.status_code == httpx.codes.NOT_FOUND
    assert response.json() == {"detail": [{"type": "not_found", "loc": ["path"], "msg": "Not Found"}]}
