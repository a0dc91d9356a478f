"""Which metrics a dashboard may ask for, with their labels: ours, those of recording rules, and recorded exporters'."""

from functools import cache
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.k8s.rendering import K8S
from tests.k8s.series import TARGET, ours

RECORDED = Path(__file__).resolve().parents[1] / "observability" / "recorded"
FROM_PROMETHEUS = {"ALERTS": {"alertname", "alertstate", "namespace", "severity"}}


@cache
def known_metrics() -> dict[str, set[str]]:
    """Sample name -> every label that it may carry."""
    return _ours() | _exporters() | _records() | FROM_PROMETHEUS


def _ours() -> dict[str, set[str]]:
    """Where a label of a sample is also one of the target, Prometheus renames that of the sample."""
    return {
        name: TARGET | {f"exported_{label}" if label in TARGET else label for label in labels}
        for name, labels in ours().items()
    }


def _exporters() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for page in RECORDED.glob("*.prom"):
        for family in text_string_to_metric_families(page.read_text(encoding="utf-8")):
            for sample in family.samples:
                found.setdefault(sample.name, set(TARGET)).update(sample.labels)
    return found


def _records() -> dict[str, set[str]]:
    """What recording rules write; the part of a name before its first colon tells the labels."""
    found = {}
    for file in (K8S / "components" / "monitoring" / "prometheus").glob("*.yaml"):
        for thing in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            groups = thing["spec"]["groups"] if thing["kind"] == "PrometheusRule" else []
            for rule in (rule for group in groups for rule in group["rules"] if "record" in rule):
                found[rule["record"]] = set(rule["record"].partition(":")[0].split("_"))
    return found
