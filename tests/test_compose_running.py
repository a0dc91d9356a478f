"""Parts of the stack that run without containers, with the files and arguments that docker-compose.yml gives them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.app import plain_http
from tests.compose_file import SERVICES, host_path, mounts
from tests.conftest import ROOT, Service, free_port, until

AWKWARD = 'with "quotes" and $signs'
"""A password that a careless script would mangle."""


@pytest.fixture
def redis_port() -> Iterator[int]:
    """Redis as its container starts it; only the port differs, and the place of the configuration."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; `make test` installs it")
    service, port = SERVICES["redis"], free_port()
    ((source, target),) = mounts(service)
    (script,) = service["command"]
    script = script.replace(target, source).replace("\nCONFIG", f"\nport {port}\nCONFIG")
    quoted = AWKWARD.replace('"', '\\"')  # what redis.conf wants
    process = subprocess.Popen(
        [*service["entrypoint"], script],
        cwd=ROOT,
        env={"REDIS_PASSWORD": quoted, "PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: ask(port, "ping") == ["PONG"], "redis-server answers")
        yield port
    finally:
        process.kill()
        process.wait()


def ask(port: int, *command: str, password: str | None = AWKWARD) -> list[str]:
    """The lines of redis-cli's answer, errors too."""
    login = {} if password is None else {"REDISCLI_AUTH": password}
    answer = subprocess.run(
        ["redis-cli", "-p", str(port), *command],  # noqa: S607 - it comes with redis-server
        env=os.environ | login,
        capture_output=True,
        text=True,
        check=False,
    )
    return (answer.stdout + answer.stderr).split("\n")[:-1]


def test_redis_is_bounded_forgetful_and_closed(redis_port: int) -> None:
    """Its own configuration holds: memory, eviction, no snapshots, a password, no command that empties it."""
    assert ask(redis_port, "config", "get", "maxmemory") == ["maxmemory", str(96 * 2**20)]
    assert ask(redis_port, "config", "get", "maxmemory-policy") == ["maxmemory-policy", "allkeys-lru"]
    assert ask(redis_port, "config", "get", "save") == ["save", ""]
    assert "unknown command" in ask(redis_port, "flushall")[0]
    assert ask(redis_port, "ping", password=None)[0].startswith("NOAUTH")


def hurried(rules: Path, folder: Path) -> Path:
    """A copy of a rule file whose groups are evaluated each second: those of days wait two minutes otherwise."""
    content = yaml.safe_load(rules.read_text(encoding="utf-8"))
    for group in content["groups"]:
        group["interval"] = "1s"
    copy = folder / rules.name
    copy.write_text(yaml.safe_dump(content), encoding="utf-8")
    return copy


class Prometheus:
    """Prometheus with the container's arguments; only paths and addresses differ."""

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "prometheus.log"
        command = [item.replace("/prometheus", str(folder / "data")) for item in SERVICES["prometheus"]["command"][1:]]
        configuration = self._configure(folder, targets)
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [program, f"--config.file={configuration}", f"--web.listen-address={self.url[7:]}", *command],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _configure(self, folder: Path, targets: dict[str, str]) -> Path:
        """The repository's files with the names of containers replaced, and scraped each second."""
        option = SERVICES["prometheus"]["command"][0].partition("=")[2]
        source = ROOT / str(host_path(SERVICES["prometheus"], option))
        text = source.read_text(encoding="utf-8")
        for name, address in (targets | {"localhost:9090": self.url[7:]}).items():
            assert name in text
            text = text.replace(name, address)
        configuration = yaml.safe_load(text)
        configuration["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [
            str(hurried(source.parent / file, folder)) for file in configuration["rule_files"]
        ]
        written = folder / "prometheus.yml"
        written.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        return written

    def query(self, expression: str) -> list[dict[str, str]]:
        """Labels of what an instant query finds; nothing while it does not listen."""
        try:
            answer = plain_http.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10)
        except httpx.TransportError:
            assert self.process.poll() is None, self.log.read_text()
            return []
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # starting
            return []
        answer.raise_for_status()
        return [item["metric"] for item in answer.json()["data"]["result"]]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def test_prometheus_scrapes_the_service_and_evaluates_the_rules(service: Service, tmp_path: Path) -> None:
    """The real service's series carry the labels that rules and dashboards go by, and no rule fails."""
    nobody = f"127.0.0.1:{free_port()}"
    prometheus = Prometheus(
        tmp_path, {"api:9090": service.metrics_url[7:].removesuffix("/metrics"), "redis-exporter:9121": nobody}
    )
    try:
        plain_http.post(f"{service.url}/predict", json={"text": ["I love you."]}, timeout=30).raise_for_status()
        wanted = 'http_requests_total{job="valence",namespace="compose",pod="api",version="stable",route="/predict"}'
        until(lambda: prometheus.query(wanted), wanted)
        until(lambda: prometheus.query('up{job="valence-redis",namespace="compose"} == 0'), "the absent is seen")
        groups = plain_http.get(f"{prometheus.url}/api/v1/rules", timeout=10).json()["data"]["groups"]
        assert groups
        evaluated = "prometheus_rule_evaluations_total > 0"
        until(lambda: len(prometheus.query(evaluated)) == len(groups), "every group was evaluated")
        assert prometheus.query("prometheus_rule_evaluation_failures_total > 0") == []
    finally:
        prometheus.stop()
