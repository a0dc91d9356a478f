"""The dashboards keep to the rules: what each panel says of itself, what it asks for, and how Grafana finds it."""

import json
import re
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from bench.dashboard_queries import FILES
from tests.k8s.dashboards import DASHBOARDS, PANELS, TARGETS, panel, variable
from tests.k8s.known_metrics import known_metrics
from tests.k8s.promql import groupings, selectors
from tests.k8s.rendering import of_kind, overlay
from tests.k8s.series import TARGET

CONFIG_MAP_BYTES = 2**18
"""`kubectl apply` copies an object into an annotation, and those may have 256 KiB; the object alone, 1 MiB."""
COLUMNS = 24


def test_the_four_are_there() -> None:
    """One question each, under one address that does not change."""
    assert {name: board["uid"] for name, board in DASHBOARDS.items()} == {
        "service": "valence-service",
        "cache-and-redis": "valence-cache",
        "model": "valence-model",
        "mesh": "valence-mesh",
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_loaded_anywhere(name: str) -> None:
    """No database id, no data source of one site, the viewer's own time zone."""
    board = DASHBOARDS[name]
    assert board["id"] is None
    assert board["schemaVersion"] >= 41
    assert (board["timezone"], board["refresh"], board["time"]["to"]) == ("browser", "30s", "now")
    assert board["title"].startswith("Valence / ")
    assert board["description"]
    sources = set(re.findall(r'"uid": "([^"]*)"', json.dumps(board))) - {board["uid"], "-- Grafana --"}
    assert sources == {"${datasource}"}
    assert variable(board, "datasource")["type"] == "datasource"
    assert "label_values(" in variable(board, "namespace")["query"]["query"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_files_are_as_grafana_exports_them(name: str) -> None:
    """Sorted keys and two spaces, so that a change made in Grafana shows as that change alone."""
    (file,) = (file for file in FILES if file.stem == name)
    assert (
        file.read_text(encoding="utf-8")
        == json.dumps(DASHBOARDS[name], indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_links_lead_to_the_others_and_to_the_runbook(name: str) -> None:
    """All four by their tag, keeping time and variables; Grafana's list of alerts has the button to each one's section.

    Where the runbook is read differs from site to site, and the alerts know it; a dashboard names no address at all.
    """
    board = DASHBOARDS[name]
    to_boards, to_runbook = board["links"]
    assert (to_boards["type"], to_boards["tags"]) == ("dashboards", board["tags"])
    assert to_boards["includeVars"]
    assert to_boards["keepTime"]
    assert (to_runbook["title"], to_runbook["url"]) == ("Alerts and runbook", "/alerting/list?search=Valence")
    assert "://" not in json.dumps(board)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    """Each has its place on the grid, and an id of its own."""
    board = DASHBOARDS[name]
    ids = [item["id"] for item in board["panels"]]
    assert len(ids) == len(set(ids))
    places = [(item["title"], item["gridPos"]) for item in board["panels"]]
    for title, place in places:
        assert place["x"] >= 0, title
        assert place["x"] + place["w"] <= COLUMNS, title
    for (title, one), (other_title, other) in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{title} and {other_title}"
    titles = [title for title, _ in places]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_explains_itself(title: str) -> None:
    """What it tells and what to do about it, its unit, thresholds in order, and a legend where there are lines."""
    item = PANELS[title]
    defaults = item["fieldConfig"]["defaults"]
    assert len(item["description"]) > 60
    assert item["description"].rstrip().endswith(".")
    assert defaults["unit"]
    first, *others = defaults["thresholds"]["steps"]
    assert first["value"] is None
    assert all(one["value"] < other["value"] for one, other in pairwise(others))
    assert item["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    if item["type"] == "timeseries":
        assert item["options"]["legend"]["showLegend"]
        assert all(target["legendFormat"] != "__auto" for target in item["targets"])
        assert (defaults["custom"]["thresholdsStyle"]["mode"] == "line") == (len(defaults["thresholds"]["steps"]) > 1)
    refs = [target["refId"] for target in item["targets"]]
    assert refs
    assert len(refs) == len(set(refs))


@pytest.mark.parametrize("title", TARGETS)
def test_queries_name_what_exists(title: str) -> None:
    """Every metric is one of ours, of a recording rule or of an exporter, with the labels that are asked for."""
    known = known_metrics()
    expr = TARGETS[title].expr
    labels = set(TARGET)
    for metric, matched in selectors(expr):
        assert metric in known, f"no such metric: {metric}"
        assert set(matched) <= known[metric], f"{metric} has no label {set(matched) - known[metric]}"
        labels |= known[metric]
    grouped = set().union(*(names for _, names in groupings(expr)))
    assert grouped <= labels
    assert set(re.findall(r"\{\{(\w+)\}\}", TARGETS[title].legend)) <= grouped


@pytest.mark.parametrize("title", TARGETS)
def test_queries_stay_within_one_namespace(title: str) -> None:
    """Two environments in one cluster do not mix, and two reporters of the mesh do not count twice."""
    for metric, matched in selectors(TARGETS[title].expr):
        if metric.startswith("istio_"):
            assert (matched["reporter"], matched["destination_service_namespace"]) == ("$reporter", "$namespace")
            assert matched["destination_service_name"] in ("valence", "valence-redis")
        else:
            assert matched["namespace"] == "$namespace", metric


@pytest.mark.parametrize("title", TARGETS)
def test_rates_cover_several_scrapes(title: str) -> None:
    """A window follows the scrape interval ($__rate_interval), or is a span that the title names."""
    windows = set(re.findall(r"\[([^\]]+)\]", TARGETS[title].expr))
    assert windows <= {"$__rate_interval", "1h"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_is_used_and_defined(name: str) -> None:
    """None is asked for in vain, none is missing."""
    board = DASHBOARDS[name]
    text = json.dumps(board["panels"]) + json.dumps(board["templating"]) + json.dumps(board["annotations"])
    used = {one or other for one, other in re.findall(r"\$(?:\{(\w+)\}|(\w+))", text)} - {"__rate_interval", "__all"}
    defined = {item["name"] for item in board["templating"]["list"]}
    assert used == defined


@pytest.mark.parametrize("name", ["Latency of predictions", "Latency of predictions, all requests"])
def test_latency_shows_exemplars(name: str) -> None:
    """A slow request leads to its trace."""
    assert all(target["exemplar"] for target in panel("service", name)["targets"])


def test_alerts_name_dashboards_that_exist() -> None:
    """Whoever is paged is told where to look."""
    rules = [
        rule
        for thing in of_kind(overlay("prod"), "PrometheusRule")
        for group in thing["spec"]["groups"]
        for rule in group["rules"]
    ]
    named_by_alerts = {rule["annotations"]["dashboard"] for rule in rules if "alert" in rule}
    assert named_by_alerts
    assert named_by_alerts <= {board["title"] for board in DASHBOARDS.values()}


def test_grafana_finds_each_dashboard() -> None:
    """One ConfigMap for each, labelled for the sidecar, with the file's text, and small enough for `kubectl apply`."""
    maps = [item for item in of_kind(overlay("prod"), "ConfigMap") if "dashboard" in item["metadata"]["name"]]
    assert {item["metadata"]["name"] for item in maps} == {f"valence-dashboard-{name}" for name in DASHBOARDS}
    keys = [key for item in maps for key in item["data"]]
    assert len(keys) == len(set(keys))  # the sidecar writes all of them into one folder
    for item in maps:
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["annotations"]["grafana_folder"] == "Valence"
        ((file, text),) = item["data"].items()
        assert json.loads(text) == DASHBOARDS[Path(file).stem.removeprefix("valence-")]
        assert len(json.dumps(item)) < CONFIG_MAP_BYTES
