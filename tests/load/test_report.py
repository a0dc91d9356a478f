"""The report of a recorded run: three seconds of smoke, as k6 and the service left them."""

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from load.report.data import ReportError, read_recording, read_run
from load.report.findings import breakpoint_steps, findings, key_figures, slo_held, verdict

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def report() -> ModuleType:
    """The module that writes the page; needs matplotlib and jinja2."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; make load installs it with the group `load`")
    return import_module("load.report.page")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A copy of the recorded run that a test may write to."""
    return shutil.copytree(RECORDED, tmp_path / "run")


def change_summary(folder: Path, metric: str, **values: float) -> None:
    """Alter the recorded summary."""
    file = folder / "summary.json"
    summary = json.loads(file.read_text())
    summary["metrics"][metric] |= values
    file.write_text(json.dumps(summary))


def test_recording_is_read_as_k6_means_it() -> None:
    """The requests of all seconds add up to k6's total, but for those after the last whole second."""
    run = read_run(RECORDED)
    counted = sum(second.metrics["http_reqs"]["count"] for second in run.client)
    total = run.summary["http_reqs"]["count"]
    assert 0.5 * total < counted <= total
    assert all(second.metrics["vus"]["value"] == 2 for second in run.client if "vus" in second.metrics)
    assert all(0 < second.at < 10 for second in run.client)


def test_metrics_that_appear_later_shift_no_column() -> None:
    """A snapshot lists the metrics known by then by the order of their names; its rates are by the time that passed."""
    lines = [
        '{"event":"param","data":{"aggregates":{"counter":["count","rate"],"gauge":["value"]}}}',
        '{"event":"metric","data":{"b_total":{"type":"counter"},"time":{"type":"gauge"}}}',
        '{"event":"snapshot","data":[[3,1.5],[1000000]]}',
        '{"event":"metric","data":{"a_users":{"type":"gauge"}}}',
        '{"event":"snapshot","data":[[7],[4,4],[1002000]]}',
    ]
    first, second = read_recording(lines, began=999.0)
    assert (first.at, first.metrics["b_total"]["count"]) == (1.0, 3)
    assert (second.at, second.metrics["a_users"]["value"], second.metrics["b_total"]["rate"]) == (3.0, 7, 2)


def test_server_and_client_agree_on_the_counts() -> None:
    """The report compares them, and says so in words."""
    run = read_run(RECORDED)
    assert run.totals["requests"] == run.summary["http_reqs"]["count"]
    assert any("as many as the server counted" in line for line in findings(run))


def test_disagreement_is_said(run_folder: Path) -> None:
    """A client that lost requests must not pass for a good run."""
    change_summary(run_folder, "http_reqs", count=1)
    assert any("not the same as the server counted" in line for line in findings(read_run(run_folder)))


@pytest.mark.parametrize(
    ("metric", "values"),
    [("http_req_duration{phase:predict}", {"p(99)": 100.5}), ("server_errors", {"value": 0.0011})],
)
def test_broken_promise_is_said(run_folder: Path, metric: str, values: dict[str, float]) -> None:
    """Too slow or too many errors: either breaks the SLO."""
    change_summary(run_folder, "http_req_duration{phase:predict}", **{"p(99)": 20.0})
    assert slo_held(read_run(run_folder))
    change_summary(run_folder, metric, **values)
    run = read_run(run_folder)
    assert not slo_held(run)
    assert findings(run)[0].startswith("The SLO did not hold")


def test_shares_of_the_tiers_come_from_the_servers_counters() -> None:
    """And CPU time is divided by the requests that it served."""
    run = read_run(RECORDED)
    figures = key_figures(run)
    memory, redis, _, model = (
        figures[f"texts from {tier}"].value for tier in ("memory", "Redis", "another's inference", "the model")
    )
    assert memory + redis + model == pytest.approx(100, abs=0.05)
    assert memory > model > redis == 0
    assert figures["CPU a request"].value == run.totals["cpu_seconds"] / run.totals["requests"] * 1000
    assert any(f"{memory:.2f} % from memory, 0.00 % from Redis" in line for line in findings(run))


def step(p99: float, *, crossed: bool) -> dict[str, object]:
    """The latency of one step of breakpoint as k6 exports it, where true means crossed."""
    return {"max": p99, "p(99)": p99, "thresholds": {"p(99)<100": crossed}}


def test_knee_is_the_last_step_that_held() -> None:
    """By rate and not by name; what came behind the step that broke does not count."""
    summary = {
        "http_req_duration{scenario:rate_200}": step(20.0, crossed=False),
        "http_req_duration{scenario:rate_1000}": step(250.0, crossed=True),
        "http_req_duration{scenario:rate_500}": step(30.0, crossed=False),
        "refused{scenario:rate_500}": {"value": 0.0, "thresholds": {"rate<0.01": False}},
        "http_req_duration{scenario:rate_2000}": step(10.0, crossed=False),
    }
    steps = breakpoint_steps(summary)
    assert [(found.rate, found.held) for found in steps] == [(200, True), (500, True), (1000, False)]


