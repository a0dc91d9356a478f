"""The PrometheusRules of the monitoring component, and Prometheus' own tool that checks them."""

import shutil
import subprocess
from functools import cache

import pytest
import yaml

from tests.k8s.promql import groupings, selectors
from tests.k8s.rendering import K8S, Object
from tests.k8s.series import known

RULE_FILE = K8S.parent / "compose" / "prometheus" / "rules.yml"


@cache
def rules() -> list[Object]:
    """Every rule of the component's files."""
    files = sorted((K8S / "components" / "monitoring" / "prometheus").glob("*.yaml"))
    things = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    return rules_of([thing for thing in things if thing["kind"] == "PrometheusRule"])


def rules_of(things: list[Object]) -> list[Object]:
    """Every rule of these PrometheusRules."""
    return [rule for thing in things for group in thing["spec"]["groups"] for rule in group["rules"]]


def alerts() -> list[Object]:
    """The rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> None:
    """Run it; fail with its own words. Skips where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def unknown(expression: str) -> list[str]:
    """Series and labels of an expression that nothing has."""
    there: dict[str, set[str]] = known() | {
        rule["record"]: {"namespace", "source"} for rule in rules() if "record" in rule
    }
    there |= {"ALERTS": {"alertname", "alertstate", "namespace"}}
    found = [f"{name}: no such series" for name, _ in selectors(expression) if name not in there]
    asked = [(name, label) for name, labels in selectors(expression) for label in labels]
    found += [f"{name}: no label {label}" for name, label in asked if label not in there.get(name, {label})]
    every = set().union(*(there.get(name, set()) for name, _ in selectors(expression)))
    return found + [f"no label {label}" for _, labels in groupings(expression) for label in labels - every]
