"""Settings of the training service, all from the environment; docs/training-service.md has the same table."""

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_export.tracking import VARIABLE
from training.errors import TrainingError

PREFIX = "VALENCE_TRAINING_"


class Settings(BaseSettings):
    """Read once at the start, then passed by argument; a wrong value stops the start. An empty one counts as unset."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    tracking_uri: str = Field(validation_alias=VARIABLE)
    """MLflow's server, which keeps every run, its metrics and its files; needed."""
    host: str = "127.0.0.1"
    """Address to listen on. Whoever reaches it can use this machine's CPUs for hours: leave it on loopback."""
    port: int = Field(8100, ge=1, le=65_535)
    """Port to listen on."""
    token: SecretStr | None = Field(None, min_length=16)
    """What callers must send as `Authorization: Bearer TOKEN`, of 16 characters or more. Unset: everyone may call."""
    queue: int = Field(8, ge=1, le=100)
    """Trainings that may wait while one runs; more answer 429."""
    timeout_seconds: float = Field(3_600, gt=0, le=604_800)
    """Time for one training; one that takes longer is ended and has failed."""
    answer_seconds: float = Field(60, ge=0, le=3_600)
    """How long `POST /train` waits for the training of a table before it answers 202."""
    max_body_bytes: int = Field(16_777_216, ge=1, le=268_435_456)
    """Bytes of one request body; more answer 413. Each training that waits holds its body in memory."""


def read_settings() -> Settings:
    """Read the environment. Raises TrainingError with one line that names each wrong variable and its value."""
    try:
        return Settings()
    except ValidationError as exc:
        raise TrainingError("; ".join(f"{_variable(error['loc'])}: {_fault(error)}" for error in exc.errors())) from exc


def _variable(loc: tuple[int | str, ...]) -> str:
    return VARIABLE if loc[0] == VARIABLE else PREFIX + str(loc[0]).upper()


def _fault(error: object) -> str:
    assert isinstance(error, dict)
    if error["type"] == "missing":
        return "is not set; it names MLflow's server, such as http://127.0.0.1:5000"
    said = str(error["msg"])
    return said if error["loc"] == ("token",) else f"{said}, got {error['input']!r}"
