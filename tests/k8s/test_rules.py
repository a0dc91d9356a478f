"""The PrometheusRules: what a cluster and compose get, the series they ask for, and the promise's numbers."""

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from app.telemetry.metrics import LATENCY_BUCKETS
from tests.k8s.prometheus_rules import RULE_FILE, alerts, promtool, rules, rules_of, unknown
from tests.k8s.promise import departures, promise
from tests.k8s.promql import groupings, selectors
from tests.k8s.rendering import K8S, Object, base_with, of_kind
from tests.k8s.series import ours

ROOT = K8S.parent


def test_a_cluster_gets_every_rule() -> None:
    """No file is left out of the kustomization, and nothing is changed on the way."""
    rendered = rules_of(of_kind(base_with("monitoring"), "PrometheusRule"))
    assert sorted(map(repr, map(sorted_items, rendered))) == sorted(map(repr, map(sorted_items, rules())))


def sorted_items(rule: Object) -> list[Any]:
    """The same for two rules that differ only in the order of their fields."""
    return sorted((name, sorted(value.items()) if isinstance(value, dict) else value) for name, value in rule.items())


def test_the_rule_file_of_compose_holds_the_rules_of_the_cluster() -> None:
    """The committed copy is what its script prints, and has every rule."""
    script = RULE_FILE.with_name("rules.py")
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True).stdout
    command = f"{script.relative_to(ROOT)} > {RULE_FILE.relative_to(ROOT)}"
    assert RULE_FILE.read_text(encoding="utf-8") == printed, f"renew it: {command}"
    listed = [rule for group in yaml.safe_load(printed)["groups"] for rule in group["rules"]]
    assert sorted(map(repr, map(sorted_items, listed))) == sorted(map(repr, map(sorted_items, rules())))


def test_promtool_accepts_the_rules() -> None:
    """Syntax, templates, no rule twice."""
    promtool("check", "rules", "--lint-fatal", str(RULE_FILE))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_series_and_labels_exist(rule: Object) -> None:
    """Ours are in app/telemetry/metrics.py, others in the list of what exporters publish."""
    assert unknown(rule["expr"]) == []


def test_a_series_that_is_not_there_is_found() -> None:
    """Proves that the check can fail."""
    assert unknown('sum by (pood) (rate(http_request_total{job="valence",code="200"}[5m]))') != []
    assert unknown('http_requests_total{code="200"}') == ["http_requests_total: no label code"]
    assert unknown("sum by (pood) (http_requests_total)") == ["no label pood"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_keep_namespaces_and_jobs_apart(rule: Object) -> None:
    """Every sum is by namespace, and series that others may have, too, are asked for by our jobs."""
    for word, labels in groupings(rule["expr"]):
        assert "namespace" in labels or word == "group_left", word  # that one only brings labels from the other side
    for name, labels in selectors(rule["expr"]):
        if name in ours() or name == "up" or name.startswith("redis_"):
            assert labels["job"] in ("valence", "valence-redis"), name
    assert rule.get("record", "namespace:").startswith(("namespace:", "namespace_source:"))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_hold_the_promise(rule: Object) -> None:
    """Objectives and latency are those of load/slo.json, texts included."""
    assert departures(rule["expr"]) == []
    texts: dict[str, Any] = rule.get("annotations", {})
    promised = promise()
    for word, share in (("ErrorBudget", promised.availability), ("LatencyBudget", promised.latency_share)):
        if word in rule.get("alert", ""):
            assert f"the promise allows {1 - share:.1%}".replace(".0%", "%") in texts["description"]
    if "LatencyBudget" in rule.get("alert", ""):
        assert f"longer than {promised.latency_seconds * 1000:.0f} ms" in texts["description"]


def test_the_promise_is_spoken_of() -> None:
    """The comparison has something to compare: eight burn rates, and the latency's bucket, which the service has."""
    nines = [rule for rule in alerts() if re.search(r"\(1 - 0\.9+\)", rule["expr"])]
    assert len(nines) == 8
    assert f'le="{promise().latency_seconds}"' in "".join(rule["expr"] for rule in rules())
    assert promise().latency_seconds in LATENCY_BUCKETS


def test_a_departure_from_the_promise_is_found() -> None:
    """Proves that the check can fail."""
    assert departures("namespace:valence_slo_errors:ratio_rate1h > 14.4 * (1 - 0.995)")
    assert departures("namespace:valence_slo_slow:ratio_rate1h > 14.4 * (1 - 0.999)")
    assert departures('rate(http_request_duration_seconds_bucket{job="valence",le="0.25"}[5m])')


def test_k6_judges_by_the_same_file() -> None:
    """load.js takes every number of the promise from slo.json."""
    script = (ROOT / "load" / "load.js").read_text(encoding="utf-8")
    assert "open('./slo.json')" in script
    for number in ("availability", "latency_share", "latency_milliseconds"):
        assert f"SLO.{number}" in script
