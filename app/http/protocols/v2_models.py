"""The rest of the Open Inference Protocol: what serves, whether it is ready, and which tensors a model takes."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.http.protocols.inference import inlined, refusals
from app.http.protocols.v2 import MODEL, MODEL_VERSION, VERSION, V2Request
from app.lifecycle import Lifecycle
from app.model.package import Manifest
from app.model.tabular import TabularManifest


class Server(BaseModel):
    """What serves, and which extensions of the protocol it knows."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the process answers."""

    live: bool


class Ready(BaseModel):
    """Whether predictions are answered."""

    ready: bool


class TensorFacts(BaseModel):
    """A tensor's name, type and shape; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class Model(BaseModel):
    """A model and its tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class OutputTensor(TensorFacts):
    """Labels or scores, highest score first, or values."""

    data: list[str] | list[float] | None = None
    parameters: dict[str, Any] | None = None


class V2Response(BaseModel):
    """What a model says."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class V2Error(BaseModel):
    """The protocol's shape of errors."""

    error: str


class UnknownModel(HTTPException):
    """There is no model of this name, or not in this version."""


NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Ready, "description": "Not ready."}}
NO_MODEL: dict[int | str, dict[str, Any]] = {404: {"model": V2Error, "description": "No such model or version."}}


def router(lifecycle: Lifecycle, version: str) -> APIRouter:
    """The protocol's other endpoints, and the description of the one that `Predict` answers before this is asked."""
    routes = APIRouter(tags=["Open Inference Protocol"])

    def known(name_: Annotated[str, Path(alias="name")]) -> None:
        name = lifecycle.package.manifest.name
        if name_ != name:
            raise UnknownModel(HTTPStatus.NOT_FOUND, f"there is no model {name_[:128]!r}: there is {name!r}")

    def known_version(version_: Annotated[str, Path(alias="version")]) -> None:
        if version_ != VERSION:
            raise UnknownModel(HTTPStatus.NOT_FOUND, f"there is no version {version_[:16]!r}: there is {VERSION!r}")

    @routes.get("/v2")
    async def server() -> Server:
        """What serves."""
        return Server(name="valence", version=version, extensions=["binary_tensor_data"])

    @routes.get("/v2/health/live")
    async def server_live() -> Live:
        """Whether the process answers."""
        return Live(live=True)

    @routes.get("/v2/health/ready", responses=NOT_READY)
    async def server_ready(response: Response) -> Ready:
        """Whether predictions are answered."""
        return readiness(lifecycle, response)

    checks = {MODEL: [Depends(known)], MODEL_VERSION: [Depends(known), Depends(known_version)]}
    for prefix, dependencies in checks.items():
        # The prefix is the routes' own, and not that of their inclusion, so that metrics have the whole template.
        of_model = APIRouter(prefix=prefix, dependencies=dependencies, responses=NO_MODEL)
        add_model(of_model, lifecycle)
        routes.include_router(of_model)
    return routes


def add_model(routes: APIRouter, lifecycle: Lifecycle) -> None:
    """The endpoints of a model, below its path."""

    @routes.get("")
    async def metadata() -> Model:
        """The model's tensors."""
        manifest = lifecycle.package.manifest
        return Model(
            name=manifest.name,
            versions=[VERSION],
            platform="valence",
            **tensors(manifest),
        )

    @routes.get("/ready", responses=NOT_READY)
    async def model_ready(response: Response) -> Ready:
        """Whether the model answers."""
        return readiness(lifecycle, response)

    body = {"required": True, "content": {"application/json": {"schema": inlined(V2Request)}}}

    @routes.post("/infer", response_model=V2Response, responses=refusals(V2Error), openapi_extra={"requestBody": body})
    async def infer() -> None:
        """Predict: one tensor in, BYTES of texts or numbers of rows; labels and scores out, or values."""


def tensors(manifest: Manifest | TabularManifest) -> dict[str, list[TensorFacts]]:
    """What goes in and what comes out."""
    outputs = [
        TensorFacts(name="labels", datatype="BYTES", shape=[-1, -1]),
        TensorFacts(name="scores", datatype="FP32", shape=[-1, -1]),
    ]
    if isinstance(manifest, TabularManifest):
        asked = TensorFacts(name="features", datatype="FP64", shape=[-1, len(manifest.features)])
        if manifest.classes is None:
            outputs = [TensorFacts(name="value", datatype="FP64", shape=[-1, 1])]
    else:
        asked = TensorFacts(name="text", datatype="BYTES", shape=[-1, 2] if manifest.pairs else [-1])
    return {"inputs": [asked], "outputs": outputs}


def readiness(lifecycle: Lifecycle, response: Response) -> Ready:
    """Ready or not, and the status for it."""
    is_ready = lifecycle.status == "ready"
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Ready(ready=is_ready)


async def unknown_model(_: Request, exc: Exception) -> JSONResponse:
    """404 in the protocol's shape."""
    assert isinstance(exc, UnknownModel)
    return JSONResponse({"error": exc.detail}, exc.status_code)
