"""gunicorn's settings, all derived from ours: `gunicorn` alone in this folder starts the service."""

import os
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from app.errors import PackageError
from app.log_config import logging_dict
from app.package import Package
from app.settings import SettingsError, host_and_port, read_settings

try:
    settings = read_settings()
except SettingsError as exc:
    sys.exit(f"error: {exc}")

wsgi_app = "app.main:create_app()"
bind = settings.bind
workers = settings.workers
worker_class = "app.server.Worker"
# Never preload: a session or tokenizer that is forked with its threads hangs or crashes (onnxruntime#9800).
preload_app = False
# Idle connections stay open longer than the 600 s of cloud load balancers, so that it is never our side that closes
# one which the balancer is about to use.
keepalive = 620
# A worker is killed after this time without a sign of its event loop.
timeout = 60
graceful_timeout = int(settings.drain_seconds + settings.timeout) + 5
# Heartbeat files belong in memory: on a slow disk a worker looks dead.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True
accesslog = None
logconfig_dict = logging_dict(settings.log_level)

_resources = ExitStack()


def on_starting(_: Any) -> None:
    """In the parent, before all else: what cannot work is said in one line, not in the traceback of each worker."""
    try:
        Package(settings.model_dir)
        if settings.metrics_bind:
            address = host_and_port(settings.metrics_bind)
            socket.create_server(address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET).close()
    except PackageError as exc:
        sys.exit(f"error: {exc} (VALENCE_MODEL_DIR)")
    except OSError as exc:
        sys.exit(f"error: VALENCE_METRICS_BIND={settings.metrics_bind!r}: {exc.strerror}")


if settings.workers > 1:
    # Several processes: each writes its metrics to files here, and the parent serves them together.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="valence-metrics-")

    def when_ready(_: Any) -> None:
        """In the parent, before the workers start."""
        from app.metrics import serve_metrics  # noqa: PLC0415 - reads PROMETHEUS_MULTIPROC_DIR when it is imported

        try:
            _resources.enter_context(serve_metrics(settings.metrics_bind))
        except SettingsError as exc:
            sys.exit(f"error: {exc}")

    def child_exit(_: Any, worker: Any) -> None:
        """Forget the gauges of a worker that is gone."""
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - as above

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]

    def on_exit(_: Any) -> None:
        """Leave nothing behind."""
        _resources.close()
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
