"""The endpoints of the training service."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from model_export.errors import ExportError
from model_export.tracking import Tracker
from training.service.jobs import Job, Jobs
from training.service.refusals import Refused, body_of, read, refuse
from training.service.schemas import Invalid, TabularTraining, TextTraining, Training, parse
from training.service.settings import Settings

BODY_SECONDS = 60
"""Time for a body to come."""
REFERENCE = "#/components/schemas/{model}"
REQUESTS = (TabularTraining, TextTraining)
SCHEMA = {"oneOf": [{"$ref": REFERENCE.format(model=model.__name__)} for model in REQUESTS]}
BODY = {"required": True, "content": {"application/json": {"schema": SCHEMA}}}
"""What `/openapi.json` says of a body that is read and checked here, within its bounds."""


def create_app(settings: Settings) -> FastAPI:
    """The service; its trainings begin with its lifespan, and end with it."""
    jobs = Jobs(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(jobs.work())
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    app = FastAPI(title="Valence training", lifespan=lifespan, openapi_url=None)
    app.add_exception_handler(Refused, refuse)
    app.add_exception_handler(HTTPException, refuse)
    add_routes(app, jobs, settings)
    return app


def add_routes(app: FastAPI, jobs: Jobs, settings: Settings) -> None:
    """Every endpoint."""
    allowed = [Depends(caller(settings))]

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return described(app)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/train", dependencies=allowed, openapi_extra={"requestBody": BODY})
    async def train(request: Request) -> JSONResponse:
        with jobs.place():
            body = await read(request, settings.max_body_bytes, BODY_SECONDS)
            training = await asyncio.to_thread(checked, body)
            await asyncio.to_thread(check_tracking, settings.tracking_uri)
            job = jobs.submit(body)
        if isinstance(training, TabularTraining):
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.answer_seconds):
                    await job.ended.wait()
        return answered(job)

    @app.get("/train/{job_id}", dependencies=allowed)
    async def status(job_id: str) -> dict[str, Any]:
        return state(jobs.find(job_id))

    @app.delete("/train/{job_id}", dependencies=allowed)
    async def cancel(job_id: str) -> dict[str, Any]:
        job = jobs.find(job_id)
        jobs.cancel(job)
        await job.ended.wait()
        return state(job)


def caller(settings: Settings) -> Any:
    """A dependency that raises Refused for whoever does not send the token, if there is one."""

    def check(
        sent: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))] = None,
    ) -> None:
        token = settings.token
        if token is None or (
            sent and secrets.compare_digest(sent.credentials.encode(), token.get_secret_value().encode())
        ):
            return
        msg = "send the token as `Authorization: Bearer TOKEN` (VALENCE_TRAINING_TOKEN)"
        headers = {"WWW-Authenticate": 'Bearer realm="valence-training"'}
        raise Refused(HTTPStatus.UNAUTHORIZED, msg, loc=["header"], headers=headers, unread=True)

    return check


def checked(body: bytes) -> Training:
    """The request in a body. Raises Refused for the first fault."""
    try:
        return parse(body)
    except Invalid as exc:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc), loc=["body", *exc.loc]) from exc


def check_tracking(uri: str) -> None:
    """Raises Refused when MLflow does not answer: no training begins whose run could not be kept."""
    try:
        Tracker(uri)
    except ExportError as exc:
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(exc), headers={"Retry-After": "60"}) from exc


def answered(job: Job) -> JSONResponse:
    """200 with the run, 202 with the URL of the status, or why there is none."""
    if job.failure:
        return JSONResponse(body_of(job.failure.status, str(job.failure)), job.failure.status)
    if job.result:
        return JSONResponse(state(job))
    return JSONResponse(state(job), HTTPStatus.ACCEPTED, {"Location": f"/train/{job.id}"})


def state(job: Job) -> dict[str, Any]:
    """A training as JSON."""
    return {
        "id": job.id,
        "status": job.status,
        "status_url": f"/train/{job.id}",
        **job.result,
        **({"reason": str(job.failure)} if job.failure else {}),
    }


def described(app: FastAPI) -> dict[str, Any]:
    """`/openapi.json`, with the schemas of the requests."""
    document = get_openapi(title=app.title, version="1", routes=app.routes)
    _, found = models_json_schema([(model, "validation") for model in REQUESTS], ref_template=REFERENCE)
    document["components"]["schemas"] |= found["$defs"]
    return document
