"""Every setting: the only reader of the environment (prefix `VALENCE_`, https://12factor.net/config)."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "VALENCE_"
PASSWORD = re.compile(r"(?<=//).*(?=@)|(?<=password=)[^&']*")
"""The credentials in a URL: never to be logged."""
REDIS_PATHS = {
    "redis": r"/?\d*",
    "rediss": r"/?\d*",
    "unix": r"/.+",
    "redis+sentinel": r"/[^/]+(/\d*)?",
    "rediss+sentinel": r"/[^/]+(/\d*)?",
    "redis+cluster": r"/?0?",
    "rediss+cluster": r"/?0?",
}
"""The schemes of a Redis URL, and what may stand between its hosts and its options."""
ORIGIN = r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:\d{1,5})?|[a-z][a-z0-9+.-]*://\[[0-9a-f:.]+\](:\d{1,5})?"
"""As a browser writes it in `Origin` (https://www.rfc-editor.org/rfc/rfc6454#section-6.1), or any."""
MAX_PORT = 65_536
MIN_DRIFT_TEXTS = 500
"""Fewer texts say nothing of drift; app/scoring/served.py has the reason."""
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


def redis_nodes(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """`user:password@a:7000,b` -> [("a", 7000), ("b", default_port)]. Raises ValueError for a wrong port."""
    nodes = []
    for node in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{node}")
        try:
            port = default_port if parts.port is None else parts.port
        except ValueError:
            port = 0
        if not port:
            # Not repeated: behind an unescaped "/" or "#" in a password it would be a part of that.
            raise ValueError("the port should be a number from 1 to 65535 (credentials need percent-encoding)")
        nodes.append((parts.hostname or "localhost", port))
    return nodes


def _is_redis_url(value: str) -> str:
    """The shape only; redis-py says more when the tier is made."""
    scheme, _, rest = value.partition("://")
    if scheme not in REDIS_PATHS:
        raise ValueError(f"should start with one of {', '.join(f'{scheme}://' for scheme in REDIS_PATHS)}")
    netloc, slash, path = rest.partition("?")[0].partition("/")
    if scheme != "unix":
        redis_nodes(netloc, 1)
    if not re.fullmatch(REDIS_PATHS[scheme], slash + path):
        raise ValueError(
            "should be like redis://host:6379/0 (the last being the database), unix:///run/redis/redis.sock, "
            "redis+sentinel://host:26379,host2/mymaster/0 or redis+cluster://host:6379,host2"
        )
    return value


def _comma_separated(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _is_origin(value: str) -> str:
    if not re.fullmatch(ORIGIN, value):
        raise ValueError(
            f"{value!r} should be * or SCHEME://HOST[:PORT] in lower case, such as https://app.example.com"
        )
    return value


EngineChoice = Literal["auto", "native", "onnxruntime"]
Origins = tuple[Annotated[str, AfterValidator(_is_origin)], ...]
Address = Annotated[str, AfterValidator(_has_port)]
AddressOrNone = Annotated[str, AfterValidator(lambda value: value and _has_port(value))]


class Settings(BaseSettings):
    """Read once at the start, then passed by argument; a wrong value stops the start."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True, extra="ignore")

    bind: Address = "127.0.0.1:8000"
    """Address and port of the API. Use 0.0.0.0:8000 in a container."""
    metrics_bind: AddressOrNone = "127.0.0.1:9090"
    """Address and port of `/metrics`, apart from the API so that no ingress exposes it. Empty: no metrics server."""
    root_path: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9._~-]+)*$", max_length=256)] | None = None
    """Path under which a gateway offers the API, such as /valence, whether it passes that on or takes it off."""
    cors_origins: Annotated[Origins | None, NoDecode, BeforeValidator(_comma_separated)] = None
    """Origins whose pages may call the API from a browser, by commas, such as https://app.example.com; * for all."""
    docs: bool = True
    """Offer `/docs`, where the API can be tried in a browser. `/openapi.json` is always there: clients read it."""
    workers: int = Field(1, ge=1, le=64)
    """Processes. Each holds its own model; more pods scale better than more workers."""
    model_dir: str = str(BUNDLED_MODEL)
    """Folder of the model package, as `python -m model_export` writes it, or a name to fetch it by, such as
    models:/NAME@champion (docs/registry.md)."""
    model_cache_dir: Path = Path("~/.cache/valence")
    """Folder that keeps the packages fetched by name, so that a start needs no registry that is up."""
    engine: EngineChoice = "auto"
    """What computes the model: `native` (DistilBERT on AVX512-VNNI), `onnxruntime`, or `auto`: native where it can."""
    threads: int = Field(0, ge=0, le=256)
    """Inference threads of one worker. 0: from the CPU quota of the cgroup. More than the quota is throttled."""
    max_batch_tokens: int = Field(128, ge=0, le=1_048_576)
    """Tokens, padding included, of texts that may share an inference: saves up to a fifth of the CPU. 0: each alone."""

    redis_url: Annotated[str, AfterValidator(_is_redis_url)] | None = None
    """Second cache tier shared by all pods, such as redis://:password@redis:6379/0, by TLS, sentinels or a cluster
    (docs/deploy.md). Unset: in-process only."""
    redis_timeout_seconds: float = Field(0.04, gt=0, le=1)
    """Time for one look-up in Redis; no request waits longer than this and a quarter. Too low: needless misses."""
    cache_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    """Secret of 16 characters or more, the same for all pods that share a Redis. Unset: derived from the model."""
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

    admin_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """Who bears it may load another model by `POST /model/load` on the metrics' port (docs/versions.md). Unset: off."""
    api_keys_file: Path | None = None
    """File of the API keys that callers must have, with their limits (docs/security.md). Unset: everyone may call."""

    max_texts: int = Field(128, ge=1, le=100_000)
    """Texts in one request; more answer 413."""
    max_text_characters: int = Field(100_000, ge=1, le=100_000_000)
    """Characters in one text; more answer 422. What the model does not read is cut and reported in `X-Truncated`."""
    max_body_bytes: int = Field(1_048_576, ge=1, le=1_073_741_824)
    """Bytes of one request body; more answer 413 before parsing."""
    max_bodies_bytes: int = Field(67_108_864, ge=1, le=68_719_476_736)
    """Bytes of all bodies that one worker is receiving; more answer 503."""
    max_connections: int = Field(2_048, ge=1, le=1_000_000)
    """Connections of one worker, fewer where open files are limited. Idle ones make room; if all are busy, 503."""
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
