"""Clients that leave before their answer: no work is done for them."""

import json
import socket

import httpx

from tests.conftest import Service, StartService, until

STATUS_499 = 'http_requests_total{method="POST",route="/predict",status="499"}'
INFERENCES = 'valence_stage_duration_seconds_count{stage="inference"}'


def raw_request(service: Service, texts: list[str]) -> socket.socket:
    """Send a request and leave the answer unread."""
    body = json.dumps({"text": texts}).encode()
    connection = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])))
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def test_text_of_a_client_that_left_is_not_scored(start_service: StartService) -> None:
    """While a large request occupies the only thread a client comes and goes; its text never reaches the model."""
    service = start_service(VALENCE_THREADS="1").wait_ready()
    long_texts = [f"{number} " + "quite a long story " * 200 for number in range(32)]
    with raw_request(service, long_texts) as busy:
        until(lambda: service.metric(INFERENCES) > 0, "the large request runs")
        raw_request(service, ["gone before its turn"]).close()
        until(lambda: service.metric(STATUS_499) == 1, "the service has noticed")
        assert busy.recv(12) == b"HTTP/1.1 200"
    assert httpx.post(f"{service.url}/predict", json={"text": ["afterwards"]}).headers["x-cache"] == "0/1"
    until(lambda: service.metric(INFERENCES) >= 33, "the last text was scored")
    assert service.metric(INFERENCES) == 33
