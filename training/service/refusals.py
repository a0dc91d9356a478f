"""What the training service refuses, in the shape that the API's errors have, too."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

LINGER_BYTES, LINGER_SECONDS = 16_777_216, 2.0
"""How much of a body that was refused is read on, and how long: a connection that is closed with unread data in it is
reset, and the client would lose the answer."""


class Refused(Exception):
    """An expected refusal: its status, one sentence, and the place in the request.

    `unread` means that some of the body may not have been read.
    """

    def __init__(
        self,
        status: HTTPStatus,
        msg: str,
        *,
        loc: Sequence[int | str] = (),
        headers: Mapping[str, str] | None = None,
        unread: bool = False,
    ) -> None:
        super().__init__(msg)
        self.status, self.loc, self.headers, self.unread = status, loc, dict(headers or {}), unread


def body_of(status: HTTPStatus, msg: str, loc: Sequence[int | str] = ()) -> dict[str, object]:
    """`{"detail": [{"type", "loc", "msg"}]}`, the type being the status' name."""
    return {"detail": [{"type": status.name.lower(), "loc": list(loc), "msg": msg}]}


async def refuse(request: Request, exc: Exception) -> Response:
    """FastAPI's handler of Refused, and of the router's own 404 and 405."""
    if isinstance(exc, Refused):
        if exc.unread:
            await discard(request)
            exc.headers["Connection"] = "close"
        return JSONResponse(body_of(exc.status, str(exc), exc.loc), exc.status, exc.headers)
    assert isinstance(exc, HTTPException)
    return JSONResponse(
        body_of(HTTPStatus(exc.status_code), exc.detail, ["path"]), exc.status_code, dict(exc.headers or {})
    )


async def read(request: Request, max_bytes: int, seconds: float) -> bytes:
    """The whole body. Raises Refused when it is longer than `max_bytes` or takes longer than `seconds` to come."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > max_bytes:
                    msg = f"the body exceeds the limit of {max_bytes} bytes (VALENCE_TRAINING_MAX_BODY_BYTES)"
                    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, msg, loc=["body"], unread=True)
    except TimeoutError as exc:
        msg = f"the body did not come within {seconds:g} s"
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, msg, loc=["body"], unread=True) from exc
    except ClientDisconnect as exc:  # nobody reads this
        raise Refused(HTTPStatus.BAD_REQUEST, "the connection ended before the body", loc=["body"]) from exc
    return bytes(body)


async def discard(request: Request) -> None:
    """Read on for a while, whatever has been read."""
    size, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while more and size <= LINGER_BYTES:
                message = await request.receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
