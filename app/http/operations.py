"""Whether the process is alive, whether it may be sent requests, and which model answers."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.cpu import cpu_flags, cpu_name
from app.lifecycle import Lifecycle
from app.model.tabular import Column, TabularPackage, Target


class Health(BaseModel):
    """`status` is "healthy" whenever the process answers at all."""

    status: str


class Readiness(BaseModel):
    """`status` is "ready", or why it is not."""

    status: str


class ThreadFacts(BaseModel):
    """Where the number of inference threads comes from."""

    threads: int
    quota_cores: float | None
    affinity_cores: int
    workers: int


class EngineFacts(BaseModel):
    """What computes the model: `native` or `onnxruntime`."""

    name: str
    reason: str | None = Field(description="Why it is not the native one, unless onnxruntime was asked for.")


class CpuFacts(BaseModel):
    """The CPU, and those of its instruction sets that decide how int8 runs."""

    name: str
    flags: list[str]


class ProfileFacts(BaseModel):
    """Where the package's profile comes from."""

    data: str
    texts: int


class OriginFacts(BaseModel):
    """By which name the package was fetched."""

    name: str
    stale: str | None = Field(
        description="Why the copy in the cache had to do; null: it was what the name meant at the start."
    )


class Info(BaseModel):
    """The model that answers, and what it runs on."""

    name: str
    task: str
    source: dict[str, Any]
    revision: str | None
    digest: str
    origin: OriginFacts | None = Field(description="The name that the package was fetched by; null for a folder.")
    licence: str | None
    labels: list[str]
    accuracy: dict[str, Any] | None
    intended_use: str | None = Field(description="What the model is made for, and what not.")
    profile: ProfileFacts | None = Field(
        description="Texts that live traffic is compared with; null if there are none."
    )
    golden_difference: float | None = Field(
        description="Largest difference of the golden texts' scores to those at export; null until they were checked."
    )
    cpu: CpuFacts
    threads: ThreadFacts
    engine: EngineFacts | None = Field(description="What computes the model; null until that is known.")


class ModelInfo(Info):
    """A model of texts."""

    activation: Literal["softmax", "sigmoid"] = Field(
        description="softmax: a text's scores add up to 1. sigmoid: each label has its own between 0 and 1, and a text "
        "any number of labels, those above 0.5."
    )
    max_tokens: int
    pairs: bool = Field(description="Whether it takes pairs of texts instead of texts.")
    window_tokens: int | None = Field(
        description="A text of more tokens is scored in windows of so many; null: it is cut at max_tokens."
    )
    window_overlap: int
    max_windows: int
    quantisation: dict[str, Any]
    calibration: dict[str, Any] | None = Field(
        description="The temperature that the export divided the logits by, and what it was fitted on; null if by none."
    )
    unclear_below: float | None = Field(
        description="A text whose highest score is lower has no clear label; null if the model has no such band."
    )


class TabularInfo(Info):
    """A model of rows; a regression's only label is what it predicts."""

    algorithm: str
    features: list[Column] = Field(description="The columns that a row has, with their ranges at training.")
    target: Target


def router(lifecycle: Lifecycle) -> APIRouter:
    """The endpoints that say how the process is."""
    routes = APIRouter(tags=["operation"])

    @routes.get("/health")
    async def health() -> Health:
        """Whether the process answers; says nothing about the model."""
        return Health(status="healthy")

    @routes.get("/livez")
    async def livez() -> Health:
        """For the liveness probe: a process that does not answer this should be restarted."""
        return Health(status="healthy")

    @routes.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready; `status` says why."}})
    async def readyz(response: Response) -> Readiness:
        """For the readiness probe: 503 until the model is loaded, checked and warm, and again from SIGTERM on."""
        if lifecycle.status != "ready":
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(status=lifecycle.status)

    shape = TabularInfo if isinstance(lifecycle.package, TabularPackage) else ModelInfo

    @routes.get("/model/info", response_model=shape)
    async def model_info() -> Info:
        """The model that answers, and what it runs on."""
        package, model, origin = lifecycle.package, lifecycle.model, lifecycle.fetched
        manifest, profile = package.manifest, package.profile
        facts: dict[str, Any] = {
            "source": manifest.source.model_dump(),
            "revision": manifest.source.revision,
            "digest": package.digest,
            "origin": OriginFacts(name=origin.name, stale=origin.stale) if origin.name else None,
            "profile": None if profile is None else ProfileFacts(data=profile.data, texts=profile.texts),
            "golden_difference": model and model.golden_difference,
            "cpu": CpuFacts(name=cpu_name(), flags=cpu_flags()),
            "threads": ThreadFacts(**asdict(lifecycle.plan)),
            "engine": model and EngineFacts(name=model.classifier.engine.name, reason=model.classifier.engine_reason),
        }
        # All others stand in the manifest under their names.
        return shape(**facts, **{name: getattr(manifest, name) for name in shape.model_fields.keys() - facts.keys()})

    return routes
