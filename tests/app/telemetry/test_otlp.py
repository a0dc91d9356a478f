"""Where spans go, and that nothing about it can hurt: collectors that are down or hang, variables that are wrong."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app import plain_http
from tests.app.otlp_receiver import FAST, Receiver, receiving, receiving_grpc
from tests.conftest import ROOT, Service, StartService, free_port, until

PARENT = b"00-" + b"ab" * 16 + b"-00000000000000aa-%02d"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver."""
    with receiving() as started:
        yield started


def predict(service: Service, text: str, **headers: str) -> int:
    """The status of one prediction."""
    return plain_http.post(service.url + "/predict", json={"text": [text]}, headers=headers).status_code


def events(service: Service, name: str) -> list[dict[str, Any]]:
    """The log's lines of this event."""
    return [line for line in map(json.loads, service.log.read_text().splitlines()) if line["event"] == name]


def run(program: str, **variables: str) -> str:
    """What a program prints in a process of its own, with no other variables of ours and OpenTelemetry's than these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VALENCE_", "OTEL_"))}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env=clean | variables, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_what_is_off_is_not_loaded() -> None:
    """Neither the exporter without an endpoint, or with the SDK disabled, nor redis-py without a URL."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    off: list[dict[str, str]] = [
        {},
        endpoint | {"OTEL_SDK_DISABLED": "true"},
        endpoint | {"OTEL_TRACES_EXPORTER": "none"},
    ]
    program = (
        "import os, runpy, sys; runpy.run_path('gunicorn.conf.py'); from app.main import create_app\n"
        f"for off in {off}: os.environ.update(off); create_app(); [os.environ.pop(name) for name in off]\n"
        "names = 'opentelemetry.exporter', 'opentelemetry.sdk', 'redis', 'requests'\n"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    assert run(program).splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL='http/json': should be 'http/protobuf' or 'grpc'",
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "me:secret@collector:4318"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: should be a URL such as http://collector:4318",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:secret@collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: should have no credentials, which gRPC takes in OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_BSP_SCHEDULE_DELAY": "-1"},
            "schedule_delay_millis must be positive.",
        ),
    ],
)
def test_wrong_variable_is_named(variables: dict[str, str], reason: str) -> None:
    """In the log, without its credentials, and nothing is raised."""
    said = run(
        "from app.telemetry.tracing import start_tracing; assert start_tracing('1', workers=1) is None", **variables
    )
    assert "tracing_unavailable" in said
    assert reason in said
    assert "secret" not in said


def test_wrong_variable_stops_nothing(start_service: StartService) -> None:
    """A platform may set these for every pod: the service answers without traces, and says why."""
    started = start_service(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="me:secret@collector:4318").wait_ready()
    assert predict(started, "good", traceparent=f"00-{secrets.token_hex(16)}-00000000000000aa-01") == 200
    (line,) = events(started, "tracing_unavailable")
    reason = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: should be a URL such as http://collector:4318"
    assert (line["level"], line["reason"]) == ("error", reason)
    assert "secret" not in started.log.read_text()


def test_missing_extra_is_named_and_stops_nothing() -> None:
    """Without the exporter's packages, the error names the extra that has them."""
    program = (
        "import sys; sys.modules['opentelemetry.exporter'] = None;"
        "from app.telemetry.tracing import start_tracing; assert start_tracing('1', workers=1) is None"
    )
    variables = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    said = subprocess.run(
        [sys.executable, "-c", program], env=variables, cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "the extra `tracing` (`tracing-grpc`) is not installed" in said.stdout


def test_collector_that_is_down_hurts_nobody(start_service: StartService) -> None:
    """Every request is answered; the log has one line about it, not one for each span; the end comes soon."""
    started = start_service(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_BSP_MAX_QUEUE_SIZE="8",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        **FAST,
    ).wait_ready()
    assert [predict(started, f"text {number}") for number in range(50)] == [200] * 50
    until(lambda: "Transient error" in started.log.read_text(), "the failure is logged")
    assert ends_soon(started)
    logged = [line for line in map(json.loads, started.log.read_text().splitlines()) if "export" in line["event"]]
    assert len(logged) == 1
    assert len(events(started, "Queue full, dropping Span.")) <= 1


def test_collector_that_hangs_hurts_nobody(start_service: StartService, receiver: Receiver) -> None:
    """Nor one that takes the spans and never answers."""
    receiver.hold()
    started = start_service(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_EXPORTER_OTLP_TIMEOUT="600", **FAST
    ).wait_ready()
    predict(started, "first")
    assert receiver.asked.wait(300)
    assert [predict(started, f"text {number}") for number in range(50)] == [200] * 50
    assert ends_soon(started)
    assert receiver.spans == []


def ends_soon(service: Service) -> bool:
    """Whether it stops long before the half minute for which the SDK would wait."""
    service.process.send_signal(signal.SIGINT)
    return service.process.wait(20) == 0


def test_last_spans_are_sent_at_the_end(start_service: StartService, receiver: Receiver) -> None:
    """What waits for the next export goes out before the process ends."""
    started = start_service(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_BSP_SCHEDULE_DELAY="600000", VALENCE_DRAIN_SECONDS="0"
    ).wait_ready()
    predict(started, "last words")
    assert receiver.spans == []
    started.stop()
    assert "POST /predict" in {span.name for span in receiver.spans}


def test_environment_names_the_sender(start_service: StartService, receiver: Receiver) -> None:
    """Ours are only the defaults: service.name, service.version, service.instance.id."""
    ours = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **FAST).wait_ready()
    predict(ours, "by default")
    until(lambda: receiver.spans, "a span arrives")
    resource = receiver.spans[0].resource
    assert (resource["service.name"], resource["service.version"]) == ("valence", "0.1.0")
    assert resource["service.instance.id"] == socket.gethostname()
    ours.stop()
    receiver.spans.clear()
    named = start_service(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_SERVICE_NAME="sentiment",
        OTEL_RESOURCE_ATTRIBUTES="service.instance.id=pod-1,k8s.pod.name=pod-1,service.name=loses",
        **FAST,
    ).wait_ready()
    predict(named, "by name")
    until(lambda: receiver.spans, "a span arrives")
    names = ("service.name", "service.instance.id", "k8s.pod.name", "service.version")
    assert [receiver.spans[0].resource[name] for name in names] == ["sentiment", "pod-1", "pod-1", "0.1.0"]


