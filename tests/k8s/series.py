"""Which series there are, and their labels: ours by app/telemetry/metrics.py, others as kube-prometheus-stack has."""

import ast
from functools import cache

from tests.k8s.rendering import K8S

TARGET = {"job", "namespace", "pod", "container", "endpoint", "instance", "service", "version"}
"""Labels that the scrape adds; version by the ServiceMonitor of the API."""

SUFFIXES = {
    "Counter": ("_total",),
    "CounterMetricFamily": ("_total",),
    "Gauge": ("",),
    "GaugeMetricFamily": ("",),
    "Histogram": ("_bucket", "_sum", "_count"),
}

OTHERS = {
    "up": set(),
    # kube-state-metrics
    "kube_deployment_spec_replicas": {"deployment"},
    "kube_deployment_status_replicas_ready": {"deployment"},
    "kube_horizontalpodautoscaler_spec_max_replicas": {"horizontalpodautoscaler"},
    "kube_horizontalpodautoscaler_status_condition": {"horizontalpodautoscaler", "condition", "status"},
    "kube_horizontalpodautoscaler_status_current_replicas": {"horizontalpodautoscaler"},
    "kube_pod_container_resource_limits": {"uid", "node", "resource", "unit"},
    "kube_pod_container_status_restarts_total": {"uid"},
    # cAdvisor, by the kubelet
    "container_memory_working_set_bytes": {"id", "image", "name", "node", "metrics_path"},
    # redis_exporter
    "redis_evicted_keys_total": set(),
    "redis_expired_keys_total": set(),
    "redis_up": set(),
}
"""Name -> its own labels, beside those of its target."""


@cache
def ours() -> dict[str, set[str]]:
    """Name -> its own labels, of every metric that app/telemetry makes."""
    folder = K8S.parent / "app" / "telemetry"
    trees = [ast.parse((folder / name).read_text(encoding="utf-8")) for name in ("metrics.py", "exposition.py")]
    found: dict[str, set[str]] = {}
    for call in (node for tree in trees for node in ast.walk(tree)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in SUFFIXES:
            continue
        name = ast.literal_eval(call.args[0])
        lists = [ast.literal_eval(item) for item in call.args[2:] if isinstance(item, ast.List)]
        labels = {label for labels in lists for label in labels}
        for suffix in SUFFIXES[call.func.id]:
            found[name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def known() -> dict[str, set[str]]:
    """Name -> all its labels, of every series that a cluster with Valence has, records apart."""
    return {name: labels | TARGET for name, labels in (ours() | OTHERS).items()}
