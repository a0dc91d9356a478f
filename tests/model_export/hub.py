"""A small Hugging Face hub on localhost, with one model at one commit."""

import json
import re
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_ID = "someone/tiny-distilbert"


def closed_endpoint() -> str:
    """An address where nothing listens: a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class Hub(ThreadingHTTPServer):
    """The part of the Hugging Face hub's HTTP interface that a download needs, with one model at one commit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.folder = folder
        self.requests: list[str] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"


class _HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?", self.path):
            self._model_info(match[1], match[2] or "main")
        elif match := re.fullmatch(rf"/{HUB_ID}/resolve/{COMMIT}/([^/]+)", self.path):
            self._file(self.server.folder / match[1])
        else:
            self._error("EntryNotFound")

    def _model_info(self, model: str, revision: str) -> None:
        if model != HUB_ID:
            self._error("RepoNotFound")
        elif revision not in {"main", COMMIT}:
            self._error("RevisionNotFound")
        else:
            siblings = [{"rfilename": path.name} for path in sorted(self.server.folder.iterdir())]
            body = json.dumps({"id": HUB_ID, "modelId": HUB_ID, "sha": COMMIT, "siblings": siblings}).encode()
            self._answer(200, body, {"Content-Type": "application/json"})

    def _file(self, path: Path) -> None:
        body = path.read_bytes()
        self._answer(200, body, {"X-Repo-Commit": COMMIT, "ETag": f'"{path.name}-{len(body)}"'})

    def _error(self, code: str) -> None:
        self._answer(404, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""
