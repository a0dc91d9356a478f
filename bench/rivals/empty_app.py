"""The HTTP limit: an ASGI application that reads the body and answers EMPTY_BYTES bytes, and does nothing else."""

import os

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

BODY = b" " * int(os.environ.get("EMPTY_BYTES", "96"))
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer every request with the same body; has no lifespan."""
    if scope["type"] != "http":
        raise NotImplementedError
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": False})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})