def test_the_callers_word_counts(start_service: StartService, receiver: Receiver) -> None:
    """By default a request is traced unless its caller's is not."""
    started = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, VALENCE_DRAIN_SECONDS="0").wait_ready()
    trace_id = secrets.token_hex(16)
    predict(started, "root", **{"X-Request-ID": "root"})
    predict(started, "sampled", traceparent=f"00-{trace_id}-00000000000000aa-01", **{"X-Request-ID": "sampled"})
    predict(started, "unsampled", traceparent=f"00-{trace_id}-00000000000000aa-00", **{"X-Request-ID": "unsampled"})
    started.stop()  # sends what it has
    traced = {span.attributes["valence.request_id"] for span in receiver.spans if span.kind == "server"}
    assert traced == {"root", "sampled"}


@pytest.mark.parametrize(
    ("sampler", "traced"),
    [
        ({}, {"root", "sampled"}),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, {"sampled"}),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, {"root", "sampled", "unsampled"}),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, set()),
    ],
    ids=["default", "ratio", "on", "off"],
)
def test_environment_names_the_sampler(sampler: dict[str, str], traced: set[str]) -> None:
    """With every sampler that is based on the parent, the caller's word counts; others do not ask for it."""
    parents = {
        "root": {},
        **{name: {b"traceparent": PARENT % flag} for name, flag in (("sampled", 1), ("unsampled", 0))},
    }
    program = (
        "import time; from app.telemetry.tracing import start_request, start_tracing\n"
        "close = start_tracing('1', workers=1)\n"
        f"print([n for n, parent in {parents}.items() if start_request(parent, time.perf_counter()).is_recording()])\n"
        "close()"
    )
    said = run(program, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", **sampler)
    assert [line for line in said.splitlines() if line[0] == "["] == [str([name for name in parents if name in traced])]


def test_spans_go_by_grpc_where_that_is_asked_for(start_service: StartService) -> None:
    """The same spans of the same service, to a real gRPC server; the last ones at the end of the process."""
    with receiving_grpc() as receiver:
        started = start_service(
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL="grpc", VALENCE_DRAIN_SECONDS="0"
        ).wait_ready()
        trace_id = secrets.token_hex(16)
        assert predict(started, "by gRPC", traceparent=f"00-{trace_id}-00000000000000aa-01") == 200
        assert started.stop() == 0
        spans = receiver.trace(trace_id, "POST /predict", "cache", "tokenise", "queue", "inference")
        assert spans[0].resource["service.name"] == "valence"
        (link,) = receiver.span(trace_id, "inference").links
        assert receiver.linked(link).name == "batch"


def test_two_workers_send_their_own(start_service: StartService, receiver: Receiver) -> None:
    """Each is an instance; of exemplars prometheus-client has none with several workers, and the metrics go on."""
    started = start_service(VALENCE_WORKERS="2", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **FAST).wait_ready()
    until(lambda: len(events(started, "ready")) == 2, "both are ready")

    def instances() -> set[str]:
        predict(started, secrets.token_hex(4))
        return {span.resource["service.instance.id"] for span in receiver.spans}

    until(lambda: len(instances()) == 2, "both have answered")
    accept = {"Accept": "application/openmetrics-text"}
    assert "http_request_duration_seconds_bucket" in plain_http.get(started.metrics_url, headers=accept).text
