"""A real nginx in front of the service."""

import shutil
from pathlib import Path

import pytest


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
