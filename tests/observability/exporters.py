"""The pages of exporters that do not run here (recorded/README.md), with counters that go on counting."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RECORDED = Path(__file__).resolve().parent / "recorded"
GROWTH = 0.0002
"""How much a counter gains with each scrape, of what was recorded: as if that was after 5,000 scrapes."""
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$")


def grown(page: str, scrapes: int) -> str:
    """The page after so many scrapes: every sample of a counter or a histogram in proportion, gauges as they were.

    All buckets of a histogram grow alike, so it stays one.
    """
    kinds: dict[str, str] = {}
    lines = []
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
        elif match := SAMPLE.match(line):
            name, labels, value = match.groups(default="")
            family = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
            if kinds[family] in ("counter", "histogram"):
                lines.append(f"{name}{labels} {float(value) * (1 + GROWTH * scrapes):.6f}")
                continue
        lines.append(line)
    return "\n".join(lines) + "\n"


@contextmanager
def serve_recorded() -> Iterator[str]:
    """Serve each recorded page under its name: `http://127.0.0.1:PORT/cadvisor.prom`; gives what precedes the path."""
    pages = {f"/{file.name}": file.read_text(encoding="utf-8") for file in RECORDED.glob("*.prom")}
    scrapes: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scrapes[self.path] += 1
            body = grown(pages[self.path], scrapes[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