def test_step_that_refuses_too_much_breaks() -> None:
    """However fast its refusals are."""
    summary = {
        "http_req_duration{scenario:rate_200}": step(20.0, crossed=False),
        "refused{scenario:rate_200}": {"value": 0.5, "thresholds": {"rate<0.01": True}},
    }
    assert [found.held for found in breakpoint_steps(summary)] == [False]


def test_steps_that_never_ran_do_not_count() -> None:
    """A run that ended early held no rate that it did not try."""
    summary = {
        "http_req_duration{scenario:rate_200}": step(20.0, crossed=False),
        "http_req_duration{scenario:rate_500}": step(0.0, crossed=False),
    }
    assert [found.rate for found in breakpoint_steps(summary)] == [200]


def test_folder_that_is_no_runs_is_refused_by_name(tmp_path: Path) -> None:
    """The message names the file that is missing."""
    with pytest.raises(ReportError, match=r"run\.json"):
        read_run(tmp_path)


def test_page_needs_nothing_else(run_folder: Path, report: ModuleType) -> None:
    """Figures are inside, and nothing is fetched from anywhere."""
    page = report.write_report(run_folder).read_text()
    assert page.count("data:image/png;base64,") == 6
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    for png in ("latency", "rate", "warm-cold", "tiers", "redis", "cpu"):
        assert (run_folder / f"{png}.png").read_bytes().startswith(b"\x89PNG")


def test_two_runs_stand_side_by_side(run_folder: Path, tmp_path: Path, report: ModuleType) -> None:
    """Each figure and each finding of both, and how they relate."""
    other = shutil.copytree(RECORDED, tmp_path / "other")
    rate = key_figures(read_run(RECORDED))["requests/s"].value
    change_summary(other, "http_reqs", rate=4 * rate)
    page = report.write_report(run_folder, other)
    assert page.name == "comparison.html"
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 12
    assert f"<td>{rate:,.0f}</td><td>{4 * rate:,.0f}</td><td>0.25</td>" in text


def test_two_runs_share_their_axes(run_folder: Path, tmp_path: Path, report: ModuleType) -> None:
    """Else the lower latency may look like the higher one: a slower second run changes the first one's picture."""
    figures = import_module("load.report.figures")
    slow = read_run(shutil.copytree(RECORDED, tmp_path / "slow"))
    for second in slow.client:
        if "http_req_duration" in second.metrics:
            second.metrics["http_req_duration"]["p(99)"] = 5000.0
    run = read_run(run_folder)
    alone, beside = figures.draw_all([run]), figures.draw_all([run, slow])
    assert alone["latency"][0] != beside["latency"][0]
    assert alone["redis"][0] == beside["redis"][0]
    assert report


def test_breakpoint_says_why_it_broke() -> None:
    """A fast p99 beside the word BROKEN explains nothing."""
    summary = {
        "http_req_duration{scenario:rate_200}": step(20.0, crossed=False),
        "dropped_iterations{scenario:rate_200}": {"count": 9, "thresholds": {"count<2": True}},
    }
    (found,) = breakpoint_steps(summary)
    assert found.broke_by == ("requests that could not be sent",)
    run = replace(read_run(RECORDED), summary=read_run(RECORDED).summary | summary)
    assert verdict(run) == "broken at 200 requests/s"
    assert any("by requests that could not be sent (p99 20.0 ms)" in line for line in findings(run))


def test_what_stands_in_a_run_is_text_and_not_markup(run_folder: Path, report: ModuleType) -> None:
    """A model's name may hold anything."""
    file = run_folder / "run.json"
    facts = json.loads(file.read_text())
    facts["model"]["name"] = facts["profile"] = "<script>alert('1')</script>"
    file.write_text(json.dumps(facts))
    page = report.write_report(run_folder).read_text()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;") > 3


def test_command_names_a_wrong_folder(tmp_path: Path, report: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit status 1."""
    assert report
    assert import_module("load.report.__main__").main([str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_replicas_come_from_what_watched_the_cluster(run_folder: Path) -> None:
    """Rows of `load.observe.cluster` in the run's folder count from their own time on; empty cells stay unknown."""
    began = read_run(run_folder).facts["began"]
    times = [datetime.fromtimestamp(began + after, UTC).isoformat(timespec="milliseconds") for after in (-9, 2.5)]
    head = "time,replicas,ready,unavailable,restarts,scaler_min,scaler_max,scaler_wants,scaler_target,scaler_current"
    rows = [head, f"{times[0]},1,1,0,0,1,6,,,", f"{times[1]},4,2,2,0,1,6,4,70.0,140.0", ""]
    (run_folder / "cluster.csv").write_text("\n".join(rows))
    seen = [(second.replicas, second.scaler_wants, second.scaler_reading) for second in read_run(run_folder).server]
    assert set(seen) == {(1, None, None), (2, 4, 2.0)}
    assert seen == sorted(seen, key=lambda second: second[0] or 0)


def test_broken_rows_of_the_cluster_are_named(run_folder: Path) -> None:
    """No report that silently lacks them."""
    (run_folder / "cluster.csv").write_text("time,ready\nyesterday,1\n")
    with pytest.raises(ReportError, match="yesterday"):
        read_run(run_folder)
