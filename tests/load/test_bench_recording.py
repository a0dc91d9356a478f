"""What recording costs: the figures are told, and what was recorded is what a hit records."""

import json

import pytest
from prometheus_client import REGISTRY

from app.recording import Recorder
from load import bench_recording


def test_share_of_a_hit_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both costs, and ours over the whole hit."""
    monkeypatch.setattr(bench_recording, "CALLS", 10)
    monkeypatch.setattr("sys.argv", ["bench_recording", "--hit-us", "15"])
    bench_recording.main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["share_of_a_hit"] == pytest.approx(figures["recorded_us"] / 15, abs=0.002)
    assert figures["prometheus_client_us"] > 0


def test_it_records_what_a_hit_records() -> None:
    """One request, its time, one text from memory."""
    names = {
        "http_requests_total": {"route": "/predict", "method": "POST", "status": "200"},
        "http_request_duration_seconds_count": {"route": "/predict", "status": "200"},
        "valence_cache_texts_total": {"source": "memory"},
    }
    Recorder().pour()
    before = [REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in names.items()]
    bench_recording.ours()()
    Recorder().pour()
    assert [REGISTRY.get_sample_value(name, labels) for name, labels in names.items()] == [old + 1 for old in before]
