"""Pages of other origins, as a browser asks for them, and OPTIONS as such."""

from collections.abc import Iterator

import pytest

from tests.app import plain_http
from tests.app.browser import Page
from tests.conftest import Service

FRIEND = "https://app.example.com"
ASKS = """
const [url, done] = arguments;
fetch(url + "/predict", {method: "POST", headers: {"Content-Type": "application/json", "X-Request-ID": "from-a-page"},
                         body: JSON.stringify({text: ["Wonderful."]})})
  .then(async (answer) => done([answer.status, answer.headers.get("X-Request-ID"), (await answer.json()).predictions]))
  .catch((error) => done(String(error)));
"""


@pytest.fixture(scope="module")
def friendly(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Iterator[Service]:
    """A service that lets pages of FRIEND and of the other service ask."""
    log = tmp_path_factory.mktemp("cors") / "service.log"
    started = Service(log, VALENCE_CORS_ORIGINS=f"{FRIEND}, {service.url}", VALENCE_DRAIN_SECONDS="0")
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def preflight(url: str, origin: str) -> dict[str, str]:
    """What a browser is told before a page may post JSON: the status, and who may."""
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "content-type,x-api-key"
    answer = plain_http.request("OPTIONS", url + "/predict", headers=headers)
    assert answer.headers["x-request-id"]
    told = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    return {"status": str(answer.status_code), **told}


def test_named_origin_may_ask(friendly: Service) -> None:
    """Its preflight and its requests, refused ones too, get the headers; those of a stranger do not."""
    told = preflight(friendly.url, FRIEND)
    assert (told["status"], told["access-control-allow-origin"]) == ("200", FRIEND)
    assert told["access-control-allow-headers"] == "content-type,x-api-key"
    assert "access-control-allow-credentials" not in told
    stranger = "https://stranger.example.com"
    assert "access-control-allow-origin" not in preflight(friendly.url, stranger)
    for content in (b'{"text": ["A"]}', b"{"):
        for origin, allowed in ((FRIEND, FRIEND), (stranger, None)):
            answer = plain_http.post(friendly.url + "/predict", content=content, headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "Origin" in answer.headers["vary"]


def test_real_page_reads_the_answer(page: Page, service: Service, friendly: Service) -> None:
    """Chromium lets a page of a named origin read status, headers and body, and a page of any other nothing."""
    page.driver.set_script_timeout(30)
    page.driver.get(service.url + "/health")  # a page without a policy of its own
    status, request_id, predictions = page.driver.execute_async_script(ASKS, friendly.url)
    assert (status, request_id, len(predictions)) == (200, "from-a-page", 1)
    page.driver.get(friendly.url + "/health")
    assert page.driver.execute_async_script(ASKS, service.url) == "TypeError: Failed to fetch"


def test_off_by_default(service: Service) -> None:
    """No answer says anything of origins."""
    assert preflight(service.url, FRIEND) == {"status": "204"}
    answer = plain_http.get(service.url + "/health", headers={"Origin": FRIEND})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/predict", "OPTIONS, POST"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS, POST"),
        ("/static/page.js", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_refused_methods_say_what_is_allowed(service: Service, path: str, allowed: str) -> None:
    """204 and 405, each with `Allow`."""
    for method, status in (("OPTIONS", 204), ("PUT", 405)):
        answer = plain_http.request(method, service.url + path)
        assert (answer.status_code, answer.headers["allow"]) == (status, allowed)
    assert plain_http.request("OPTIONS", service.url + "/nowhere").status_code == 404
