"""Start the training service: `python -m training.service` (docs/training-service.md)."""

import sys

import uvicorn

from model_export.progress import note
from training.errors import TrainingError
from training.service.app import create_app
from training.service.settings import read_settings

MAX_CONNECTIONS = 128
"""More answer 503; one that waits for its table, or asks for a status, is one."""


FAREWELL_SECONDS = 5
"""After SIGTERM: how long callers who wait are kept; then the training that runs ends, too."""


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit status."""
    try:
        settings = read_settings()
    except TrainingError as exc:
        note(f"error: {exc}")
        return 1
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=FAREWELL_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
