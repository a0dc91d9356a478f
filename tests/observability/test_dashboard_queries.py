"""Every query of every panel returns data from a real Prometheus that scrapes the real service under load.

Istio, kube-state-metrics, cAdvisor and redis_exporter do not run here: Prometheus scrapes their recorded pages.
"""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.dashboard_queries import Query, panels, queries, read_dashboards, variables
from load.observe.prometheus import query_now, query_range
from tests.app.keys.keys import line
from tests.conftest import RedisServer, Service, until
from tests.observability.exporters import serve_recorded
from tests.observability.prometheus_server import NAMESPACE, OTHER_POD, Prometheus, beside, jobs
from tests.observability.traffic import LIMITED, SHOP, send_rows, send_some

DASHBOARDS = read_dashboards()
GRAFANAS_OWN = {"__rate_interval": "10s"}
"""What Grafana makes of a scrape interval of a second: four times that, and at least ten."""
ALLOWED_EMPTY: dict[str, str] = {}
"""`dashboard: panel (query)` -> why it has no data here."""


def all_queries() -> dict[str, Query]:
    """Each query as it is when a dashboard is opened, by its place."""
    found = {}
    for name, dashboard in DASHBOARDS.items():
        values = variables(dashboard, {"namespace": NAMESPACE, **GRAFANAS_OWN})
        for panel in panels(dashboard):
            for query in queries(panel, values):
                found[f"{name}: {panel['title']} ({query.ref})"] = query
    return found


QUERIES = all_queries()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, wine: Service) -> Iterator[tuple[Prometheus, Service, RedisServer]]:
    """Prometheus, the service with a small cache in memory, so that Redis is asked too, and that Redis.

    Another pod serves a table.
    """
    folder = tmp_path_factory.mktemp("observed")
    redis = RedisServer(folder)
    keys = folder / "keys"
    keys.write_text(line("shop", SHOP) + line("limited", LIMITED, "texts_per_day=1"))
    service = Service(
        folder / "service.log",
        VALENCE_API_KEYS_FILE=str(keys),
        VALENCE_REDIS_URL=redis.url,
        VALENCE_CACHE_MAX_ENTRIES="50",
        VALENCE_DRAIN_SECONDS="0",
    )
    try:
        with serve_recorded() as exporters:
            scraped = jobs(service.wait_ready().metrics_url, exporters)
            beside(scraped, wine.metrics_url)
            prometheus = Prometheus(folder, scraped)
            try:
                yield prometheus, service, redis
            finally:
                prometheus.stop()
    finally:
        service.stop()
        redis.kill()


def has_data(url: str, expr: str) -> bool:
    """Whether it gives at least one number."""
    return any(not math.isnan(float(series["value"][1])) for series in query_now(url, expr))


@pytest.fixture(scope="module")
def loaded(stack: tuple[Prometheus, Service, RedisServer], wine: Service) -> tuple[str, set[str]]:
    """The address of Prometheus, and which queries had no data though there was load until they should have."""
    prometheus, service, redis = stack
    until(lambda: set(prometheus.targets().values()) == {"up"}, "every target is scraped")
    send_some(service.url)
    send_rows(wine.url)
    redis.hang()  # errors, dropped writes and the open breaker are part of what is drawn
    send_some(service.url)
    redis.resume()
    waiting = set(QUERIES)

    def nothing_waits() -> bool:
        send_some(service.url)
        send_rows(wine.url)
        waiting.difference_update({place for place in waiting if has_data(prometheus.url, QUERIES[place].expr)})
        return waiting <= set(ALLOWED_EMPTY)

    with suppress(AssertionError):  # what still waits fails in a test of its own
        until(nothing_waits, "all queries have data")
    return prometheus.url, waiting


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_returns_data(place: str, loaded: tuple[str, set[str]]) -> None:
    """At least one number, and every label that the legend names."""
    url, without_data = loaded
    assert place not in without_data - set(ALLOWED_EMPTY), QUERIES[place].expr
    named = set(re.findall(r"\{\{(\w+)\}\}", QUERIES[place].legend))
    for series in query_now(url, QUERIES[place].expr):
        assert named <= set(series["metric"]), f"{QUERIES[place].expr} gives {series['metric']}"


def test_values_out_of_range_are_a_share_of_the_rows(loaded: tuple[str, set[str]]) -> None:
    """Three in ten rows of the pod that serves a table have too much alcohol; no other column has such values."""
    url, _ = loaded
    expr = QUERIES["model: Values out of range (A)"].expr.replace('pod=~".*"', f'pod="{OTHER_POD}"')
    (series,) = query_now(url, expr)
    assert series["metric"] == {"feature": "alcohol"}
    assert float(series["value"][1]) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_offer_values(name: str, loaded: tuple[str, set[str]]) -> None:
    """Every list that a viewer chooses from has something in it."""
    url, _ = loaded
    values = variables(DASHBOARDS[name], {"namespace": NAMESPACE})
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            selector = re.sub(r"\$(\w+)", lambda match: values[match[1]], selector)
            offered = {series["metric"].get(label) for series in query_now(url, f"count by ({label}) ({selector})")}
            assert offered
            assert None not in offered, variable["name"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_annotations_can_be_asked(name: str, loaded: tuple[str, set[str]]) -> None:
    """They are queries that Prometheus understands; that nothing fires is no fault."""
    url, _ = loaded
    for annotation in DASHBOARDS[name]["annotations"]["list"]:
        if "expr" in annotation:
            query_range(url, annotation["expr"].replace("$namespace", NAMESPACE), 0, 1, 1)


def test_pictures_are_drawn_of_it(loaded: tuple[str, set[str]], tmp_path: Path) -> None:
    """One for each dashboard, small enough for a page, with as much on it as a drawn dashboard has."""
    pytest.importorskip("matplotlib", reason="make load installs it with the group `load`")
    from bench.dashboards import main  # noqa: PLC0415

    url, _ = loaded
    assert main(["--prometheus", url, "--minutes", "1", "--scrape-seconds", "1", "--output", str(tmp_path)]) == 0
    sizes = {picture.stem: picture.stat().st_size for picture in tmp_path.glob("*.png")}
    assert set(sizes) == set(DASHBOARDS)
    assert all(20_000 < size < 200_000 for size in sizes.values()), sizes
