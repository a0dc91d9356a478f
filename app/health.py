"""Whether the process is alive, whether it may be sent requests, and which model answers."""

from dataclasses import asdict
from http import HTTPStatus

from fastapi import APIRouter, Response

from app.cpu import cpu_flags, cpu_name
from app.dependencies import LifecycleDep
from app.schemas import CpuFacts, EngineFacts, Health, ModelInfo, ProfileFacts, Readiness, ThreadFacts

router = APIRouter()


@router.get("/health")
async def health() -> Health:
    """Whether the process answers; says nothing about the model."""
    return Health(status="healthy")


@router.get("/livez")
async def livez() -> Health:
    """For the liveness probe: a process that does not answer this should be restarted."""
    return Health(status="healthy")


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready; `status` says why."}})
async def readyz(lifecycle: LifecycleDep, response: Response) -> Readiness:
    """For the readiness probe: 503 until the model is loaded, checked and warm, and again from SIGTERM on."""
    if lifecycle.status != "ready":
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(status=lifecycle.status)


@router.get("/model/info")
async def model_info(lifecycle: LifecycleDep) -> ModelInfo:
    """The model that answers, and what it runs on."""
    manifest, profile = lifecycle.package.manifest, lifecycle.package.profile
    return ModelInfo(
        name=manifest.name,
        source=manifest.source.model_dump(),
        revision=manifest.source.revision,
        digest=lifecycle.package.digest,
        licence=manifest.licence,
        labels=manifest.labels,
        max_tokens=manifest.max_tokens,
        quantisation=manifest.quantisation,
        accuracy=manifest.accuracy,
        profile=None if profile is None else ProfileFacts(data=profile.data, texts=profile.texts),
        golden_difference=lifecycle.golden_difference,
        cpu=CpuFacts(name=cpu_name(), flags=cpu_flags()),
        threads=ThreadFacts(**asdict(lifecycle.plan)),
        engine=EngineFacts(name=lifecycle.engine[0], reason=lifecycle.engine[1]) if lifecycle.engine else None,
    )
