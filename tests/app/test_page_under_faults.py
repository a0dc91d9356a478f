"""The page when the service is busy, slow, gone or behind a path prefix, and the policy that confines it.

A reverse proxy of this file stands between Chromium and the real service: it serves the service under a path prefix,
and can answer for it with 429, hold an answer back, or hang up.
"""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.app.browser import Page
from tests.app.conftest import Service

PREFIX = "/models/valence"
PASSED_ON = ("Content-Type", "Content-Security-Policy", "X-Cache", "X-Latency-ms", "X-Request-ID", "X-Truncated")


class Proxy(ThreadingHTTPServer):
    """Serves `service_url` under PREFIX. Its events are switches: a test sets what shall happen."""

    def __init__(self, service_url: str) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.target = urlsplit(service_url).netloc
        self.url = f"http://127.0.0.1:{self.server_address[1]}{PREFIX}"
        self.busy = threading.Event()
        """While set, every prediction is answered with 429 and Retry-After: 1."""
        self.gone = threading.Event()
        """While set, every prediction is cut off without an answer."""
        self.held, self.release, self.done = threading.Event(), threading.Event(), threading.Event()
        """A prediction of the text "slow" sets `held`, waits for `release`, and sets `done` after its answer."""


class Passage(BaseHTTPRequestHandler):
    """One connection through the proxy."""

    server: Proxy

    def do_GET(self) -> None:
        """Pass the request on."""
        self.forward(b"")

    def do_POST(self) -> None:
        """Pass the prediction on, unless a switch says otherwise."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.gone.is_set():
            self.close_connection = True
        elif self.server.busy.is_set():
            self.answer(429, b'{"detail": "256 texts are waiting"}', {"Retry-After": "1"})
        elif b"slow" in body:
            self.server.held.set()
            self.server.release.wait()
            self.forward(body)
            self.server.done.set()
        else:
            self.forward(body)

    def forward(self, body: bytes) -> None:
        """Ask the service, whose paths have no prefix; a path outside the prefix isn't there."""
        if not self.path.startswith(f"{PREFIX}/"):
            self.answer(404, b"", {})
            return
        connection = HTTPConnection(self.server.target)
        connection.request(self.command, self.path.removeprefix(PREFIX), body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        headers = {name: value for name in PASSED_ON if (value := response.getheader(name))}
        self.answer(response.status, response.read(), headers)
        connection.close()

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Write the answer; the browser may have hung up meanwhile, which is its right."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        try:
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Keep the requests out of the tests' output."""


@pytest.fixture
def proxy(service: Service) -> Iterator[Proxy]:
    """A proxy in front of the real service, with all switches off."""
    with Proxy(service.url) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


def test_page_works_under_a_path_prefix(page: Page, proxy: Proxy) -> None:
    """Styles, script, predictions and card all come from below the prefix, with nothing to complain of."""
    page.open(proxy.url)
    page.type("I love you.")
    assert page.await_rows("I love you.")[0]["label"] == "POSITIVE"
    page.wait(lambda: page.visible_text("card"))
    assert page.driver.execute_script("return document.styleSheets[0].cssRules.length") > 0
    assert page.console() == []


def test_busy_service_is_asked_again(page: Page, proxy: Proxy) -> None:
    """A 429 is shown with the service's sentence and its Retry-After; the text is scored once there is room."""
    page.open(proxy.url)
    proxy.busy.set()
    page.type("I love you.")
    page.wait(lambda: "Trying again in 1 s." in page.visible_text("error"))
    assert "256 texts are waiting" in page.visible_text("error")
    proxy.busy.clear()
    page.await_rows("I love you.")
    assert page.visible_text("error") == ""


def test_late_answer_to_an_old_text_is_dropped(page: Page, proxy: Proxy) -> None:
    """An answer that comes after a newer text's answer changes nothing."""
    page.open(proxy.url)
    page.paste("slow")
    page.wait(proxy.held.is_set)
    page.paste("I love you.")
    page.await_rows("I love you.")
    proxy.release.set()
    page.wait(proxy.done.is_set)
    round_trip = "const done = arguments[0]; fetch('health').then(() => setTimeout(done))"
    page.driver.execute_async_script(round_trip)  # whatever the late answer could do is done by now
    assert [row["text"] for row in page.rows()] == ["I love you."]


def test_service_out_of_reach_is_said(page: Page, proxy: Proxy) -> None:
    """A connection that breaks is reported, and the next edit tries again."""
    page.open(proxy.url)
    proxy.gone.set()
    page.type("I love you")
    page.wait(lambda: "can't be reached" in page.visible_text("error"))
    proxy.gone.clear()
    page.type(".")
    page.await_rows("I love you.")


def test_policy_confines_the_page(page: Page) -> None:
    """The page's policy refuses an inline script, and the page itself never meets the policy."""
    page.type("I love you.")
    page.await_rows("I love you.")
    page.wait(lambda: page.visible_text("card"))
    assert page.console() == []
    page.driver.execute_script(
        "const s = document.createElement('script'); s.text = 'window.ran = 1'; document.body.append(s)"
    )
    assert page.driver.execute_script("return window.ran") is None
    assert "Content Security Policy" in page.console()[0]["message"]
