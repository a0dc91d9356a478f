"""What the service refuses, each refusal with its status and its type.

    AppError
    ├── Malformed           400  not HTTP/1.1
    ├── Unauthorized        401  no API key, or none that is known
    ├── TooSlow             408  the body did not come within VALENCE_TIMEOUT seconds
    ├── SlowHead            408  the same for the head
    ├── TooLarge            413  more bytes or texts than the limit
    ├── UrlTooLong          414  a longer URL than the limit
    ├── UnsupportedEncoding 415  a compressed body
    ├── InvalidRequest      422  the body is not what the schema asks for
    ├── Overloaded          429  the queue is full; come back after `Retry-After`
    ├── RateLimited         429  the caller asks for more than its key allows in a second
    ├── QuotaUsed           429  the same for a day
    ├── HeadTooLarge        431  more header lines or bytes than the limit
    ├── NotReady            503  loading, failed its golden check, or draining
    ├── TooManyConnections  503  all connections are busy
    ├── TooManyBodies       503  too many bytes of bodies are being received
    └── TimedOut            504  not served within VALENCE_TIMEOUT seconds

Every error body has one shape, FastAPI's own: `{"detail": [{"type": ..., "loc": [...], "msg": ...}]}`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypedDict

REASON_CHARACTERS = 400


class ErrorDetail(TypedDict):
    """One thing that is wrong: a stable type, the place in the request, and a sentence."""

    type: str
    loc: Sequence[str | int]
    msg: str


class AppError(Exception):
    """An expected refusal; `app.http.refusals` turns it into a response."""

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


class Malformed(AppError):
    """What was received is not a request in HTTP/1.1; its connection ends."""

    status = HTTPStatus.BAD_REQUEST
    type = "malformed_request"
    reason = "malformed"


class Unauthorized(AppError):
    """Nobody who may call."""

    status = HTTPStatus.UNAUTHORIZED
    type = "unauthorized"
    reason = "unauthorized"


class TooSlow(AppError):
    """The client did not send its whole body in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    type = "too_slow"
    reason = "slow_body"


class SlowHead(TooSlow):
    """The client did not send its whole head in time; its connection ends."""

    reason = "slow_head"


class HeadTooLarge(AppError):
    """The head of a request exceeds a bound; its connection ends."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    type = "head_too_large"
    reason = "head_too_large"


class UrlTooLong(AppError):
    """The URL exceeds a bound; its connection ends."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    type = "url_too_long"
    reason = "url_too_long"


class UnsupportedEncoding(AppError):
    """The body is compressed, which is not undone here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    type = "unsupported_encoding"
    reason = "invalid"


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


class RateLimited(AppError):
    """The caller asks for more than its key allows; a moment later it may again."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "rate_limited"
    reason = "rate_limit"


class QuotaUsed(AppError):
    """The caller has had what its key allows in a day."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "quota_used"
    reason = "quota"


class NotReady(AppError):
    """The model cannot answer yet, or this process is going away."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    type = "not_ready"
    reason = "not_ready"


class TooManyConnections(AppError):
    """Every connection that may be open is busy."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    type = "too_many_connections"
    reason = "connections"


class TooManyBodies(AppError):
    """Bodies of other requests take all the memory that there is for them."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    type = "too_many_bodies"
    reason = "bodies"


class TimedOut(AppError):
    """The request waited longer than the timeout and was dropped before inference."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    type = "timed_out"
    reason = "timeout"


class PackageError(Exception):
    """The model package cannot be used; stops the start. Says which file, what was expected and what was found."""


class LoadError(Exception):
    """Another version of the model was not loaded, and the one before goes on; says why, with a status."""

    def __init__(self, status: HTTPStatus, msg: str) -> None:
        super().__init__(msg)
        self.status = status


def one_line(exc: BaseException) -> str:
    """What a library says of its failure, in one line of at most `REASON_CHARACTERS`."""
    line = " ".join(str(exc).split()) or type(exc).__name__
    return line if len(line) <= REASON_CHARACTERS else f"{line[:REASON_CHARACTERS]} ..."
