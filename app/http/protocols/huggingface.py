"""Hugging Face's inference API for text classification (https://huggingface.co/docs/api-inference): `POST /`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, Strict

from app.errors import InvalidRequest
from app.http.protocols.inference import (
    JSON_TYPE,
    Function,
    Header,
    InferenceProtocol,
    Respond,
    inlined,
    label_scores,
    one_sentence,
    refusals,
    texts_of,
)
from app.http.protocols.native import checked
from app.http.protocols.tei import inputs_schema
from app.http.schemas import MAX_TOP_K, LabelScore, PredictRequest, detail, read
from app.model.tabular import AnyManifest
from app.scoring.memory import Answer


class HuggingFaceParameters(BaseModel):
    """What callers choose."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    top_k: Annotated[int, Strict(), Field(ge=1, le=MAX_TOP_K)] | None = None
    """Labels that are answered of each text. Null: all."""
    function_to_apply: Function | None = None
    """What makes scores of the network's logits. Null: what the model was trained with."""


class HuggingFaceRequest(BaseModel):
    """What `huggingface_hub.InferenceClient.text_classification` sends."""

    inputs: str | dict[str, Any] | list[Any]
    """Texts or pairs as TEI has them, or objects with `text` and, for pairs, `text_pair`."""
    parameters: HuggingFaceParameters | None = None


def request_schema(schema: type[PredictRequest]) -> dict[str, Any]:
    """A request, for `/openapi.json`; the library's pipelines know objects, too."""
    told = inlined(HuggingFaceRequest)
    one, many = inputs_schema(schema)["anyOf"]
    names, text = (("text", "text_pair"), one["items"]) if schema.pairs else (("text",), one)
    named = {
        "type": "object",
        "properties": dict.fromkeys(names, text),
        "required": list(names),
        "additionalProperties": False,
    }
    told["properties"]["inputs"] = {"anyOf": [one, many, named, {**many, "items": named}]}
    return told


class HuggingFaceError(BaseModel):
    """Its shape of errors."""

    error: str


class HuggingFace(InferenceProtocol):
    """`POST /`."""

    name = "huggingface"
    path = "/"

    def __init__(self, schema: type[PredictRequest]) -> None:
        self._schema = schema

    def parse(self, body: bytes, _: Mapping[bytes, bytes]) -> tuple[PredictRequest, Respond]:
        """Its fields -> ours; one text alone is answered as a list of one, as its client asks for."""
        asked = read(HuggingFaceRequest, body)
        chosen = asked.parameters or HuggingFaceParameters()
        texts = texts_of(listed(asked.inputs), pairs=self._schema.pairs)[0]
        request = checked(self._schema, texts)

        def respond(answers: Sequence[Answer], manifest: AnyManifest) -> tuple[bytes, Sequence[Header]]:
            predictions = [
                label_scores(manifest.labels, answer, chosen.top_k, chosen.function_to_apply) for answer in answers
            ]
            return orjson.dumps(predictions), (JSON_TYPE,)

        return request, respond

    error = staticmethod(one_sentence)


def listed(inputs: str | dict[str, Any] | list[Any]) -> str | list[Any]:
    """Inputs with lists instead of objects. Raises InvalidRequest for an object with other keys."""
    if isinstance(inputs, str):
        return inputs
    return [
        _texts(item) if isinstance(item, dict) else item for item in (inputs if isinstance(inputs, list) else [inputs])
    ]


def _texts(item: dict[str, Any]) -> list[Any]:
    if not {"text"} <= item.keys() <= {"text", "text_pair"}:
        raise InvalidRequest([detail("input", ["inputs"], "an object should have `text` and, in a pair, `text_pair`")])
    return [text for text in (item["text"], item.get("text_pair")) if text is not None]


def router(schema: type[PredictRequest]) -> APIRouter:
    """What `/openapi.json` says of it: `Predict` answers before this route is asked."""
    routes = APIRouter(tags=["Hugging Face"])
    body = {"required": True, "content": {"application/json": {"schema": request_schema(schema)}}}

    @routes.post(
        "/",
        response_model=list[list[LabelScore]],
        responses=refusals(HuggingFaceError),
        openapi_extra={"requestBody": body},
    )
    async def classify() -> None:
        """Classify texts, as `huggingface_hub.InferenceClient(...).text_classification` asks for it."""

    return routes
