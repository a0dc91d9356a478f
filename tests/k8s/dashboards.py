"""The dashboards as they stand in their files: panels and queries by their titles."""

from typing import Any

from bench.dashboard_queries import panels, queries, read_dashboards, variables

DASHBOARDS = read_dashboards()
PANELS = {f"{name}: {panel['title']}": panel for name, board in DASHBOARDS.items() for panel in panels(board)}
AS_THEY_STAND = {name: f"${name}" for name in ("namespace", "reporter", "source", "version", "pod", "__rate_interval")}
"""Only the constants, which hold the promise, are put into the queries."""
TARGETS = {
    f"{title} ({query.ref})": query
    for title, item in PANELS.items()
    for query in queries(item, variables(DASHBOARDS[title.partition(":")[0]], AS_THEY_STAND))
}


def variable(board: dict[str, Any], name: str) -> dict[str, Any]:
    """The one variable of this name."""
    (found,) = (item for item in board["templating"]["list"] if item["name"] == name)
    return dict(found)


def panel(name: str, title: str) -> dict[str, Any]:
    """The one panel of this title."""
    return PANELS[f"{name}: {title}"]


def limits(of: dict[str, Any]) -> list[float]:
    """The values of a panel's thresholds."""
    return [step["value"] for step in of["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["value"] is not None]
