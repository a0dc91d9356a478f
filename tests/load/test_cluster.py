"""load.observe.cluster against an API server that answers as a cluster's would: the same HTTP, the same JSON."""

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    find_spec("kubernetes") is None, reason="the Kubernetes client is not installed; make load installs it"
)

DEPLOYMENT = {
    "metadata": {"name": "valence"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "valence", "version": "stable"}},
        "template": {"spec": {"containers": [{"name": "api"}]}},
    },
    "status": {"readyReplicas": 2, "unavailableReplicas": 1},
}
CONTAINER = {"name": "api", "image": "valence", "imageID": "", "ready": True}
PODS = [{"status": {"containerStatuses": [CONTAINER | {"restartCount": count}]}} for count in (0, 2)] + [{"status": {}}]
CPU = {"container": "api", "name": "cpu"}
AUTOSCALER = {
    "metadata": {"name": "keda-hpa-valence"},
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "valence"},
        "minReplicas": 1,
        "maxReplicas": 6,
        "metrics": [
            {
                "type": "ContainerResource",
                "containerResource": CPU | {"target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
    },
    "status": {
        "desiredReplicas": 4,
        "currentReplicas": 3,
        "conditions": [],
        "currentMetrics": [
            {
                "type": "ContainerResource",
                "containerResource": CPU | {"current": {"averageUtilization": 93, "averageValue": "930m"}},
            }
        ],
    },
}
SOMEONE_ELSES = {
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "other"}, "maxReplicas": 99},
    "status": {"desiredReplicas": 99},
}


class ApiServer(ThreadingHTTPServer):
    """Knows one Deployment, its pods and two autoscalers."""

    answers: dict[str, object]


class Answer(BaseHTTPRequestHandler):
    """GET only, by path; 404 in Kubernetes' shape for the rest."""

    server: ApiServer

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.server.answers.get(path)
        if path.endswith("/pods") and "version%3Dstable" not in query:
            body = None
        content = json.dumps(body or {"kind": "Status", "reason": "NotFound"}).encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A running API server."""
    started = ApiServer(("127.0.0.1", 0), Answer)
    started.answers = {
        "/apis/apps/v1/namespaces/valence/deployments/valence": DEPLOYMENT,
        "/api/v1/namespaces/valence/pods": {"items": PODS},
        "/apis/autoscaling/v2/namespaces/valence/horizontalpodautoscalers": {"items": [SOMEONE_ELSES, AUTOSCALER]},
    }
    thread = threading.Thread(target=started.serve_forever)
    thread.start()
    try:
        yield started
    finally:
        started.shutdown()
        thread.join()
        started.server_close()


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> Path:
    """A kubeconfig whose current context is that server."""
    file = tmp_path / "config"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def watch(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m load.observe.cluster ARGUMENTS`."""
    return subprocess.run(
        [sys.executable, "-m", "load.observe.cluster", *arguments],
        cwd=ROOT,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_rows_say_how_the_deployment_stands(kubeconfig: Path, tmp_path: Path) -> None:
    """Replicas, restarts, and the autoscaler that targets this Deployment, whatever its name."""
    file = tmp_path / "rows.csv"
    answer = watch(kubeconfig, "--seconds", "0.5", "--output", str(file))
    assert (answer.returncode, answer.stderr) == (0, "")
    (row,) = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    assert row.pop("time").endswith("+00:00")
    assert row == {
        "replicas": "3",
        "ready": "2",
        "unavailable": "1",
        "restarts": "2",
        "scaler_min": "1",
        "scaler_max": "6",
        "scaler_wants": "4",
        "scaler_target": "70.0",
        "scaler_current": "93.0",
    }


def test_a_metric_per_pod_is_read_as_a_number(kubeconfig: Path, server: ApiServer) -> None:
    """KEDA's external metrics come as quantities: 7500m is 7.5."""
    external = {"metric": {"name": "s0-prometheus"}}
    scaler = json.loads(json.dumps(AUTOSCALER))
    scaler["spec"]["metrics"] = [
        {"type": "External", "external": external | {"target": {"type": "AverageValue", "averageValue": "8"}}}
    ]
    scaler["status"]["currentMetrics"] = [
        {"type": "External", "external": external | {"current": {"averageValue": "7500m"}}}
    ]
    server.answers["/apis/autoscaling/v2/namespaces/valence/horizontalpodautoscalers"] = {"items": [scaler]}
    (row,) = csv.DictReader(watch(kubeconfig, "--seconds", "0.5").stdout.splitlines())
    assert (row["scaler_target"], row["scaler_current"]) == ("8.0", "7.5")


def test_without_an_autoscaler_its_cells_are_empty(kubeconfig: Path, server: ApiServer) -> None:
    """The rest of the row is there."""
    server.answers["/apis/autoscaling/v2/namespaces/valence/horizontalpodautoscalers"] = {"items": []}
    (row,) = csv.DictReader(watch(kubeconfig, "--seconds", "0.5").stdout.splitlines())
    assert (row["ready"], row["scaler_wants"], row["scaler_current"]) == ("2", "", "")


def test_a_deployment_that_is_not_there_is_one_line(kubeconfig: Path) -> None:
    """With the name that was asked for, and status 1."""
    answer = watch(kubeconfig, "--deployment", "valense")
    assert answer.returncode == 1
    assert answer.stderr == "error: valence/valense: 404 Not Found\n"


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    """Neither in a pod nor with a kubeconfig: it says both."""
    answer = watch(tmp_path / "missing")
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: no cluster: neither in a pod")
    assert answer.stderr.count("\n") == 1
