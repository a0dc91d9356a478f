"""Who may call: with keys on, every request needs one, whatever its protocol, but for what tells no one anything.

Stands inside `Observe`, so that refusals have an id, are counted and logged, and around everything that answers.
"""

from collections.abc import Awaitable, Mapping
from typing import Any

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import AppError, Unauthorized
from app.http.observe import PATH, Exchange
from app.http.protocols.inference import one_sentence
from app.http.protocols.tei import tei_error
from app.http.refusals import refused
from app.keys.account import Account
from app.keys.accounts import Accounts

OPEN = frozenset(
    {
        *("/", "/docs", "/openapi.json"),
        *("/health", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics/summary"),
    }
)
"""What may be read without a key, beside the page's own files: nothing of a text, nothing that costs an inference."""
STATIC = "/static/"
READING = ("GET", "HEAD")
SCHEMES = [
    Security(HTTPBearer(auto_error=False, description="The API key.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="The same in a header of its own.")),
]
"""What `/openapi.json` says of it: either is enough."""
HOW = "send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"


class Auth:
    """Middleware: finds the account of each request by its key."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self._app = app
        self._accounts = accounts

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """OPTIONS passes, too: browsers send no key with it, and it does nothing.

        No coroutine itself, but gives the one that answers: another one would cost each hit a quarter microsecond.
        """
        if scope["type"] != "http" or (scope["method"] != "POST" and is_open(scope)):
            return self._app(scope, receive, send)
        exchange: Exchange = scope["state"]["exchange"]
        try:
            account = self._account(exchange.headers)
            account.admit()
        except AppError as exc:
            exchange.span.set_attribute("valence.rejected", exc.reason)
            return refused(exc, body_of(exc, scope["path"].rstrip("/") or "/"))(scope, receive, send)
        exchange.account = account
        return self._app(scope, receive, send)

    def _account(self, headers: Mapping[bytes, bytes]) -> Account:
        """Raises Unauthorized, which never repeats what was sent."""
        key = headers.get(b"x-api-key") or bearer(headers.get(b"authorization", b""))
        account = self._accounts.find(key) if key else None
        if account is None:
            msg = f"this key is not known: {HOW}" if key else f"there is no key: {HOW}"
            raise Unauthorized(msg, loc=["header"], headers={"WWW-Authenticate": 'Bearer realm="valence"'})
        return account


def body_of(exc: AppError, path: str) -> dict[str, Any] | None:
    """The refusal in the shape of the protocol that the path is of; None: our own.

    At `/predict` only the body tells TEI from our own API, and a stranger's body is not read: there it has both shapes.
    """
    if path in ("/info", PATH):
        return tei_error(exc) | ({"detail": exc.details} if path == PATH else {})
    return one_sentence(exc) if path == "/" or path.startswith("/v2") else None


def is_open(scope: Scope) -> bool:
    """Whether a request needs no key."""
    method, path = scope["method"], scope["path"]
    reads = method in READING and (path.startswith(STATIC) or (path.rstrip("/") or "/") in OPEN)
    return reads or method == "OPTIONS"


def bearer(authorization: bytes) -> bytes:
    """The token of RFC 6750, 2.1; empty for any other scheme."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""
