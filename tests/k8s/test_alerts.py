"""Every alert fires and stays silent when it should, says what a reader needs, and has its section in the runbook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.settings import PREFIX, Settings
from tests.k8s.prometheus_rules import alerts, promtool, unknown
from tests.k8s.promql import selectors
from tests.k8s.rendering import K8S, Object

RUNBOOK = "docs/runbook.md"
RUNBOOK_TEXT = (K8S.parent / RUNBOOK).read_text(encoding="utf-8")
DASHBOARDS = K8S / "components" / "monitoring" / "dashboards"
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
SEVERITIES = {"critical", "warning", "info"}
"""Those that kube-prometheus-stack's own alerts have, and its Alertmanager inhibits by."""


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent(case: Path) -> None:
    """The cases in tests/k8s/rules, by promtool: series in, alerts with their texts out."""
    promtool("test", "rules", str(case))


def cases(kind: str) -> Iterator[Object]:
    """Every alert_rule_test or promql_expr_test of all files."""
    for file in CASES:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            yield from test.get(kind, [])


def fired() -> list[dict[str, str]]:
    """The labels of every alert that a case expects, its name among them."""
    expected = [
        {"alertname": case["alertname"], **alert["exp_labels"]}
        for case in cases("alert_rule_test")
        for alert in case["exp_alerts"]
    ]
    for case in cases("promql_expr_test"):
        for sample in case["exp_samples"]:
            (found,) = selectors(sample["labels"])
            if found.name == "ALERTS":
                expected.append(found.labels)
    return expected


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: " ".join([rule["alert"], *rule["labels"].values()]))
def test_every_alert_is_seen_firing_and_silent(rule: Object) -> None:
    """Each rule, not only each name, has a case that fires it; each name one with its texts, and a silent one."""
    wanted = {"alertname": rule["alert"], **rule["labels"]}
    assert any(wanted.items() <= labels.items() for labels in fired())
    of_name = [case for case in cases("alert_rule_test") if case["alertname"] == rule["alert"]]
    assert any(case["exp_alerts"] for case in of_name)
    assert any(not case["exp_alerts"] for case in of_name)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_a_reader_needs(rule: Object) -> None:
    """Name, severity, patience, summary, description with namespace, section of the runbook, dashboard."""
    name, texts = rule["alert"], rule["annotations"]
    assert name.startswith("Valence")
    assert rule["for"]
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(texts) == {"summary", "description", "runbook_url", "dashboard"}
    assert texts["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
    assert "$labels.namespace" in texts["description"]
    assert texts["summary"].endswith(".")


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_numbers_in_texts_are_for_people(rule: Object) -> None:
    """Every value is humanised or rounded."""
    for value in re.findall(r"\{\{ \$value.*?\}\}", rule["annotations"]["description"]):
        assert "|" in value


def test_the_dashboards_that_alerts_name_exist() -> None:
    """By the title of their folder and their own."""
    if not DASHBOARDS.is_dir():
        pytest.skip("there are no dashboards yet")
    titles = {json.loads(file.read_text(encoding="utf-8"))["title"] for file in DASHBOARDS.glob("*.json")}
    assert {rule["annotations"]["dashboard"].rpartition(" / ")[2] for rule in alerts()} <= {
        title.rpartition(" / ")[2] for title in titles
    }


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    """Both ways, each with all its parts."""
    sections = dict(re.findall(r"^## (Valence\w+)\n(.*?)(?=^## |\Z)", RUNBOOK_TEXT, re.MULTILINE | re.DOTALL))
    assert set(sections) == {rule["alert"] for rule in alerts()}
    for name, section in sections.items():
        for part in ("**Users:**", "**See:**", "**Causes**", "**Do:**", "**Escalate**"):
            assert part in section, f"{name}: {part}"


def blocks(language: str) -> list[str]:
    """The code blocks of the runbook in this language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", RUNBOOK_TEXT, re.MULTILINE | re.DOTALL)
    assert found
    return found


def test_the_queries_of_the_runbook_are_queries(tmp_path: Path) -> None:
    """Every one parses, as the expression of a rule does, and asks for series that there are."""
    queries = blocks("promql")
    assert [fault for query in queries for fault in unknown(query)] == []
    group = {"name": "runbook", "rules": [{"record": f"q:{n}", "expr": query} for n, query in enumerate(queries)]}
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    promtool("check", "rules", str(file))


def test_the_commands_of_the_runbook_are_commands() -> None:
    """A shell accepts each block, and the settings in them are settings."""
    bash = shutil.which("bash")
    assert bash
    for block in blocks("bash"):
        checked = subprocess.run([bash, "-n"], input=block, capture_output=True, text=True, timeout=10, check=False)
        assert checked.returncode == 0, block + checked.stderr
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    assert {name for name in re.findall(r"\bVALENCE_[A-Z_]+\b", RUNBOOK_TEXT) if not name.endswith("_")} <= settings
