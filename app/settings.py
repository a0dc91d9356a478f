"""Every setting: the only reader of the environment (prefix `VALENCE_`, https://12factor.net/config)."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.redis_url import parse_redis_url

PREFIX = "VALENCE_"
PASSWORD = re.compile(r"(?<=//).*(?=@)|(?<=[?&]password=)[^&']*")
"""The credentials in a URL: never to be logged."""
MAX_PORT = 65_536
MIN_DRIFT_TEXTS = 500
"""Fewer texts say nothing of drift; app/drift.py has the reason."""
BUNDLED_MODEL = Path(__file__).resolve().parent.parent / "models" / "distilbert-sst2-mini"


def _has_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < MAX_PORT:
        raise ValueError("should be ADDRESS:PORT, such as 0.0.0.0:8000 or [::1]:8000, with a port from 1 to 65535")
    return value


def _enough_or_none(value: int) -> int:
    if 0 < value < MIN_DRIFT_TEXTS:
        raise ValueError(f"should be 0 or at least {MIN_DRIFT_TEXTS}: chance alone looks like drift in fewer texts")
    return value


def _is_redis_url(value: str) -> str:
    parse_redis_url(value)
    return value


EngineChoice = Literal["auto", "native", "onnxruntime"]
Address = Annotated[str, AfterValidator(_has_port)]
AddressOrNone = Annotated[str, AfterValidator(lambda value: value and _has_port(value))]


class Settings(BaseSettings):
    """Read once at the start, then passed by argument; a wrong value stops the start."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True, extra="ignore")

    bind: Address = "127.0.0.1:8000"
    """Address and port of the API. Use 0.0.0.0:8000 in a container."""
    metrics_bind: AddressOrNone = "127.0.0.1:9090"
    """Address and port of `/metrics`, apart from the API so that no ingress exposes it. Empty: no metrics server."""
    workers: int = Field(1, ge=1, le=64)
    """Processes. Each holds its own model; more pods scale better than more workers."""
    model_dir: Path = BUNDLED_MODEL
    """Folder of the model package, as `python -m model_export` writes it."""
    engine: EngineChoice = "auto"
    """What computes the model: `native` (DistilBERT on AVX512-VNNI), `onnxruntime`, or `auto`: native where it can."""
    threads: int = Field(0, ge=0, le=256)
    """Inference threads of one worker. 0: from the CPU quota of the cgroup. More than the quota is throttled."""
    max_batch_tokens: int = Field(128, ge=0, le=1_048_576)
    """Tokens, padding included, of texts that may share an inference: saves up to a fifth of the CPU. 0: each alone."""

    redis_url: Annotated[str, AfterValidator(_is_redis_url)] | None = None
    """Second cache tier shared by all pods, such as redis://:password@redis:6379/0. Unset: in-process only."""
    redis_timeout_seconds: float = Field(0.04, gt=0, le=1)
    """Time for one look-up in Redis; no request waits longer than this and a quarter. Too low: needless misses."""
    cache_ttl_seconds: float = Field(180, gt=0, le=604_800)
    """How long a text's scores are kept, minus up to 10 % at random, so that entries do not expire together."""
    cache_max_entries: int = Field(100_000, ge=0)
    """Texts kept in process. 0 turns this tier off."""
    cache_max_bytes: int = Field(33_554_432, ge=0)
    """Memory that the texts kept in process may take."""

    drift_window_texts: Annotated[int, Field(ge=0, le=50_000), AfterValidator(_enough_or_none)] = 2_000
    """Different texts, the last asked for, that are compared with the package's profile: 500 or more. 0: none are."""
    drift_window_seconds: float = Field(3_600, ge=60, le=604_800)
    """Age at which a text leaves that comparison. Too low: with little traffic there are never 500 of them."""

    max_texts: int = Field(128, ge=1, le=100_000)
    """Texts in one request; more answer 413."""
    max_text_characters: int = Field(100_000, ge=1, le=100_000_000)
    """Characters in one text; more answer 422. Text beyond the model's tokens is cut and reported in `X-Truncated`."""
    max_body_bytes: int = Field(1_048_576, ge=1, le=1_073_741_824)
    """Bytes of one request body; more answer 413 before parsing."""
    max_queue_tokens: int = Field(65_536, ge=512)
    """Tokens that may wait for inference; beyond it 429. Higher hides overload as latency; lower refuses bursts."""
    timeout: float = Field(30, gt=0, le=3600)
    """Seconds after which a request is dropped and answers 504."""
    drain_seconds: float = Field(5, ge=0, le=300)
    """After SIGTERM: how long to serve on while `/readyz` says 503, so that load balancers notice first."""

    revision: str = "unknown"
    """Commit that is running, as `valence_build_info` tells it. The image brings its own."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged. `warning` turns the line per request off."""
    log_texts: bool = False
    """Log the texts of each request. They are personal data: leave this off in production."""


def host_and_port(bind: str) -> tuple[str, int]:
    """Split "[::1]:9090" into ("::1", 9090)."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)


class SettingsError(Exception):
    """A wrong value in the environment; the message names the variable, the value and what is wrong with it."""


def read_settings() -> Settings:
    """Read the environment. Raises SettingsError with one line for each wrong value."""
    try:
        return Settings()
    except ValidationError as exc:
        lines = [
            f"{PREFIX}{str(error['loc'][0]).upper()}={PASSWORD.sub('***', repr(error['input']))}: {error['msg']}"
            for error in exc.errors()
        ]
        raise SettingsError("; ".join(lines)) from exc


def unknown_variables() -> list[str]:
    """Variables with our prefix that no setting reads: most likely a typing error, worth a warning at the start."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
