"""The log: one JSON object a line, one line a request, and never what a user wrote."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import Service, StartService

DIARY = "my neighbour's diary"
LONG_DIARY = f"{DIARY} " * 200


def lines(service: Service) -> list[dict[str, Any]]:
    """Stop the service; every line of its log, each of which must be a JSON object with event, level and time."""
    service.stop()
    written = service.log.read_text(encoding="utf-8")
    parsed = [json.loads(line) for line in written.split("\n") if line]
    for line in parsed:
        assert {"event", "level", "timestamp"} <= set(line), line
    return parsed


def requests(service: Service) -> list[Mapping[str, Any]]:
    """The lines of requests, without those that waited for the service to be ready."""
    return [line for line in lines(service) if line["event"] == "request" and line["route"] != "/readyz"]


def predict(service: Service, *texts: str, request_id: str) -> httpx.Response:
    """Post texts under an id."""
    return plain_http.post(service.url + "/predict", json={"text": texts}, headers={"X-Request-ID": request_id})


def test_each_request_is_one_line(start_service: StartService) -> None:
    """With its id, route, method, status, latency, and for predictions the number of texts and of cache hits."""
    started = start_service().wait_ready()
    predict(started, "good", "bad", request_id="first")
    predict(started, "good", "better", "bad", request_id="second")
    predict(started, "", request_id="third")
    plain_http.get(started.url + "/no/such/path?token=abc", headers={"X-Request-ID": "fourth"})
    logged = requests(started)
    assert all(line["latency_ms"] > 0 for line in logged)
    facts = ("request_id", "method", "route", "status", "texts", "cache_hits")
    assert [tuple(line.get(name) for name in facts) for line in logged] == [
        ("first", "POST", "/predict", 200, 2, 0),
        ("second", "POST", "/predict", 200, 3, 2),
        ("third", "POST", "/predict", 422, None, None),
        ("fourth", "GET", "unmatched", 404, None, None),
    ]


def test_texts_are_not_logged(start_service: StartService) -> None:
    """Neither of predictions nor of refusals, at the most talkative level."""
    started = start_service(VALENCE_LOG_LEVEL="debug").wait_ready()
    for body in ({"text": [DIARY]}, {"text": [DIARY, 1]}, {"text": DIARY}, {DIARY: 1}, {"text": [DIARY] * 129}):
        plain_http.post(started.url + "/predict", json=body)
    plain_http.post(started.url + "/predict", content=json.dumps({"text": [DIARY]})[:-1])
    plain_http.get(started.url + "/predict", params={"text": DIARY})
    plain_http.get(started.url + f"/{DIARY}", headers={"X-Request-ID": DIARY, "User-Agent": DIARY, "Referer": DIARY})
    assert len(requests(started)) == 8
    assert "diary" not in started.log.read_text()


def test_texts_are_logged_where_that_is_wanted(start_service: StartService) -> None:
    """`VALENCE_LOG_TEXTS=true` adds them to their request's line, in any language, still one line each."""
    texts = [DIARY, "two\nlines\u2028three", "映画 😀 \x00\x1b[31m"]
    started = start_service(VALENCE_LOG_TEXTS="true").wait_ready()
    predict(started, *texts, request_id="a")
    assert [line["text"] for line in requests(started)] == [texts]


def test_quiet_level_leaves_requests_out(start_service: StartService) -> None:
    """`warning` turns the line per request off."""
    started = start_service(VALENCE_LOG_LEVEL="warning").wait_ready()
    predict(started, "good", request_id="a")
    assert lines(started) == []


@pytest.fixture
def failing_package(tmp_path: Path, bundled_model: Path) -> Path:
    """A package that promises more tokens than its model takes: texts of over 512 tokens fail inside of the model."""
    package = Path(shutil.copytree(bundled_model, tmp_path / "package"))
    manifest = json.loads((package / "manifest.json").read_text())
    manifest |= {"max_tokens": 600, "window_tokens": None, "window_overlap": 0}
    manifest["golden"] = [item for item in manifest["golden"] if len(item["text"]) < 1_000]
    (package / "manifest.json").write_text(json.dumps(manifest))
    return package


def test_bug_of_ours_is_logged_without_the_text(start_service: StartService, failing_package: Path) -> None:
    """A 500 has the shape of every error and its request id; the log has the traceback under that id, and no text."""
    started = start_service(VALENCE_MODEL_DIR=str(failing_package)).wait_ready()
    failed = predict(started, LONG_DIARY, request_id="broken")
    assert failed.status_code == 500
    assert failed.headers["X-Request-ID"] == "broken"
    ((detail),) = failed.json()["detail"]
    assert (detail["type"], detail["loc"]) == ("internal_error", [])
    assert "diary" not in failed.text
    assert predict(started, "short", request_id="works").status_code == 200
    logged = {line.get("request_id"): line for line in lines(started) if line["event"] == "unexpected_error"}
    assert logged["broken"]["exception"][0]["frames"]
    assert "diary" not in started.log.read_text()
