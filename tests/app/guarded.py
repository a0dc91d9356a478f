"""The service as a user may run it: under uvicorn, behind a middleware of their own that wants a password."""

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.worker import Protocol
from app.main import create_app
from app.settings import host_and_port, read_settings

AUTHORIZATION = b"Bearer open-sesame"
BODY = b"who are you?"


class Guard:
    """Answers 401 itself to whoever does not know the password."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or dict(scope["headers"]).get(b"authorization") == AUTHORIZATION:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    host, port = host_and_port(read_settings().bind)
    uvicorn.run(Guard(create_app()), host=host, port=port, http=Protocol, loop="uvloop", log_config=None)
