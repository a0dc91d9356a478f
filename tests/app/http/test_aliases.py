"""HEAD, slashes, and what every answer says."""

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import Service

PATHS = [
    "/",
    "/health",
    "/livez",
    "/readyz",
    "/model/info",
    "/metrics/summary",
    "/openapi.json",
    "/static/page.js",
    "/info",
    "/v2",
]


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_a_body(service: Service, path: str) -> None:
    """Status and headers are the same."""
    got, headed = (plain_http.request(method, service.url + path) for method in ("GET", "HEAD"))
    assert got.status_code == headed.status_code == httpx.codes.OK
    assert headed.content == b""
    if path != "/metrics/summary":  # which is another one a second later
        assert headed.headers["content-length"] == str(len(got.content))
    assert headed.headers["content-type"] == got.headers["content-type"]


def test_head_of_metrics(service: Service) -> None:
    """The same on the port of the metrics."""
    headed = plain_http.request("HEAD", service.metrics_url)
    assert (headed.status_code, headed.content) == (httpx.codes.OK, b"")
    assert headed.headers["content-type"].startswith("text/plain")


def test_head_is_counted_by_its_route(service: Service) -> None:
    """As HEAD."""
    name = 'http_requests_total{method="HEAD",route="/readyz",status="200"}'
    before = service.metric(name)
    plain_http.request("HEAD", service.url + "/readyz")
    assert service.metric(name) == before + 1


def test_slash_behind_a_path_is_no_other_path(service: Service) -> None:
    """And nothing redirects: behind a proxy that ends TLS it would lead to http."""
    for path in ("/predict/", "/predict"):
        answer = plain_http.post(service.url + path, json={"text": ["A film with a slash."]})
        assert answer.status_code == httpx.codes.OK
    for path in ("/health/", "/readyz/", "/model/info/"):
        assert plain_http.get(service.url + path).status_code == httpx.codes.OK
    assert service.metric('http_requests_total{method="POST",route="unmatched",status="200"}') == 0
    for path in ("/predict/", "/predict"):
        assert plain_http.get(service.url + path).status_code == httpx.codes.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("path", [*PATHS, "/predict", "/nowhere"])
def test_no_answer_is_sniffed(service: Service, path: str) -> None:
    """Each has `X-Content-Type-Options`, once."""
    assert plain_http.get(service.url + path).headers.get_list("x-content-type-options") == ["nosniff"]
