"""What the examples are run against."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.app.keys.keys import line
from tests.conftest import ROOT, Service


@pytest.fixture(scope="session")
def pages() -> Iterator[str]:
    """The URL of a web server of the folder, as `python -m http.server --directory examples` is one."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(ROOT / "examples"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory, pages: str) -> Iterator[Service]:
    """A service with small limits that knows a caller without limits and two with them, and lets `pages` ask."""
    folder = tmp_path_factory.mktemp("examples")
    slow, daily = line("slow", "slow-key", "texts_per_second=2 burst=4"), line("daily", "daily-key", "texts_per_day=1")
    (folder / "keys").write_text(line("shop", "shop-key") + slow + daily)
    limits = {"VALENCE_MAX_TEXTS": "4", "VALENCE_MAX_BODY_BYTES": "2000", "VALENCE_DRAIN_SECONDS": "0"}
    callers = {"VALENCE_API_KEYS_FILE": str(folder / "keys"), "VALENCE_CORS_ORIGINS": pages}
    started = Service(folder / "service.log", **limits, **callers)
    try:
        yield started.wait_ready()
    finally:
        started.stop()
