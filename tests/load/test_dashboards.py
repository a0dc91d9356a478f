"""Pictures of dashboards: units, legends and variables as Grafana has them, and errors in one line."""

from pathlib import Path

import pytest

from load.dashboard_queries import FILES, DashboardError, legend, panels, queries, read_dashboard, variables
from load.dashboard_units import UNITS, written
from tests.conftest import free_port


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.99954, "percentunit", 2, "99.95 %"),
        (0.0, "percentunit", None, "0 %"),
        (0.0000421, "s", None, "42.1 µs"),
        (0.0123, "s", None, "12.3 ms"),
        (90.0, "s", None, "1.5 min"),
        (84.06, "ms", 1, "84.1 ms"),
        (512 * 2**20, "bytes", None, "512 MiB"),
        (46_100.0, "Bps", None, "46.1 kB/s"),
        (188.39, "reqps", None, "188 req/s"),
        (1024.0, "none", 0, "1024"),
        (1_250_000.0, "short", None, "1.25 M"),
        (-0.05, "percentunit", 1, "-5.0 %"),
        (float("nan"), "s", None, "no data"),
    ],
)
def test_numbers_are_written_with_their_unit(value: float, unit: str, decimals: int | None, text: str) -> None:
    """Three digits unless decimals are asked for; times, bytes and counts by their own steps."""
    assert written(value, unit, decimals) == text


def test_every_unit_of_a_panel_can_be_written() -> None:
    """A new unit in a dashboard needs a line in `UNITS`."""
    used = {panel["fieldConfig"]["defaults"]["unit"] for file in FILES for panel in panels(read_dashboard(file))}
    assert used <= set(UNITS)


def test_variables_are_as_when_a_dashboard_is_opened() -> None:
    """Constants and fixed lists have their value, lists of everything their expression, and a choice overrules."""
    (mesh,) = (file for file in FILES if file.stem == "mesh")
    values = variables(read_dashboard(mesh), {"namespace": "dev"})
    assert values == {"namespace": "dev", "reporter": "destination", "source": ".*"}
    assert variables(read_dashboard(mesh), {"reporter": "source"})["reporter"] == "source"


def test_a_variable_without_a_value_is_named() -> None:
    """With the panel and the query that ask for it."""
    panel = {"title": "Keys", "targets": [{"refId": "B", "expr": "up{pod=~'${pod}'} + $more", "legendFormat": ""}]}
    with pytest.raises(DashboardError, match=r"Keys, query B: no value for \$more"):
        queries(panel, {"pod": ".*"})
    (query,) = queries(panel, {"pod": ".*", "more": "1"})
    assert query.expr == "up{pod=~'.*'} + 1"


def test_legends_take_labels() -> None:
    """As Grafana does; a label that is not there is nothing."""
    assert legend("{{ pod }} to {{app}}", {"pod": "a", "job": "b"}) == "a to"


def test_a_prometheus_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line, status 1."""
    pytest.importorskip("matplotlib", reason="make load installs it with the group `load`")
    from load.dashboards import main  # noqa: PLC0415

    url = f"http://127.0.0.1:{free_port()}"
    assert main(["--prometheus", url, "--output", str(tmp_path)]) == 1
    assert f"error: PROMETHEUS_URL={url}" in capsys.readouterr().err
