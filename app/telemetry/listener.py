"""The listening socket of `/metrics`, which gunicorn's parent owns.

Apart from exposition.py, since prometheus-client decides when it is imported whether there are several workers.
"""

import os
import socket

from app.settings import SettingsError, host_and_port

inherited: socket.socket | None = None
"""The parent's, where it is this process that answers on it."""


def listen(bind: str) -> socket.socket:
    """A socket that listens on "address:port". Raises SettingsError when that cannot be had.

    Its port may be shared with the parent that takes over from this one after SIGUSR2, and with nobody else.
    """
    address = host_and_port(bind)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        if "GUNICORN_PID" not in os.environ:
            socket.create_server(address, family=family).close()
        return socket.create_server(address, family=family, reuse_port=True)
    except OSError as exc:
        raise SettingsError(f"VALENCE_METRICS_BIND={bind!r}: {exc.strerror}") from exc
