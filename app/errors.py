"""What the service refuses, each refusal with its status and its type.

    AppError
    ├── InvalidRequest     422  the body is not what the schema asks for
    ├── TooSlow            408  the body did not come within VALENCE_TIMEOUT seconds
    ├── TooLarge           413  more bytes or texts than the limit
    ├── Overloaded         429  the queue is full; come back after `Retry-After`
    ├── NotReady           503  loading, failed its golden check, or draining
    └── TimedOut           504  not served within VALENCE_TIMEOUT seconds

Every error body has one shape, FastAPI's own: `{"detail": [{"type": ..., "loc": [...], "msg": ...}]}`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypedDict


class ErrorDetail(TypedDict):
    """One thing that is wrong: a stable type, the place in the request, and a sentence."""

    type: str
    loc: Sequence[str | int]
    msg: str


class AppError(Exception):
    """An expected refusal; `replies.refusal` turns it into a response."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    type = "internal_error"
    reason = "bug"
    """Why a request was refused, in the metrics."""

    def __init__(self, msg: str, *, loc: Sequence[str | int] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(msg)
        self.details: list[ErrorDetail] = [{"type": self.type, "loc": loc, "msg": msg}]
        self.headers = headers


class InvalidRequest(AppError):
    """The body is malformed; carries one detail for each fault."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "invalid_request"
    reason = "invalid"

    def __init__(self, details: list[ErrorDetail]) -> None:
        super().__init__("invalid request")
        self.details = details


class TooSlow(AppError):
    """The client did not send its whole body in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    type = "too_slow"
    reason = "slow_body"


class TooLarge(AppError):
    """The request holds more than a limit allows; a smaller one would be served."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    type = "too_large"
    reason = "too_large"


class Overloaded(AppError):
    """The queue is full; the caller may retry after a pause."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "overloaded"
    reason = "queue_full"


class NotReady(AppError):
    """The model cannot answer yet, or this process is going away."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    type = "not_ready"
    reason = "not_ready"


class TimedOut(AppError):
    """The request waited longer than the timeout and was dropped before inference."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    type = "timed_out"
    reason = "timeout"


class PackageError(Exception):
    """The model package cannot be used; stops the start. Says which file, what was expected and what was found."""
