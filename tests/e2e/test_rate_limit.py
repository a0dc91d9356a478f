"""The limit per client, as components/istio configures it, in a real Envoy."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import free_port, until
from tests.k8s.rendering import Object, base_with, named

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


def rate_limit() -> Object:
    """The filter that components/istio puts into the sidecars."""
    (patch,) = named(base_with("istio"), "EnvoyFilter", "valence-rate-limit")["spec"]["configPatches"]
    limit: Object = patch["patch"]["value"]
    return limit


def proxy_configuration(port: int) -> str:
    """A proxy that answers 200 by itself, with our filter before its router, where the sidecar has it."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "inbound",
        "http_filters": [rate_limit(), ROUTER],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"name": "inbound", "address": address, "filter_chains": [{"filters": filters}]}
    return yaml.safe_dump({"static_resources": {"listeners": [listener]}})


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    program = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("there is no Envoy to try the limit in; `make e2e` installs one")
    port = free_port()
    folder = tmp_path_factory.mktemp("envoy")
    (folder / "envoy.yaml").write_text(proxy_configuration(port), encoding="utf-8")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "--config-path", str(folder / "envoy.yaml"), "--concurrency", "1"], stdout=log, stderr=log
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with suppress(httpx.TransportError):
            return httpx.get(url, headers={"x-forwarded-for": "192.0.2.99"}).is_success
        return False

    url = f"http://127.0.0.1:{port}/"
    try:
        until(answers, "Envoy answers")
        yield url
    finally:
        process.kill()
        process.wait()


def test_a_greedy_client_is_refused_and_others_are_not(proxy: str) -> None:
    """Beyond its burst one address gets 429 with Retry-After, and another address goes on as before."""
    (per_client,) = rate_limit()["typed_config"]["descriptors"]
    burst = per_client["token_bucket"]["max_tokens"]

    def ask(client: httpx.Client, address: str) -> httpx.Response:
        return client.get(proxy, headers={"x-forwarded-for": address})

    with httpx.Client() as client:
        greedy = [ask(client, "192.0.2.1") for _ in range(burst * 5)]
        refused = [answer for answer in greedy if answer.status_code == httpx.codes.TOO_MANY_REQUESTS]
        assert all(answer.is_success for answer in greedy[:burst])
        assert refused
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert ask(client, "192.0.2.2").is_success
