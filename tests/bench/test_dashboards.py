"""Pictures of dashboards: units, legends and variables as Grafana has them, and errors in one line."""

from pathlib import Path
from types import ModuleType

import pytest

from bench.dashboard_queries import Query, panels, queries, read_dashboards, variables
from tests.conftest import free_port

DASHBOARDS = read_dashboards()


@pytest.fixture
def pictures() -> ModuleType:
    """The module that draws; needs matplotlib."""
    pytest.importorskip("matplotlib", reason="make load installs it with the group `load`")
    from bench import dashboards  # noqa: PLC0415

    return dashboards


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.99954, "percentunit", 2, "99.95 %"),
        (0.0, "percentunit", None, "0 %"),
        (0.0000421, "s", None, "42.1 µs"),
        (0.0123, "s", None, "12.3 ms"),
        (0.0, "s", None, "0 s"),
        (84.06, "ms", 1, "84.1 ms"),
        (512 * 2**20, "bytes", None, "512 MiB"),
        (46_100.0, "Bps", None, "46.1 kB/s"),
        (188.39, "reqps", None, "188 req/s"),
        (0.5, "cps", None, "0.5 /s"),
        (1024.0, "none", 0, "1024"),
        (2000.0, "none", None, "2000"),
        (1_250_000.0, "short", None, "1.25 M"),
        (-0.05, "percentunit", 1, "-5.0 %"),
        (float("nan"), "s", None, "no data"),
    ],
)
def test_numbers_are_written_with_their_unit(
    pictures: ModuleType, value: float, unit: str, decimals: int | None, text: str
) -> None:
    """Three digits unless decimals are asked for; times, bytes and counts by their own steps."""
    assert pictures.written(value, unit, decimals) == text


def test_every_unit_of_a_panel_can_be_written(pictures: ModuleType) -> None:
    """A new unit in a dashboard needs a line in `SIZES`."""
    used = {panel["fieldConfig"]["defaults"]["unit"] for board in DASHBOARDS.values() for panel in panels(board)}
    assert used <= set(pictures.SIZES)


def test_variables_are_as_when_a_dashboard_is_opened() -> None:
    """Constants and fixed lists have their value, lists of everything their expression, and a choice overrules."""
    values = variables(DASHBOARDS["mesh"], {"namespace": "dev"})
    assert values == {"namespace": "dev", "reporter": "destination", "source": ".*"}
    assert variables(DASHBOARDS["mesh"], {"reporter": "source"}) == {"reporter": "source", "source": ".*"}


def test_a_variable_without_a_value_is_named() -> None:
    """An empty one would ask for something else."""
    panel = {"title": "Keys", "targets": [{"refId": "B", "expr": "up{pod=~'${pod}'} + $more", "legendFormat": ""}]}
    with pytest.raises(KeyError, match="more"):
        queries(panel, {"pod": ".*"})
    (query,) = queries(panel, {"pod": ".*", "more": "1"})
    assert query.expr == "up{pod=~'.*'} + 1"


def test_legends_take_labels() -> None:
    """As Grafana does; a label that is not there is nothing."""
    assert Query("A", "up", "{{pod}} to {{app}}").name({"pod": "a", "job": "b"}) == "a to"


def test_a_prometheus_that_does_not_answer_is_named(
    pictures: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line, status 1."""
    url = f"http://127.0.0.1:{free_port()}"
    assert pictures.main(["--prometheus", url, "--output", str(tmp_path)]) == 1
    assert f"error: PROMETHEUS_URL={url}" in capsys.readouterr().err


def test_a_dashboard_without_data_is_drawn_all_the_same(pictures: ModuleType) -> None:
    """A Prometheus that has seen nothing yet is no reason for a traceback."""
    for board in DASHBOARDS.values():
        figure = pictures.draw(board, {panel["id"]: [] for panel in panels(board)}, (0.0, 60.0))
        assert len(figure.subfigs) == len(board["panels"])
