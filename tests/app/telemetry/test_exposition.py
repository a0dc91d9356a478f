"""`/metrics` of one worker and of several: the same port, the same questions."""

import pytest

from tests.app import plain_http
from tests.conftest import StartService, until


@pytest.mark.parametrize("workers", ["1", "2"])
def test_some_metrics_can_be_asked_for_by_name(start_service: StartService, workers: str) -> None:
    """`name[]`, as promtool and dashboards ask; and every worker is ready, not only most."""
    started = start_service(VALENCE_WORKERS=workers).wait_ready()
    until(lambda: started.metric("valence_ready") == 1, "all workers are ready")
    names = "valence_ready", "http_requests_total", "valence_stage_duration_seconds_count"
    asked = "&".join(f"name[]={name}" for name in names)
    answer = plain_http.get(f"{started.metrics_url}?{asked}").text
    samples = {line.split("{")[0].split(" ")[0] for line in answer.splitlines() if not line.startswith("#")}
    assert samples == set(names)
    assert plain_http.get(f"{started.metrics_url}?name[]=nothing").text == ""
