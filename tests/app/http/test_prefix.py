"""Behind a real nginx that offers the service under a prefix, which it keeps or takes off: API, page and `/docs`."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import httpx
import pytest
from selenium.webdriver.common.by import By

from app.http.page import HEADERS
from tests.app import plain_http
from tests.app.browser import Page
from tests.app.proxies import nginx_command
from tests.conftest import Service, StartService, free_port, until

PREFIX = "/texts/mood"
CLICK = """
const button = [...document.querySelectorAll("[id^=operations-prediction] button")]
  .find((button) => button.textContent.includes(arguments[0]));
button?.click();
return button !== undefined;
"""


@dataclass
class Gateway:
    """nginx's URLs of the service, each with the prefix, and the service that knows of it."""

    kept: str
    taken_off: str
    unknown: str
    """Taken off, and the service has not been told."""
    service: Service


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Iterator[Gateway]:
    """One nginx before two services: one with VALENCE_ROOT_PATH, one without."""
    folder = tmp_path_factory.mktemp("gateway")
    ports = [free_port() for _ in range(3)]
    told = Service(folder / "service.log", VALENCE_ROOT_PATH=PREFIX, VALENCE_DRAIN_SECONDS="0")
    upstreams = [(PREFIX, told.url), (f"{PREFIX}/", f"{told.url}/"), (f"{PREFIX}/", f"{service.url}/")]
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}; location {path} {{ proxy_pass {target}; }} }}\n"
        for port, (path, target) in zip(ports, upstreams, strict=True)
    )
    process = subprocess.Popen(nginx_command(folder, servers))
    try:
        told.wait_ready()
        urls = [f"http://127.0.0.1:{port}{PREFIX}" for port in ports]
        until(lambda: answers(urls[0] + "/livez"), "nginx listens")
        yield Gateway(*urls, told)
    finally:
        process.terminate()
        process.wait(30)
        told.stop()


@pytest.fixture(params=["kept", "taken_off", "unknown"])
def url(request: pytest.FixtureRequest, gateway: Gateway) -> str:
    """The service's URL in each of the three ways."""
    address: str = getattr(gateway, request.param)
    return address


def answers(url: str) -> bool:
    """Whether somebody does."""
    try:
        return plain_http.get(url).is_success
    except httpx.TransportError:
        return False


def test_api_answers_under_the_prefix(url: str) -> None:
    """Every path, with HEAD and slashes as without a prefix; elsewhere there is nothing."""
    answer = plain_http.post(url + "/predict", json={"text": ["A prefix."]})
    assert (answer.status_code, len(answer.json()["predictions"])) == (200, 1)
    for path in ("/", "/health", "/readyz/", "/model/info", "/static/page.js", "/static/swagger-ui.css", "/docs"):
        assert plain_http.get(url + path).status_code == 200, path
        assert plain_http.request("HEAD", url + path).status_code == 200, path
    assert plain_http.get(url + "/nowhere").status_code == 404


def test_metrics_and_description_know_the_route(gateway: Gateway) -> None:
    """A series is named by the route, not by the prefix; the description's server is where clients find it."""
    name = 'http_requests_total{method="GET",route="/health",status="200"}'
    before = gateway.service.metric(name)
    for url in (gateway.kept, gateway.taken_off):
        plain_http.get(url + "/health")
        assert plain_http.get(url + "/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert gateway.service.metric(name) == before + 2
    assert plain_http.get(f"{gateway.service.url}{PREFIX}x/health").status_code == 404


def test_page_scores_under_the_prefix(page: Page, url: str) -> None:
    """The page finds its files and the API; the console has no error."""
    page.open(url)
    page.type("I love this film.")
    [row] = page.await_rows("I love this film.")
    assert row["label"] == "POSITIVE"
    assert page.console() == []


def test_prefix_without_its_slash_leads_to_the_page(page: Page, gateway: Gateway) -> None:
    """Without a redirect, the page's links would lead beside the prefix."""
    for url in (gateway.kept, gateway.taken_off):
        page.driver.get(url)
        page.type("I hate it.")
        assert page.await_rows("I hate it.")[0]["label"] == "NEGATIVE"
    assert plain_http.get(gateway.kept).headers["location"] == f"{PREFIX}/"


def test_docs_try_a_prediction_offline(page: Page, gateway: Gateway) -> None:
    """Chromium asks nobody but the service, breaks no policy, and a prediction that is tried is answered."""
    for url, slash in ((gateway.service.url, ""), (gateway.kept, "/"), (gateway.taken_off, "")):
        page.driver.get(f"{url}/docs{slash}")
        for button in ("/predict", "Try it out", "Execute"):
            page.wait(partial(page.driver.execute_script, CLICK, button))
        page.wait(lambda: "x-latency-ms:" in page.driver.find_element(By.CSS_SELECTOR, ".live-responses-table").text)
        assert '"predictions"' in page.driver.find_element(By.CSS_SELECTOR, ".live-responses-table").text
        assert page.console() == []
        asked = page.driver.execute_script("return performance.getEntries().map((entry) => entry.name)")
        assert {name for name in asked if name.startswith("http") and not name.startswith(url)} == set()


def test_docs_are_as_confined_as_the_page(service: Service) -> None:
    """The same policy: no script and no style but the service's own files."""
    for path in ("/docs", "/static/swagger-ui-bundle.js"):
        headers = plain_http.get(service.url + path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS


def test_docs_can_be_off(start_service: StartService) -> None:
    """The description stays for clients, and the page leads to it instead."""
    started = start_service(VALENCE_DOCS="false").wait_ready()
    assert plain_http.get(started.url + "/docs").status_code == 404
    assert plain_http.get(started.url + "/openapi.json").status_code == 200
    html = plain_http.get(started.url).text
    assert 'href="docs"' not in html
    assert 'href="openapi.json"' in html


@pytest.mark.parametrize("prefix", ["/model", "/static"])
def test_prefix_that_is_a_path_of_the_api_is_refused(start_service: StartService, prefix: str) -> None:
    """Nobody could tell whether such a prefix was kept; one line says so."""
    started = start_service(VALENCE_ROOT_PATH=prefix)
    assert started.process.wait(300) != 0
    assert f"VALENCE_ROOT_PATH='{prefix}': the API has {prefix}" in started.log.read_text()
    assert "Traceback" not in started.log.read_text()
