"""The dashboards of .k8s/components/monitoring/dashboards as their queries, with Grafana's variables put in."""

import json
import re
from collections.abc import Iterator, Mapping
from string import Template
from typing import Any, NamedTuple

from load.programs import ROOT

FILES = tuple(sorted((ROOT / ".k8s" / "components" / "monitoring" / "dashboards").glob("*.json")))


class Query(NamedTuple):
    """One query of a panel, ready for Prometheus; `legend` is a template such as `{{pod}}`."""

    ref: str
    expr: str
    legend: str

    def name(self, labels: Mapping[str, str]) -> str:
        """What the legend calls a series with these labels."""
        return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), self.legend).strip()


def read_dashboards() -> dict[str, dict[str, Any]]:
    """Name of the file -> the dashboard as Grafana exports it."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel but the rows' headings."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def variables(dashboard: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, str]:
    """Name -> value: as `chosen`, else as the dashboard opens ("All" as its regular expression)."""
    listed = ((each["name"], each.get("allValue"), each["current"]) for each in dashboard["templating"]["list"])
    opened = {name: every or current.get("value") for name, every, current in listed}
    return {name: value for name, value in (opened | dict(chosen)).items() if value}


def queries(panel: Mapping[str, Any], values: Mapping[str, str]) -> list[Query]:
    """The panel's queries with these values, `__rate_interval` among them. KeyError names a variable without one."""
    return [
        Query(target["refId"], Template(target["expr"]).substitute(values), target["legendFormat"])
        for target in panel["targets"]
    ]
