"""A real Prometheus that scrapes as the one in the cluster does: the same job names and labels, the same rules."""

import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.app import plain_http
from tests.conftest import START_SECONDS, free_port, until
from tests.k8s.rendering import K8S

NAMESPACE = "valence"
POD = "valence-7c9d8b6f5d-2xkqp"
"""The pod that our one process plays; the recorded pages know it, and a second one."""
OTHER_POD = "valence-7c9d8b6f5d-9mvtr"
"""That second one."""
SCRAPE_SECONDS = 1


def scrape(job: str, url: str, *, honor_labels: bool = False, **labels: str) -> dict[str, Any]:
    """One job with one target. `honor_labels` is for exporters that speak of other pods than their own."""
    address = urlsplit(url)
    return {
        "job_name": job,
        "metrics_path": address.path,
        "honor_labels": honor_labels,
        "static_configs": [{"targets": [address.netloc], "labels": labels}],
    }


def jobs(service_metrics_url: str, exporters_url: str, redis_exporter_url: str = "") -> list[dict[str, Any]]:
    """What our monitors and kube-prometheus-stack scrape, with the labels that they give."""
    redis = redis_exporter_url or f"{exporters_url}/redis-exporter.prom"
    ours = {"namespace": NAMESPACE, "endpoint": "http-metrics"}
    return [
        scrape("valence", service_metrics_url, **ours, service="valence", pod=POD, container="api", version="stable"),
        scrape("valence-redis", redis, **ours, service="valence-redis", pod="valence-redis-6b5f4c7d9-h8wzn"),
        scrape(
            "valence/valence-istio-proxies",
            f"{exporters_url}/istio-proxies.prom",
            **ours | {"endpoint": "http-envoy-prom"},
            pod=POD,
            container="istio-proxy",
        ),
        scrape("kube-state-metrics", f"{exporters_url}/kube-state-metrics.prom", honor_labels=True),
        scrape("kubelet", f"{exporters_url}/cadvisor.prom", honor_labels=True, node="worker-1"),
    ]


def beside(scraped: list[dict[str, Any]], metrics_url: str, **labels: str) -> None:
    """Have the job of the service scrape another process, too, as a second pod that differs in these labels."""
    first = scraped[0]["static_configs"][0]
    target = {"targets": [urlsplit(metrics_url).netloc], "labels": first["labels"] | {"pod": OTHER_POD} | labels}
    scraped[0]["static_configs"].append(target)


def rule_groups() -> list[dict[str, Any]]:
    """The groups of every PrometheusRule of ours, evaluated as often as is scraped here."""
    groups = []
    for file in sorted((K8S / "components" / "monitoring" / "prometheus").glob("*.yaml")):
        for thing in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if thing["kind"] == "PrometheusRule":
                groups += [group | {"interval": f"{SCRAPE_SECONDS}s"} for group in thing["spec"]["groups"]]
    return groups


class Prometheus:
    """Debian's Prometheus on a port of its own, with its data in `folder`. Skips where it is not installed."""

    def __init__(self, folder: Path, scraped: list[dict[str, Any]]) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed (Debian: apt-get install prometheus): it answers the queries")
        rules, config, self._log = folder / "rules.yml", folder / "prometheus.yml", folder / "prometheus.log"
        rules.write_text(yaml.safe_dump({"groups": rule_groups()}), encoding="utf-8")
        every = f"{SCRAPE_SECONDS}s"
        settings = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(rules)],
            "scrape_configs": scraped,
        }
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address={address}", "--enable-feature=exemplar-storage"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until(self._ready, f"{self.url} is ready")

    def _ready(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            return plain_http.get(f"{self.url}/-/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def targets(self) -> dict[str, str]:
        """Address -> health of the target: "up", "down" or "unknown"."""
        active = plain_http.get(f"{self.url}/api/v1/targets").json()["data"]["activeTargets"]
        return {target["scrapeUrl"]: target["health"] for target in active}

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(START_SECONDS)
