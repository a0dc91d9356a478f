"""What a cluster does during a load test: one CSV row a second, through the official client.

python -m load.observe.cluster [--namespace valence] [--deployment valence] [--seconds 600] [--output cluster.csv]

Ends after `--seconds` or with Ctrl-C. Finds the cluster by the service account of the pod that it runs in, else by the
current context of the kubeconfig. Needs the rights to get the Deployment and to list pods and autoscalers there.
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

PERIOD_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0


class ClusterError(Exception):
    """No cluster, or it does not let us see; one line that says what to do."""


@dataclass(frozen=True)
class State:
    """One row; what does not exist (no autoscaler, no reading yet) is an empty cell."""

    time: str
    """UTC, ISO 8601."""
    replicas: int
    """Pods that the Deployment should have."""
    ready: int
    unavailable: int
    restarts: int
    """Of all containers of all its pods, since they exist."""
    scaler_min: int | None = None
    scaler_max: int | None = None
    scaler_wants: int | None = None
    scaler_target: float | None = None
    """Per cent of the CPU request, or the value per pod of another metric."""
    scaler_current: float | None = None


class Cluster:
    """One Deployment and whatever scales it. Raises ClusterError."""

    def __init__(self, namespace: str, deployment: str) -> None:
        configure()
        self._namespace = namespace
        self._deployment = deployment
        self._apps = client.AppsV1Api()
        self._core = client.CoreV1Api()
        self._scaling = client.AutoscalingV2Api()

    def state(self) -> State:
        """How it stands now."""
        options = {"_request_timeout": TIMEOUT_SECONDS}
        try:
            deployment = self._apps.read_namespaced_deployment(self._deployment, self._namespace, **options)
            labels = ",".join(f"{name}={value}" for name, value in deployment.spec.selector.match_labels.items())
            pods = self._core.list_namespaced_pod(self._namespace, label_selector=labels, **options).items
            scalers = self._scaling.list_namespaced_horizontal_pod_autoscaler(self._namespace, **options).items
        except client.ApiException as exc:
            raise ClusterError(f"{self._namespace}/{self._deployment}: {exc.status} {exc.reason}") from exc
        except HTTPError as exc:
            raise ClusterError(f"the cluster does not answer: {exc}") from exc
        return State(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            replicas=deployment.spec.replicas,
            ready=deployment.status.ready_replicas or 0,
            unavailable=deployment.status.unavailable_replicas or 0,
            restarts=sum(status.restart_count for pod in pods for status in pod.status.container_statuses or []),
            **self._scaler(scalers),
        )

    def _scaler(self, scalers: Iterable[Any]) -> dict[str, Any]:
        """The columns of the autoscaler, found by what it scales: KEDA gives its own a name of its own."""
        for scaler in scalers:
            target = scaler.spec.scale_target_ref
            if (target.kind, target.name) == ("Deployment", self._deployment):
                return {
                    "scaler_min": scaler.spec.min_replicas,
                    "scaler_max": scaler.spec.max_replicas,
                    "scaler_wants": scaler.status.desired_replicas,
                    "scaler_target": _reading(scaler.spec.metrics, "target"),
                    "scaler_current": _reading(scaler.status.current_metrics, "current"),
                }
        return {}


def configure() -> None:
    """Find the cluster. Raises ClusterError where there is none."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except (config.ConfigException, OSError) as exc:
            raise ClusterError(
                f"no cluster: neither in a pod with a service account, nor is there a usable kubeconfig ({exc})"
            ) from exc


def _reading(metrics: Sequence[Any] | None, side: str) -> float | None:
    """The first metric's target or current value: per cent for CPU, else the average per pod."""
    for metric in metrics or []:
        source = metric.container_resource or metric.resource or metric.external or metric.pods or metric.object
        value = getattr(source, side, None)
        if value is not None:
            per_pod = value.average_utilization or value.average_value or value.value
            return None if per_pod is None else quantity(str(per_pod))
    return None


def quantity(text: str) -> float:
    """Kubernetes' notation for the numbers that autoscalers use: "70", "7500m", "2k"."""
    units = {"m": 1e-3, "k": 1e3, "M": 1e6}
    return float(text[:-1]) * units[text[-1]] if text[-1] in units else float(text)


def watch(cluster: Cluster, rows: Any, seconds: float | None) -> None:
    """Write a row each second to the CSV writer `rows` until the time is over."""
    rows.writerow([field.name for field in fields(State)])
    start = due = time.monotonic()
    while seconds is None or due - start < seconds:
        rows.writerow(asdict(cluster.state()).values())
        due = max(due + PERIOD_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the time is over or Ctrl-C was pressed; 1, with one line on standard error, without a cluster."""
    options = _parser().parse_args(arguments)
    try:
        cluster = Cluster(options.namespace, options.deployment)
        # Each row at once: a run that is cut short keeps what it saw.
        opened = (
            options.output.open("w", encoding="utf-8", newline="", buffering=1)
            if options.output
            else nullcontext(sys.stdout)
        )
        with opened as file:
            watch(cluster, csv.writer(file, lineterminator="\n"), options.seconds)
    except ClusterError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load.observe.cluster", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--namespace", default="valence", help="namespace of the Deployment (%(default)s)")
    parser.add_argument("--deployment", default="valence", help="its name (%(default)s)")
    parser.add_argument("--seconds", type=float, help="how long to watch (until Ctrl-C)")
    parser.add_argument("--output", type=Path, help="file of the rows (standard output)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
