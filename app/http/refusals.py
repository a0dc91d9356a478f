"""Every error as JSON in the one shape that FastAPI has too: `{"detail": [{"type", "loc", "msg"}]}`."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from app.errors import AppError, Malformed
from app.telemetry.metrics import REJECTED

BUG = "This is a bug of ours; the log has it under the request id."


def refused(exc: AppError, body: dict[str, Any] | None = None) -> JSONResponse:
    """What we refuse, each with its status; counted by its reason. Another protocol gives the `body` in its shape."""
    REJECTED[exc.reason].inc()
    return JSONResponse(body or {"detail": exc.details}, exc.status, dict(exc.headers or {}))


async def not_found(request: Request, exc: Exception) -> Response:
    """The router's own refusals: 404, and 405, which answers OPTIONS: both say what is allowed."""
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = {*headers["Allow"].split(", "), *methods_of_routes(request)}
        headers["Allow"] = ", ".join(sorted(allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())))
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    kind = exc.detail.lower().replace(" ", "_")
    return JSONResponse({"detail": [{"type": kind, "loc": ["path"], "msg": exc.detail}]}, exc.status_code, headers)


def methods_of_routes(request: Request) -> set[str]:
    """What the path of a request may be asked by: the router itself tells only those of the first route."""
    return {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    }


def refusal_before(scope: Scope) -> JSONResponse | None:
    """What is wrong with a request whatever it asks for, if anything: its connection ends with the answer.

    That is what the protocol below has found (worker.py), or its `Host`, which RFC 9112, 3.2 asks for, once.
    """
    exc: AppError | None = scope.get("state", {}).get("refusal")
    if exc is None:
        hosts = sum(name == b"host" for name, _ in scope["headers"])
        if hosts == 1 or (hosts == 0 and scope["http_version"] == "1.0"):
            return None
        exc = Malformed(f"there are {hosts} Host headers instead of one")
    exc.headers = {"Connection": "close", **(exc.headers or {})}
    return refused(exc)


def bug() -> JSONResponse:
    """An exception that nobody expected."""
    return JSONResponse({"detail": AppError(BUG).details}, AppError.status)
