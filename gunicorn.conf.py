"""gunicorn's settings, all derived from ours: `gunicorn` alone in this folder starts the service."""

import os
import shutil
import signal
import sys
import tempfile
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

from app.errors import LoadError, PackageError
from app.keys.file import read_keys
from app.model.source import fetched
from app.model.tabular import open_package
from app.settings import SettingsError, read_settings
from app.telemetry import listener
from app.telemetry.logs import logging_dict

try:
    settings = read_settings()
except SettingsError as exc:
    sys.exit(f"error: {exc}")

wsgi_app = "app.main:create_app()"
bind = settings.bind
workers = settings.workers
worker_class = "app.http.worker.Worker"
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
METRICS_BYTES = 6 * 1_048_576
"""prometheus-client's files for one worker, at their first size. To write to them without room ends a process."""


def on_starting(server: Any) -> None:
    """In the parent, before all else: what cannot work is said in one line, not in the traceback of each worker."""
    try:
        open_package(fetched(settings.model_dir, settings.model_cache_dir).folder)
        if settings.redis_url is not None:
            from app.scoring.redis import RedisClient  # noqa: PLC0415 - only here, and it takes 150 ms

            RedisClient(settings.redis_url)
        if settings.api_keys_file is not None:
            read_keys(settings.api_keys_file)
        server.metrics_socket = listener.listen(settings.metrics_bind) if settings.metrics_bind else None
    except (PackageError, ValueError, SettingsError) as exc:
        shutil.rmtree(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""), ignore_errors=True)
        match exc:
            case PackageError():
                sys.exit(f"error: {exc} (VALENCE_MODEL_DIR)")
            case ValueError():
                sys.exit(f"error: VALENCE_REDIS_URL: {exc}")
        sys.exit(f"error: {exc}")


def on_reload(server: Any) -> None:
    """In the parent, after HUP: ask anew what the model's name means. Where that can't be had, the old one stays."""
    try:
        fetched(settings.model_dir, settings.model_cache_dir, anew=True)
    except PackageError as exc:
        server.log.error("%s (VALENCE_MODEL_DIR)", exc)  # noqa: TRY400 - it is no bug


def nworkers_changed(server: Any, new: int, old: int | None) -> None:
    """In the parent, at the start and after TTIN, TTOU and HUP: several workers share their metrics in files."""
    if new < 2 or "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # noqa: PLR2004
        return
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix="valence-metrics-")
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, new * METRICS_BYTES)
    except OSError as exc:
        shutil.rmtree(folder, ignore_errors=True)
        if old is None:
            sys.exit(f"error: {new} workers need a folder for their metrics (TMPDIR): {exc.strerror}")
        server.log.error(  # noqa: TRY400 - it is no bug
            "no room for the metrics of %d workers: %s", new, exc.strerror
        )
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    if old is not None:  # workers that share nothing yet are replaced
        when_ready(server)
        server.kill_workers(signal.SIGTERM)


def refuse_load(_: str) -> NoReturn:
    """Each worker has a model of its own, and this process none."""
    msg = "there are several workers, each with a model of its own: start anew with another VALENCE_MODEL_DIR"
    raise LoadError(HTTPStatus.CONFLICT, msg)


def when_ready(server: Any) -> None:
    """In the parent, before the workers start: of several workers the parent tells all metrics."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from app.http.admin import Admin  # noqa: PLC0415 - only here
        from app.telemetry.exposition import serve_metrics  # noqa: PLC0415 - reads PROMETHEUS_MULTIPROC_DIR at import

        listener.inherited = server.metrics_socket
        server.end_metrics = serve_metrics(
            settings.metrics_bind, partial(Admin, token=settings.admin_token, load=refuse_load)
        )


def post_fork(server: Any, _: Any) -> None:
    """In a worker, at its start: where it is the only one, it answers on the metrics' port itself."""
    listener.inherited = server.metrics_socket


def child_exit(_: Any, worker: Any) -> None:
    """In the parent: forget the gauges of a worker that is gone."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - as above

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """In the parent: leave nothing behind."""
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        server.end_metrics()
        shutil.rmtree(folder, ignore_errors=True)
