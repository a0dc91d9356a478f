"""Other ways to ask for the same: HEAD for GET, a path with a slash behind it, or with a gateway's prefix before it."""

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.settings import SettingsError


class Aliases:
    """Middleware around the router, which knows each route by one method and one path."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """HEAD is answered as GET, and the server leaves the body away."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"].rstrip("/") or "/"
        # As ASGI has it, the path begins with the root path, whether the gateway has kept that or not.
        asked = {**scope, "method": "GET" if method == "HEAD" else method, "path": self._app.root_path + path}
        try:
            await self._app(asked, receive, send)
        finally:
            if "route" in asked:  # the router's; metrics and spans are by route
                scope["route"] = asked["route"]


class Unprefixed:
    """Middleware around everything: takes the prefix that a gateway has kept off the path.

    Raises SettingsError for a prefix which is a path of the API: nobody could tell whether it was kept.
    """

    def __init__(self, app: ASGIApp, router: FastAPI) -> None:
        self._app = app
        self._prefix = router.root_path
        for path in (*router.openapi()["paths"], "/docs", "/openapi.json", "/static"):
            if f"{path}/".startswith(f"{self._prefix}/"):
                raise SettingsError(f"VALENCE_ROOT_PATH={self._prefix!r}: the API has {path} itself")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whoever wraps this sees the path as it came."""
        path = scope.get("path", "")
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            scope = {**scope, "path": path.removeprefix(self._prefix)}
        await self._app(scope, receive, send)
