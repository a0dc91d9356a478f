"""gunicorn's worker: uvicorn with our protocol, ended in good order whoever ends it."""

import resource
import signal
import sys
from functools import partial
from os import getppid
from pathlib import Path
from socket import socket
from typing import Any

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

from app.errors import PackageError
from app.http.protocol import Limits, Protocol
from app.settings import SettingsError, read_settings

SPARE_FILES = 24
"""Open files that are kept for what is no client: Redis, the metrics' port, what is being loaded."""
NOTIFY_SECONDS = 0.9
"""How often a worker looks whether it should end; uvicorn asks ten times a second whether that time has passed."""


class Worker(UvicornWorker):  # type: ignore[misc]
    """gunicorn's worker with this protocol."""

    CONFIG_KWARGS = {  # noqa: RUF012 - as uvicorn-worker has it
        "loop": "uvloop",
        "ws": "none",
        "proxy_headers": False,  # they would change an ASGI request's scheme and client, and no prediction's
        "server_header": False,  # tells nobody anything but what to attack, and takes 2 us of each response
    }

    sockets: list[socket]
    max_requests: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        settings = read_settings()
        self.limits = Limits(seconds=settings.timeout, max_connections=settings.max_connections)
        self.config.http = partial(Protocol, limits=self.limits)
        self.config.limit_max_requests = None  # uvicorn would close idle connections without a warning: see below
        self.config.timeout_notify = NOTIFY_SECONDS

    def load_wsgi(self) -> None:
        """Build the application. What cannot work ends the parent, too, with one line."""
        try:
            super().load_wsgi()
        except (PackageError, SettingsError) as exc:
            self.log.error("%s", exc)  # noqa: TRY400 - the message is the whole story
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def run(self) -> None:
        """Serve until told to end."""
        # Sockets of our own: gunicorn's would be closed by two, and the second says that it failed. Those are closed
        # here, or the kernel would go on taking connections that nobody answers when uvicorn has closed its own.
        listeners, self.sockets = self.sockets, [listener.dup() for listener in self.sockets]
        for listener in listeners:
            listener.close()
        open_files = len(list(Path("/dev/fd").iterdir()))
        room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - open_files - SPARE_FILES
        if room < self.limits.max_connections:
            self.limits.max_connections = max(1, room)
            self.log.warning("the limit of open files leaves room for %d connections", self.limits.max_connections)
        super().run()

    async def callback_notify(self) -> None:
        """Once a second: tell the parent that this worker lives, and end without it, or after `max_requests`."""
        self.notify()
        if getppid() != self.ppid:  # killed; while this worker listened, its successor could not
            signal.raise_signal(signal.SIGINT)
        elif self.limits.state is not None and self.limits.state.total_requests >= self.max_requests:
            self.max_requests = sys.maxsize
            self.log.info("replaced after its max_requests")
            signal.raise_signal(signal.SIGTERM)  # drains, so that clients leave before their connections are closed
