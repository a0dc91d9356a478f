"""Where Redis is, read from one URL.

    redis://[[user]:password@]host[:port][/db]     plain TCP
    rediss://[[user]:password@]host[:port][/db]    TLS; the server's certificate is checked
    unix://[[user]:password@]/path/to/socket       a socket in the file system

Options behind a question mark: `db`, `username`, `password`, and with TLS `ssl_ca_certs` (file; otherwise the system's
authorities), `ssl_cert_reqs` (required, none), `ssl_check_hostname` (true, false), `ssl_certfile` and `ssl_keyfile`
(our own certificate). Names and meanings are redis-py's. Credentials are percent-encoded where needed.
"""

import ssl
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

DEFAULT_PORT = 6379
MAX_DB = 2**31 - 1
CREDENTIALS = {"db", "username", "password"}
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS = {"ssl_cert_reqs", "ssl_check_hostname", *FILES}
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class RedisAddress(NamedTuple):
    """Where to connect, and as whom."""

    host: str
    port: int
    path: str
    """Of a Unix socket; empty for TCP."""
    db: int
    username: str
    password: str
    tls: ssl.SSLContext | None


def parse_redis_url(url: str) -> RedisAddress:
    """Raises ValueError, which says what is wrong and never repeats credentials."""
    parts = urlsplit(url)
    unix = parts.scheme == "unix"
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("should start with redis://, rediss:// or unix://")
    options = _options(parts)
    if unix and not parts.path.strip("/"):
        raise ValueError("should name a socket, such as unix:///run/redis/redis.sock")
    return RedisAddress(
        host="" if unix else unquote(parts.hostname or "localhost"),
        port=0 if unix else _port(parts),
        path=unquote(parts.path) if unix else "",
        db=_db(options.get("db", "0" if unix else unquote(parts.path).strip("/") or "0")),
        username=options.get("username", unquote(parts.username or "")),
        password=options.get("password", unquote(parts.password or "")),
        tls=_tls(options) if parts.scheme == "rediss" else None,
    )


def _options(parts: SplitResult) -> dict[str, str]:
    known = CREDENTIALS | TLS if parts.scheme == "rediss" else CREDENTIALS
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"{name!r} is no option of {parts.scheme}://; there are {', '.join(sorted(known))}")
        if name in options:
            raise ValueError(f"{name!r} stands there twice")
        options[name] = value
    return options


def _port(parts: SplitResult) -> int:
    try:
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        # Not repeated: behind an unescaped "/" or "#" in a password it would be a part of that.
        raise ValueError("the port should be a number from 1 to 65535 (credentials need percent-encoding)") from None
    return port


def _db(value: str) -> int:
    if not value.isdecimal() or int(value) > MAX_DB:
        raise ValueError("the database should be a number from 0 on, as in redis://host:6379/0")
    return int(value)


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    required = options.get("ssl_cert_reqs", "required")
    if required not in ("required", "none"):
        raise ValueError(f"ssl_cert_reqs={required!r} should be required or none")
    check_hostname = options.get("ssl_check_hostname", "true").lower()
    if check_hostname not in TRUTH:
        raise ValueError(f"ssl_check_hostname={check_hostname!r} should be true or false")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("ssl_keyfile needs ssl_certfile beside it")
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as exc:  # not there, not readable, no certificate
        files = ", ".join(f"{name}={options[name]!r}" for name in FILES if name in options)
        raise ValueError(f"{files}: {exc}") from exc
    context.check_hostname = TRUTH[check_hostname] and required == "required"
    if required == "none":
        context.verify_mode = ssl.CERT_NONE
    return context
