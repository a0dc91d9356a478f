"""`POST /model/load` on the operations port: another version of the model without a restart (docs/versions.md).

WSGI and not ASGI, since it stands around `/metrics`, which gunicorn's parent serves where there are several workers: it
has no event loop. Off without a token.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from hmac import compare_digest
from http import HTTPStatus
from typing import Annotated, Any

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints, ValidationError

from app.errors import ErrorDetail, LoadError

PATH = "/model/load"
RUN_PATH = re.compile(re.escape(PATH) + r"/([0-9A-Za-z_-]{1,64})")
MAX_BODY_BYTES = 4_096
BEARER = {"WWW-Authenticate": 'Bearer realm="valence operations"'}

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Load = Callable[[str], Mapping[str, Any]]
"""Serves the model of this name from now on, and says which. Raises LoadError; called in a thread of its own."""
log = structlog.get_logger()


class LoadRequest(BaseModel):
    """The body of `POST /model/load`."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, StringConstraints(strict=True, pattern=r"^[^\x00-\x1f\x7f]+$", max_length=1_024)]


class Refused(Exception):
    """What is answered instead."""

    def __init__(
        self, status: HTTPStatus, kind: str, loc: list[str | int], msg: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(msg)
        self.status = status
        self.detail: ErrorDetail = {"type": kind, "loc": loc, "msg": msg}
        self.headers = headers or {}


class Admin:
    """Answers `/model/load` and what is below it; everything else goes on to `app`."""

    def __init__(self, app: Wsgi, *, token: SecretStr | None, load: Load) -> None:
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()
        self._load = load

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        if path != PATH and not path.startswith(f"{PATH}/"):
            return self._app(environ, start_response)
        headers: Mapping[str, str] = {}
        try:
            status, answer = HTTPStatus.OK, self._answer(path, environ)
        except Refused as exc:
            status, answer, headers = exc.status, {"detail": [exc.detail]}, exc.headers
        except LoadError as exc:
            status, answer = exc.status, {"detail": [{"type": "not_loaded", "loc": [], "msg": str(exc)}]}
        body = orjson.dumps(answer)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        start_response(f"{status.value} {status.phrase}", list(headers.items()))
        return [body]

    def _answer(self, path: str, environ: dict[str, Any]) -> Mapping[str, Any]:
        """Raises Refused or LoadError."""
        if self._token is None:
            raise Refused(HTTPStatus.NOT_FOUND, "not_found", ["path"], "off: VALENCE_ADMIN_TOKEN is not set")
        if environ["REQUEST_METHOD"] != "POST":
            msg = "only POST loads a model"
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", ["path"], msg, {"Allow": "POST"})
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1").partition(b" ")
        if scheme.lower() != b"bearer" or not compare_digest(token.strip(), self._token):
            log.warning("load_unauthorized", client=environ.get("REMOTE_ADDR"))
            msg = "send VALENCE_ADMIN_TOKEN as `Authorization: Bearer TOKEN`"
            raise Refused(HTTPStatus.UNAUTHORIZED, "unauthorized", ["header"], msg, BEARER)
        body = _body(environ)  # whatever it is for: unread data would reset the connection, and the answer be lost
        return self._load(_asked(path, body))


def _body(environ: dict[str, Any]) -> bytes:
    """Raises Refused for one that is too large or does not come."""
    told = environ.get("CONTENT_LENGTH") or "0"
    if not told.isdecimal() or int(told[:16]) > MAX_BODY_BYTES:
        msg = f"Content-Length is {told[:16]}, the limit {MAX_BODY_BYTES} bytes"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", ["body"], msg)
    try:
        body: bytes = environ["wsgi.input"].read(int(told))
    except TimeoutError as exc:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "too_slow", ["body"], "the body did not come in time") from exc
    return body


def _asked(path: str, body: bytes) -> str:
    """The name of the model that a path and a body ask for. Raises Refused."""
    if run := RUN_PATH.fullmatch(path):
        return f"runs:/{run[1]}/package"
    if path != PATH:
        msg = f"{path[len(PATH) + 1 :][:80]!r} is no id of a run: 1 to 64 letters, digits, - and _"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "run_id", ["path"], msg)
    try:
        return LoadRequest.model_validate_json(body).model
    except ValidationError as exc:
        fault = exc.errors(include_url=False)[0]
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, fault["type"], ["body", *fault["loc"]], fault["msg"]) from exc
