"""JSON logs to standard output, one line an event, from our code and from the servers below it alike."""

import logging.config
import sys
from typing import Any

import structlog

TIMESTAMPER = structlog.processors.TimeStamper(fmt="iso", utc=True)
SHARED: list[structlog.typing.Processor] = [
    structlog.processors.add_log_level,
    TIMESTAMPER,
    # Without local variables: they hold the texts of the request and the password in the Redis URL.
    structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
]


def configure_logging(level: str) -> None:
    """Send every log of this process, at `level` or above, to standard output as JSON."""
    logging.config.dictConfig(logging_dict(level))
    structlog.configure(
        processors=[*SHARED, structlog.processors.JSONRenderer(ensure_ascii=False)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )


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
                    structlog.processors.JSONRenderer(ensure_ascii=False),
                ],
            }
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": level.upper()},
        # uvicorn logs each request as well; ours is the one line.
        "loggers": {
            "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
            "gunicorn.error": handlers,
        },
    }
