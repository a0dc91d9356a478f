"""The rules in a real Prometheus that scrapes the real service."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import START_SECONDS, Service, free_port, until
from tests.k8s.rendering import K8S

RULE_FILE = K8S.parent / "compose" / "prometheus" / "rules.yml"


@pytest.fixture
def prometheus(service: Service, tmp_path: Path) -> Iterator[httpx.Client]:
    """Scrapes the service as the ServiceMonitor would, and evaluates our rules, both every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    rules = yaml.safe_load(RULE_FILE.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["interval"] = "1s"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    target = {"targets": [httpx.URL(service.metrics_url).netloc.decode()], "labels": {"namespace": "live", "pod": "a"}}
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "valence", "static_configs": [target]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    files = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([program, *files, f"--web.listen-address={address}"], stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1/") as client:
            yield client
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def answer(prometheus: httpx.Client, path: str, **parameters: str) -> Any:
    """The data of one answer of Prometheus' API; nothing while it does not listen yet, or is not ready."""
    try:
        given = prometheus.get(path, params=parameters)
    except httpx.TransportError:
        return {}
    return given.json()["data"] if given.is_success else {}


def test_every_record_has_a_value_and_no_rule_an_error(service: Service, prometheus: httpx.Client) -> None:
    """A healthy service under some load: no request fails, and some of the texts are hits. NaN is no number."""
    listed = yaml.safe_load(RULE_FILE.read_text(encoding="utf-8"))["groups"]
    records = {rule["record"] for group in listed for rule in group["rules"] if "record" in rule}
    sent = 0

    def recorded() -> bool:
        nonlocal sent
        sent += 1
        texts = [f"Not seen before, {sent}.", "Seen before."]
        assert httpx.post(f"{service.url}/predict", json={"text": texts}).status_code == httpx.codes.OK
        series = answer(prometheus, "query", query='{__name__=~"namespace.*",namespace="live"} > -1').get("result", [])
        return {one["metric"]["__name__"] for one in series} == records

    until(recorded, "every record has a number")
    groups = answer(prometheus, "rules")["groups"]
    assert {rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")} == set()
    for name, low, high in (
        ("valence_slo_errors", 0, 0),
        ("valence_slo_slow", 0, 1),
        ("valence_cache_hits", 0.1, 0.9),
    ):
        (found,) = answer(prometheus, "query", query=f"namespace:{name}:ratio_rate5m")["result"]
        assert low <= float(found["value"][1]) <= high, name
