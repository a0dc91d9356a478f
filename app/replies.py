"""What goes back to a client, before the headers that every response has."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.errors import AppError

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps would make one each time
Headers = list[tuple[bytes, bytes]]
JSON_TYPE = (b"content-type", b"application/json")


@dataclass
class Reply:
    """A whole response, and what the log should know about the request."""

    status: int
    headers: Headers
    body: bytes
    answers: Sequence[Any] = ()
    """What was said of each text, for the metrics."""
    fields: str = ""
    """Members of a JSON object for the log line, each with a comma and a space behind it."""

    @cached_property
    def head(self) -> bytes:
        """The headers as they are sent."""
        return b"".join([b"%b: %b\r\n" % header for header in self.headers])


def refusal(exc: AppError) -> Reply:
    """The one shape of every error."""
    body = _to_json({"detail": exc.details}).encode()
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in (exc.headers or {}).items()]
    return Reply(exc.status, headers, body)
