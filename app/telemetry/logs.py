"""JSON logs to standard output, one line an event, from our code and from the servers below it alike.

Nobody waits for a log line: lines are handed to a thread that writes them together. What standard output does not
take in time, be it a full pipe, a full disk or a reader that has gone, is dropped and counted.
"""

import atexit
import json
import logging.config
import os
import threading
from typing import Any

import orjson
import structlog

WRITE_SECONDS = 0.05
"""How long a line may wait for others. A crash loses at most the lines of this time."""
MAX_WAITING_BYTES = 4_194_304
CLOSE_SECONDS = 1.0
"""How long the end of the process waits for what is still to be written."""


class LineWriter:
    """A stream for whole lines, written to a file descriptor by a thread of its own. Safe to use from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()  # guards the three below
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.dropped = 0
        """Lines that were not written, since the start of this process."""
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        # A fork takes neither the thread along nor what waits, which the parent writes.
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def write(self, line: str | bytes) -> None:
        """Queue a line; returns at once. It is dropped while `MAX_WAITING_BYTES` wait already."""
        data = line if isinstance(line, bytes) else line.encode(errors="backslashreplace")
        with self._lock:
            if self._waiting_bytes > MAX_WAITING_BYTES:
                self.dropped += 1
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Do nothing: the thread writes soon. Streams have this method."""

    def close(self) -> None:
        """Write what waits, for at most `CLOSE_SECONDS`."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _forget(self) -> None:
        self._lock, self._waiting, self._waiting_bytes, self._thread = threading.Lock(), [], 0, None
        self._wake, self._closing = threading.Event(), threading.Event()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(WRITE_SECONDS)
            self._wake.clear()
            self._write_waiting()

    def _write_waiting(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
        data = memoryview(b"".join(lines))
        size, lost = len(data), 0
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # a full disk, or nobody reads any more
            lost = bytes(data).count(b"\n")
        with self._lock:
            self._waiting_bytes -= size
            self.dropped += lost


stdout = LineWriter(1)
SHARED: list[structlog.typing.Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.MaybeTimeStamper(fmt="iso"),
    # Without local variables: they hold the texts of the request and the password in the Redis URL.
    structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
]


def to_json(event: Any, **_: Any) -> bytes:
    """One event as a JSON line; what UTF-8 cannot encode (lone surrogates) is escaped."""
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return json.dumps(event, default=repr).encode() + b"\n"


def configure_logging(level: str) -> None:
    """Send every log of this process, at `level` or above, to standard output as JSON."""
    logging.config.dictConfig(logging_dict(level))
    structlog.configure(
        processors=[*SHARED, structlog.processors.JSONRenderer(serializer=to_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: LineLogger(),
        cache_logger_on_first_use=True,
    )


class LineLogger:
    """What structlog writes rendered lines with, whatever their level."""

    info = debug = warning = error = critical = exception = msg = staticmethod(stdout.write)


def logging_dict(level: str) -> dict[str, Any]:
    """The same for libraries that use `logging` (gunicorn, uvicorn, asyncio): a config for `logging.config`."""
    handlers = {"handlers": ["stdout"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(serializer=lambda event, **_: to_json(event)[:-1].decode()),
                ],
            }
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://app.telemetry.logs.stdout",
                "formatter": "json",
            }
        },
        "root": {"handlers": ["stdout"], "level": level.upper()},
        # uvicorn logs each request as well; ours is the one line.
        "loggers": {
            "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
            "gunicorn.error": handlers,
        },
    }
