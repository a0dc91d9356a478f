"""Which protocols a model is asked by: four for texts, two for rows of a table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter

from app.http.observe import PATH
from app.http.protocols import huggingface, tabular, tei, v2_models
from app.http.protocols.huggingface import HuggingFace
from app.http.protocols.inference import ANSWER_HEADERS, InferenceProtocol, inlined, refusals
from app.http.protocols.native import Native
from app.http.protocols.tabular import RowSchemas, Tabular
from app.http.protocols.tei import Tei, TeiError, TeiResponse
from app.http.protocols.v2 import MODEL, MODEL_VERSION, V2
from app.http.protocols.v2_rows import V2Rows
from app.http.schemas import ErrorResponse, PredictRequest, PredictResponse, predict_request
from app.lifecycle import Lifecycle
from app.model.package import Package
from app.model.tabular import TabularPackage

INFER = MODEL + "/infer", MODEL_VERSION + "/infer"
LENGTH_HEADERS = {
    "X-Truncated": {
        "description": "Indices of the texts that were longer than the model reads and were cut; absent if none.",
        "schema": {"type": "string"},
    },
    "X-Windows": {
        "description": "Texts that were read in several windows, each as index:windows; absent if none.",
        "schema": {"type": "string"},
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"headers": ANSWER_HEADERS | LENGTH_HEADERS},
    **refusals(ErrorResponse | TeiError),
}


class Spoken(NamedTuple):
    """The protocols of one model."""

    by_path: dict[str, InferenceProtocol]
    """Path of a POST -> what answers it."""
    by_model: Sequence[V2 | V2Rows]
    """Those whose paths have the name of the model in them, which another version may change."""
    tei: InferenceProtocol | None
    """What answers bodies with `inputs` at our own path."""
    routers: tuple[APIRouter, ...]
    """What `/openapi.json` says of them, and their other endpoints."""

    @property
    def routes(self) -> list[str]:
        """Where predictions are posted, as metrics name it."""
        return [*self.by_path, *(protocol.path for protocol in self.by_model)]


def spoken(lifecycle: Lifecycle, version: str) -> Spoken:
    """The protocols for the task of the package that is served."""
    package = lifecycle.package
    if isinstance(package, TabularPackage):
        return _for_rows(lifecycle, package, version)
    return _for_texts(lifecycle, package, version)


def _for_texts(lifecycle: Lifecycle, package: Package, version: str) -> Spoken:
    settings, manifest = lifecycle.settings, package.manifest
    schema = predict_request(
        max_texts=settings.max_texts,
        max_text_characters=settings.max_text_characters,
        truncations=manifest.truncations,
        pairs=manifest.pairs,
    )
    by_path: dict[str, InferenceProtocol] = {PATH: Native(schema), "/": HuggingFace(schema)}
    routers = (
        router(schema),
        huggingface.router(schema),
        tei.router(lifecycle, version),
        v2_models.router(lifecycle, version),
    )
    return Spoken(by_path, [V2(path, schema) for path in INFER], Tei(schema), routers)


def _for_rows(lifecycle: Lifecycle, package: TabularPackage, version: str) -> Spoken:
    manifest = package.manifest
    schemas = RowSchemas(manifest, lifecycle.settings.max_texts)
    by_model = [V2Rows(path, schemas, manifest) for path in INFER]
    routers = tabular.router(schemas, manifest), v2_models.router(lifecycle, version)
    return Spoken({PATH: Tabular(schemas, manifest)}, by_model, None, routers)


def router(schema: type[PredictRequest]) -> APIRouter:
    """What `/openapi.json` says of `Predict`, which answers before this route is asked."""
    routes = APIRouter(tags=["prediction"])
    either = {"anyOf": [inlined(schema), tei.request_schema(schema)]}
    body = {"required": True, "content": {"application/json": {"schema": either}}}

    @routes.post(
        PATH,
        response_model=PredictResponse | TeiResponse,
        responses=RESPONSES,
        openapi_extra={"requestBody": body},
    )
    async def predict() -> None:
        """Classify texts.

        Texts longer than the model reads are cut, and `X-Truncated` names them. With `inputs` instead of `text` it
        is Text Embeddings Inference that is spoken, errors included.
        """

    return routes
