"""The service, put together: the only module that knows all others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from platform import python_version
from typing import TypedDict

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from app import health, page, predict, summary
from app.access_log import AccessLog
from app.lifecycle import Lifecycle
from app.log_config import configure_logging
from app.metrics import BUILD_INFO, serve_metrics
from app.middleware import ObserveRequests
from app.otlp import start_tracing
from app.predict import PredictEndpoint
from app.server import PredictPastAsgi
from app.settings import Settings, read_settings, unknown_variables

VERSION = "0.1.0"

log = structlog.get_logger()


class State(TypedDict):
    """What the lifespan hands to every request."""

    lifecycle: Lifecycle
    predict_past_asgi: PredictPastAsgi
    """For `app.server`."""


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Build the service. Raises SettingsError or PackageError, one line each, when it cannot work as configured."""
    settings = settings or read_settings()
    configure_logging(settings.log_level)
    BUILD_INFO.labels(VERSION, settings.revision, python_version(), version("onnxruntime")).set(1)
    spans = start_tracing(VERSION, workers=settings.workers)
    lifecycle = Lifecycle(settings, spans.tracing if spans else None)
    endpoint = PredictEndpoint(lifecycle)
    access_log = AccessLog(enabled=settings.log_level in ("debug", "info"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        for name in unknown_variables():
            log.warning("unknown_setting", name=name)
        bind = settings.metrics_bind if settings.workers == 1 else ""  # of several workers the parent tells all metrics
        with serve_metrics(bind, lifecycle.recorder.pour_from_thread):
            await lifecycle.start()
            lifecycle.handle_signals()
            try:
                yield {"lifecycle": lifecycle, "predict_past_asgi": observed.predict}
            finally:
                await lifecycle.stop()
                access_log.flush()
                if spans is not None:
                    spans.close()

    app = FastAPI(
        title="Valence",
        version=VERSION,
        summary="Sentiment predictions on CPUs.",
        lifespan=lifespan,
        # FastAPI has instruments of its own: its spans would double ours, its logs hold what a refused request said.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.add_exception_handler(HTTPException, not_found)
    app.include_router(predict.router(endpoint), tags=["prediction"])
    app.include_router(health.router, tags=["operation"])
    app.include_router(summary.router(lifecycle), tags=["operation"])
    app.include_router(page.router)
    app.mount("/static", page.files)
    # Around FastAPI and not inside it: its own outermost layers would cost each cache hit some microseconds.
    paths = [route.path for route in app.routes if isinstance(route, Mount | Route) and route.path]
    observed = ObserveRequests(app, paths=paths, lifecycle=lifecycle, endpoint=endpoint, access_log=access_log)
    return observed


async def not_found(_: Request, exc: Exception) -> Response:
    """The router's own refusals (404, 405) in the same shape."""
    assert isinstance(exc, HTTPException)
    kind = exc.detail.lower().replace(" ", "_")
    return JSONResponse({"detail": [{"type": kind, "loc": ["path"], "msg": exc.detail}]}, exc.status_code, exc.headers)
