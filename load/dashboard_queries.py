"""The dashboards of .k8s/components/monitoring/dashboards as their queries, with Grafana's variables put in."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / ".k8s" / "components" / "monitoring" / "dashboards"
FILES = tuple(sorted(FOLDER.glob("*.json")))
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


class DashboardError(Exception):
    """A query names a variable that has no value; the message says where."""


@dataclass(frozen=True)
class Query:
    """One query of a panel, ready for Prometheus."""

    panel: str
    """Title of the panel."""
    ref: str
    expr: str
    legend: str
    """Template such as `{{pod}}`."""


def read_dashboard(file: Path) -> dict[str, Any]:
    """A dashboard as Grafana exports it."""
    dashboard: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return dashboard


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel but the rows' headings."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def variables(dashboard: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, str]:
    """Name -> value: as `chosen`, else as the dashboard opens ("All" as its regular expression)."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        if variable.get("includeAll"):
            values[variable["name"]] = variable["allValue"]
        elif variable["type"] in ("constant", "custom"):
            values[variable["name"]] = variable["current"]["value"]
    return values | dict(chosen)


def queries(panel: Mapping[str, Any], values: Mapping[str, str]) -> list[Query]:
    """The panel's queries with these values, which must hold Grafana's own (`__rate_interval`), too.

    Raises DashboardError.
    """
    found = []
    for target in panel["targets"]:

        def value(match: re.Match[str], ref: str = target["refId"]) -> str:
            name = match[1] or match[2]
            if name not in values:
                raise DashboardError(f"{panel['title']}, query {ref}: no value for ${name}")
            return values[name]

        found.append(
            Query(panel["title"], target["refId"], VARIABLE.sub(value, target["expr"]), target["legendFormat"])
        )
    return found


def legend(template: str, labels: Mapping[str, str]) -> str:
    """The name of a series, as Grafana makes it from `{{label}}`."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), template).strip()
