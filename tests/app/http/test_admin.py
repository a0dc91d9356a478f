"""The operations port lets nobody load a model who may not, and takes nothing that is no request for one."""

from collections.abc import Iterator

import pytest

from tests.app import plain_http
from tests.app.versions import TOKEN
from tests.conftest import Service

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATH = "/model/load"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a token."""
    log = tmp_path_factory.mktemp("guarded") / "service.log"
    started = Service(log, VALENCE_ADMIN_TOKEN=TOKEN, VALENCE_DRAIN_SECONDS="0")
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def operations(service: Service) -> str:
    """The address of the port."""
    return service.metrics_url.removesuffix("/metrics")


@pytest.mark.parametrize(
    ("path", "content", "status", "kind", "said"),
    [
        (PATH, b'{"model": ', 422, "json_invalid", "Invalid JSON"),
        (PATH, b"", 422, "json_invalid", "Invalid JSON"),
        (PATH, b'{"model": 4}', 422, "string_type", "valid string"),
        (PATH, b"{}", 422, "missing", "required"),
        (PATH, b'{"model": "a", "force": true}', 422, "extra_forbidden", "not permitted"),
        (PATH, b'{"model": "a\\n"}', 422, "string_pattern_mismatch", "match"),
        (PATH, b'{"model": ""}', 422, "string_pattern_mismatch", "match"),
        (PATH, b'{"model": "%s"}' % (b"a" * 1_025), 422, "string_too_long", "1024"),
        (PATH, b"a" * 4_097, 413, "too_large", "4097, the limit 4096"),
        (f"{PATH}/a%2Fb", b"", 422, "run_id", "'a/b' is no id of a run"),
        (f"{PATH}/", b"", 422, "run_id", "'' is no id of a run"),
        (f"{PATH}/abc", b"", 422, "not_loaded", "runs:/abc/package"),
        (PATH, b'{"model": "no/such/folder"}', 422, "not_loaded", "no model package at no/such/folder"),
    ],
    ids=lambda value: value.decode()[:24] if isinstance(value, bytes) else None,
)
def test_what_is_wrong_is_said(  # noqa: PLR0917 - what is sent, and what is said
    guarded: Service, path: str, content: bytes, status: int, kind: str, said: str
) -> None:
    """In one line, with its place."""
    answer = plain_http.post(operations(guarded) + path, content=content, headers=BEARER)
    assert answer.status_code == status
    ((detail),) = answer.json()["detail"]
    assert detail["type"] == kind
    assert said in detail["msg"]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": "Bearer \xff"}],
    ids=["none", "another scheme", "another token", "no ASCII"],
)
def test_nobody_else_may(guarded: Service, headers: dict[str, str]) -> None:
    """Whatever is asked for, and the token is never repeated."""
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = plain_http.post(operations(guarded) + PATH, content=b"a" * 100, headers=raw)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text + guarded.log.read_text()


def test_only_post_loads(guarded: Service) -> None:
    """And the metrics stay where they are, for whoever may reach them."""
    answer = plain_http.get(operations(guarded) + PATH, headers=BEARER)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "valence_model_info" in plain_http.get(guarded.metrics_url).text


def test_the_port_of_the_api_knows_nothing_of_it(guarded: Service) -> None:
    """Whoever has the token."""
    answer = plain_http.post(guarded.url + PATH, json={"model": "a"}, headers=BEARER)
    assert answer.status_code == 404


def test_it_is_off_without_a_token(service: Service) -> None:
    """As if it were not there, but for the reason."""
    answer = plain_http.post(operations(service) + PATH, json={"model": "a"}, headers=BEARER)
    assert answer.status_code == 404
    assert "VALENCE_ADMIN_TOKEN is not set" in answer.text
