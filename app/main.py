"""The service, put together: the only module that knows all others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from platform import python_version

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Lifespan

from app.http import operations, page, predict, summary
from app.http.admin import Admin
from app.http.aliases import Aliases, Unprefixed
from app.http.auth import SCHEMES, Auth
from app.http.observe import Observe
from app.http.protocols import v2_models
from app.http.protocols.spoken import Spoken, spoken
from app.http.refusals import not_found
from app.keys.accounts import Accounts
from app.lifecycle import Lifecycle
from app.model.tabular import TabularPackage
from app.settings import Settings, read_settings, unknown_variables
from app.telemetry.exposition import SHARED, serve_metrics
from app.telemetry.logs import configure_logging
from app.telemetry.metrics import BUILD_INFO
from app.telemetry.tracing import start_tracing

VERSION = "0.1.0"

log = structlog.get_logger()


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Build the service, to be wrapped in whatever should see every request. Raises SettingsError or PackageError."""
    settings = settings or read_settings()
    configure_logging(settings.log_level)
    BUILD_INFO.labels(VERSION, settings.revision, python_version(), version("onnxruntime")).set(1)
    end_tracing = start_tracing(VERSION, workers=settings.workers)
    lifecycle = Lifecycle(settings)
    admin = partial(Admin, token=settings.admin_token, load=lifecycle.swap_from_thread)
    accounts = Accounts(settings.api_keys_file, settings.redis_url) if settings.api_keys_file else None
    protocols = spoken(lifecycle, VERSION)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for name in unknown_variables():
            log.warning("unknown_setting", name=name)
        end_metrics = serve_metrics("" if SHARED else settings.metrics_bind, admin)  # of several, the parent tells all
        await lifecycle.start()
        lifecycle.handle_signals()
        if accounts is not None:
            accounts.start()
        try:
            yield
        finally:
            if accounts is not None:
                await accounts.stop()
            await lifecycle.stop()
            end_metrics()
            if end_tracing is not None:
                end_tracing()

    app = _routed(lifecycle, protocols, lifespan, keys=accounts is not None)
    observed = Observe(
        _answering(app, lifecycle, protocols, accounts),
        lifecycle=lifecycle,
        predictions=protocols.routes,
        traces=end_tracing is not None,
        logs=settings.log_level in ("debug", "info"),
    )
    return Unprefixed(observed, app) if settings.root_path else observed


def _answering(app: FastAPI, lifecycle: Lifecycle, protocols: Spoken, accounts: Accounts | None) -> ASGIApp:
    """What answers every request.

    Around FastAPI and not inside it: its own outermost layers would cost each cache hit a tenth of its time.
    """
    origins = lifecycle.settings.cors_origins
    endpoint: ASGIApp = predict.Predict(Aliases(app), lifecycle=lifecycle, spoken=protocols)
    if accounts is not None:
        endpoint = Auth(endpoint, accounts=accounts)
    if origins:
        # Nothing here knows a browser's cookies, so what a page may read or send needs no list.
        endpoint = CORSMiddleware(
            endpoint,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    return endpoint


def _routed(lifecycle: Lifecycle, protocols: Spoken, lifespan: Lifespan[FastAPI], *, keys: bool) -> FastAPI:
    """What answers every path but those of predictions, which it describes; `keys`: that callers must have some."""
    settings = lifecycle.settings
    app = FastAPI(
        title="Valence",
        version=VERSION,
        summary="Predictions on CPUs.",
        lifespan=lifespan,
        root_path=settings.root_path or "",
        docs_url=None,  # page.py has one that needs nobody else's servers
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS, the redirect would lead to http
        # FastAPI has instruments of its own: its spans would double ours, its logs hold what a refused request said.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.add_exception_handler(HTTPException, not_found)
    app.add_exception_handler(v2_models.UnknownModel, v2_models.unknown_model)
    for routes in protocols.routers:
        app.include_router(routes, dependencies=SCHEMES if keys else [])
    app.include_router(operations.router(lifecycle))
    app.include_router(summary.router(lifecycle, protocols.routes))
    app.include_router(page.router(docs=settings.docs, tabular=isinstance(lifecycle.package, TabularPackage)))
    app.mount("/static", page.files)
    return app
