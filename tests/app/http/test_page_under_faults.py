"""The page when the service is busy, slow, gone or behind a path prefix, and the policy that confines it.

A reverse proxy of this file stands between Chromium and the real service: it serves the service under a path prefix,
and can answer for it with 429, hold an answer back, or hang up.
"""

import threading
from collections.abc import Iterator
from http import HTTPStatus
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
        self.summary_status = 200
        """What is answered for the live numbers; 200: what the service says."""
        self.polls = 0
        """How often they were asked for."""
        self.held, self.release, self.done = threading.Event(), threading.Event(), threading.Event()
        """A prediction of the text "slow" sets `held`, waits for `release`, and sets `done` after its answer."""


class Passage(BaseHTTPRequestHandler):
    """One connection through the proxy."""

    server: Proxy

    def do_GET(self) -> None:
        """Pass the request on, unless a switch says otherwise."""
        if self.path.endswith("/metrics/summary"):
            self.server.polls += 1
            if self.server.summary_status != HTTPStatus.OK:
                self.answer(self.server.summary_status, b"", {})
                return
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


# Notes every pause of the live numbers and makes it a hundred times shorter.
HURRY = """
window.pauses = [];
const setRealTimeout = window.setTimeout;
window.setTimeout = (run, ms, ...rest) => {
  if (ms >= 2000) window.pauses.push(ms);
  return setRealTimeout(run, ms >= 2000 ? ms / 100 : ms, ...rest);
};
"""


@pytest.fixture
def hurried(page: Page) -> Iterator[Page]:
    """The page, whose longer pauses are a hundred times shorter from its next loading on."""
    command = "Page.addScriptToEvaluateOnNewDocument"
    script = page.driver.execute_cdp_cmd(command, {"source": HURRY})
    yield page
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def pauses(page: Page) -> list[int]:
    """The pauses of the live numbers so far, in milliseconds."""
    found: list[int] = page.driver.execute_script("return window.pauses")
    return found


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


def test_live_numbers_are_asked_for_every_two_seconds(hurried: Page, proxy: Proxy) -> None:
    """As long as the service answers."""
    hurried.open(proxy.url)
    hurried.wait(lambda: len(pauses(hurried)) > 5)
    assert set(pauses(hurried)) == {2000}
    assert hurried.visible_text("live-state") == "ready"


def test_service_that_fails_is_asked_ever_less_often(hurried: Page, proxy: Proxy) -> None:
    """The numbers are taken away and the pauses double up to a minute; once there is an answer all is as before."""
    hurried.open(proxy.url)
    hurried.wait(lambda: hurried.visible_text("live-state") == "ready")
    before = len(pauses(hurried))
    proxy.summary_status = 503
    hurried.wait(lambda: 60_000 in pauses(hurried))
    assert hurried.visible_text("live-state") == "no answer"
    assert hurried.visible_text("live-p50") == "\N{EN DASH}"
    assert [ms for ms in pauses(hurried)[before:] if ms > 2000][:5] == [4000, 8000, 16_000, 32_000, 60_000]
    proxy.summary_status = 200
    hurried.wait(lambda: pauses(hurried)[-1] == 2000)
    assert hurried.visible_text("live-state") == "ready"


@pytest.mark.parametrize("status", [403, 404])
def test_live_numbers_stay_away_where_the_ingress_keeps_them_in(hurried: Page, proxy: Proxy, status: int) -> None:
    """One question, no section, and no second question, not even when the page is looked at again."""
    proxy.summary_status = status
    hurried.open(proxy.url)
    hurried.wait(lambda: proxy.polls == 1)
    hurried.type("I love you.")
    hurried.await_rows("I love you.")
    hurried.driver.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
    hurried.driver.execute_async_script("fetch('health').then(() => arguments[0]())")
    assert (proxy.polls, pauses(hurried), hurried.visible_text("live")) == (1, [], "")


def test_page_that_nobody_sees_asks_nothing(hurried: Page, proxy: Proxy) -> None:
    """A minimised window polls no more, and at once when it is back."""
    hurried.open(proxy.url)
    hurried.wait(lambda: proxy.polls > 2)
    hurried.driver.minimize_window()
    hurried.wait(lambda: hurried.driver.execute_script("return document.visibilityState") == "hidden")
    hurried.driver.execute_async_script("fetch('health').then(() => arguments[0]())")  # what was under way is answered
    polls, paused = proxy.polls, len(pauses(hurried))
    hurried.driver.execute_async_script("setTimeout(() => setTimeout(arguments[0], 4000), 4000)")
    assert (proxy.polls, len(pauses(hurried))) == (polls, paused + 2)  # these two are the test's own
    hurried.driver.set_window_rect(0, 0, 1200, 800)
    hurried.wait(lambda: proxy.polls > polls + 1)
