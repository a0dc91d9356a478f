"""Whether requests are traced: only where OpenTelemetry's own variables say so, and the optional extra is installed.

A platform may set these variables for every pod of a cluster, so nothing that is wrong with them stops the service: it
answers without traces, and says why in its log.
"""

import os
from socket import gethostname
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

if TYPE_CHECKING:
    from app.otlp_export import OtlpSpans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
"""Of OTLP's two, the one that needs no gRPC (a wheel of 10 MB); collectors take it too, as a rule on port 4318."""

log = structlog.get_logger()


def start_tracing(version: str, *, workers: int) -> "OtlpSpans | None":
    """Where spans go; None when nobody wants them, or they cannot be sent, which is logged as an error."""
    endpoint = _first(ENDPOINTS)
    if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    try:
        _check(*endpoint)
        from app.otlp_export import OtlpSpans  # noqa: PLC0415 - time and memory that only tracing needs

        # The host's name is the pod's in a cluster; several workers share it.
        spans = OtlpSpans(version, gethostname() if workers == 1 else f"{gethostname()}:{os.getpid()}")
    except ImportError as exc:
        log.error("tracing_unavailable", reason=f"the extra `tracing` is not installed: {exc}")  # noqa: TRY400
        return None
    except Exception as exc:  # ours, or what the SDK makes of its other variables
        log.error("tracing_unavailable", reason=str(exc))  # noqa: TRY400 - the reason is the whole story
        return None
    log.info("tracing", variable=endpoint[0], sampler=os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on"))
    return spans


def _check(variable: str, endpoint: str) -> None:
    """Raises ValueError with one line when spans could not be sent there."""
    protocol = _first(PROTOCOLS)
    if protocol is not None and protocol[1] != PROTOCOL:
        raise ValueError(f"{protocol[0]}={protocol[1]!r}: should be {PROTOCOL!r}, all that this service speaks")
    address = urlsplit(endpoint)
    if address.scheme not in ("http", "https") or not address.netloc:  # the value itself may hold a password
        raise ValueError(f"{variable}: should be a URL such as http://collector:4318")


def _first(names: tuple[str, ...]) -> tuple[str, str] | None:
    """The first of these variables that has a value, and the value."""
    return next(((name, os.environ[name].strip()) for name in names if os.environ.get(name, "").strip()), None)
