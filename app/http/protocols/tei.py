"""Hugging Face's Text Embeddings Inference (https://huggingface.github.io/text-embeddings-inference): classification.

A flat list is a list of texts here, but a pair where the model takes pairs. TEI itself reads each flat list of two so.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from app.errors import AppError
from app.http.observe import PATH
from app.http.protocols.inference import (
    JSON_TYPE,
    Header,
    InferenceProtocol,
    Respond,
    chosen_scores,
    inlined,
    sentences,
    texts_of,
)
from app.http.protocols.native import checked
from app.http.schemas import LabelScore, PredictRequest, read
from app.lifecycle import Lifecycle
from app.model.package import Manifest
from app.model.tabular import AnyManifest
from app.scoring.memory import Answer

ERROR_TYPES = {
    HTTPStatus.TOO_MANY_REQUESTS: "Overloaded",
    HTTPStatus.SERVICE_UNAVAILABLE: "Unhealthy",
    HTTPStatus.GATEWAY_TIMEOUT: "Backend",
}


class TeiRequest(BaseModel):
    """What TEI's clients send."""

    inputs: str | list[Any]
    """One text or pair, or a list of them; `inputs_schema` says which."""
    truncate: bool | None = None
    """Whether a text that is too long is cut, as it is by default, or refused."""
    truncation_direction: Literal["Left", "Right", "left", "right"] = "Right"
    """Which end is cut."""
    raw_scores: bool = False
    """Whether scores are logits."""


def inputs_schema(schema: type[PredictRequest]) -> dict[str, Any]:
    """What `inputs` may hold, as JSON Schema: a text, or a pair where the model takes those, or a list of them."""
    own = inlined(schema)["properties"]["text"]
    one = own["items"]
    in_list = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 1}]}
    return {"anyOf": [one, {**own, "items": one if schema.pairs else in_list}]}


def request_schema(schema: type[PredictRequest]) -> dict[str, Any]:
    """A request, for `/openapi.json`."""
    told = inlined(TeiRequest)
    told["properties"]["inputs"] = inputs_schema(schema)
    return told


class TeiError(BaseModel):
    """TEI's shape of errors."""

    error: str
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation"]


def tei_error(exc: AppError) -> dict[str, Any]:
    """A refusal in this shape: a sentence and a kind."""
    return {"error": sentences(exc), "error_type": ERROR_TYPES.get(exc.status, "Validation")}


class TeiInfo(BaseModel):
    """What serves, as TEI tells it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: dict[Literal["classifier"], dict[Literal["id2label", "label2id"], dict[str, Any]]]
    max_concurrent_requests: int
    max_input_length: int
    """Tokens of the longest text that is not cut, over all its windows; until the model is loaded, those of one."""
    max_batch_tokens: int
    max_client_batch_size: int
    auto_truncate: bool
    version: str


class Tei(InferenceProtocol):
    """`POST /predict` with `inputs`."""

    name = "tei"
    path = PATH
    error = staticmethod(tei_error)

    def __init__(self, schema: type[PredictRequest]) -> None:
        self._schema = schema

    def parse(self, body: bytes, _: Mapping[bytes, bytes]) -> tuple[PredictRequest, Respond]:
        """TEI's fields -> ours; one text alone is answered without the outer list."""
        asked = read(TeiRequest, body)
        cut = "start" if asked.truncation_direction.lower() == "left" else "end"
        truncation = "error" if asked.truncate is False else cut
        options = {"truncation": truncation, "raw_scores": asked.raw_scores}
        texts, alone = texts_of(asked.inputs, pairs=self._schema.pairs)
        request = checked(self._schema, texts, **options)

        def respond(answers: Sequence[Answer], manifest: AnyManifest) -> tuple[bytes, Sequence[Header]]:
            predictions = chosen_scores(manifest.labels, request, answers)
            return orjson.dumps(predictions[0] if alone else predictions), (JSON_TYPE,)

        return request, respond


TeiResponse = list[LabelScore] | list[list[LabelScore]]
"""Of one text alone, or of each text."""


def router(lifecycle: Lifecycle, version: str) -> APIRouter:
    """`GET /info`."""
    routes = APIRouter(tags=["TEI"])

    @routes.get("/info")
    async def info() -> TeiInfo:
        """What serves, in the words of Text Embeddings Inference."""
        manifest, settings, model = lifecycle.package.manifest, lifecycle.settings, lifecycle.model
        assert isinstance(manifest, Manifest)
        names = {str(index): label for index, label in enumerate(manifest.labels)}
        return TeiInfo(
            model_id=manifest.name,
            model_sha=manifest.source.revision,
            model_dtype=str(manifest.quantisation.get("scheme", "float32")),
            model_type={"classifier": {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}},
            max_concurrent_requests=settings.max_connections,
            max_input_length=manifest.windows.tokens if model is None else model.classifier.encoder.longest,
            max_batch_tokens=settings.max_batch_tokens,
            max_client_batch_size=settings.max_texts,
            auto_truncate=True,
            version=version,
        )

    return routes
