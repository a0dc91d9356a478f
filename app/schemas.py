"""The JSON that we accept and return, with its limits: what `/openapi.json` shows is what is checked."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, SchemaValidator, core_schema

from app.errors import ErrorDetail, InvalidRequest, TooLarge

EXAMPLE_REQUEST: JsonDict = {"text": ["I hate you.", "I love you."]}
TOO_MANY_TEXTS = "too_many_texts"
MAX_DETAILS = 128
"""Faults that one answer lists: a body of 1 MiB can hold 100,000 unknown fields."""


class PredictRequest(BaseModel):
    """Texts to classify. `predict_request` makes the subclass that knows the limits."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_REQUEST]})

    text: list[str]


class LabelScore(BaseModel):
    """One label and how sure the model is of it."""

    label: str
    score: float = Field(ge=0, le=1)


class PredictResponse(BaseModel):
    """For each text, in the order of the request: every label, highest score first."""

    predictions: list[list[LabelScore]]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "predictions": [
                        [{"label": "NEGATIVE", "score": 0.9993}, {"label": "POSITIVE", "score": 0.0007}],
                        [{"label": "POSITIVE", "score": 0.9998}, {"label": "NEGATIVE", "score": 0.0002}],
                    ]
                }
            ]
        }
    )


class Health(BaseModel):
    """`status` is "healthy" whenever the process answers at all."""

    status: str


class Readiness(BaseModel):
    """`status` is "ready", or why it is not."""

    status: str


class ErrorItem(BaseModel):
    """One thing that is wrong: a stable type, the place in the request, and a sentence."""

    type: str
    loc: list[str | int]
    msg: str


class ErrorResponse(BaseModel):
    """The one shape of every error body."""

    detail: list[ErrorItem]


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


class ModelInfo(BaseModel):
    """The model that answers, and what it runs on."""

    name: str
    source: dict[str, Any]
    revision: str | None
    digest: str
    licence: str | None
    labels: list[str]
    max_tokens: int
    quantisation: dict[str, Any]
    accuracy: dict[str, Any] | None
    profile: ProfileFacts | None = Field(
        description="Texts that live traffic is compared with; null if there are none."
    )
    golden_difference: float | None = Field(
        description="Largest difference of the golden texts' scores to those at export; null until they were checked."
    )
    cpu: CpuFacts
    threads: ThreadFacts
    engine: EngineFacts | None = Field(description="What computes the model; null until that is known.")


def predict_request(*, max_texts: int, max_text_characters: int) -> type[PredictRequest]:
    """The request model with these limits: at most `max_texts` texts of at most `max_text_characters` characters."""

    def few_enough(value: object) -> object:
        if isinstance(value, list) and len(value) > max_texts:
            raise PydanticCustomError(
                TOO_MANY_TEXTS,
                "{received} texts exceed the limit of {limit} (VALENCE_MAX_TEXTS)",
                {"received": len(value), "limit": max_texts},
            )
        return value

    def sane(text: str) -> str:
        if len(text) > max_text_characters:
            raise PydanticCustomError(
                "text_too_long",
                "{received} characters exceed the limit of {limit} (VALENCE_MAX_TEXT_CHARACTERS)",
                {"received": len(text), "limit": max_text_characters},
            )
        if not text or text.isspace():
            raise PydanticCustomError("blank_text", "a blank text has no sentiment")
        return text

    schema = {"type": "string", "minLength": 1, "maxLength": max_text_characters, "pattern": r"\S"}
    text = Annotated[str, Strict(), AfterValidator(sane), WithJsonSchema(schema)]
    # The count is checked before the elements: half a million wrong ones must not become half a million messages.
    texts = Annotated[list[text], Strict(), Field(min_length=1, max_length=max_texts), BeforeValidator(few_enough)]
    field = Field(description=f"1 to {max_texts} texts of 1 to {max_text_characters} characters, none of them blank.")
    return create_model("PredictRequest", __base__=PredictRequest, __doc__="Texts to classify.", text=(texts, field))


class RequestParser:
    """Request bodies -> texts, whatever their content type says.

    A body that is right needs no model: pydantic's core parses it into a plain dict with the same rules of types, and
    the limits are compared here. Only a body that fails either is parsed again by the published schema, which then
    names the faults, so both accept the same set.
    """

    def __init__(self, schema: type[PredictRequest], *, max_texts: int, max_text_characters: int) -> None:
        self._schema = schema
        self._max_texts = max_texts
        self._max_text_characters = max_text_characters
        text = core_schema.str_schema(strict=True)
        field = core_schema.typed_dict_field(core_schema.list_schema(text, strict=True))
        fields = core_schema.typed_dict_schema({"text": field}, extra_behavior="forbid", strict=True)
        self._core = SchemaValidator(fields)

    def __call__(self, body: bytes) -> list[str]:
        """The texts of a request body.

        Raises TooLarge for too many texts, and InvalidRequest with the place of each fault for anything else.
        """
        try:
            texts: list[str] = self._core.validate_json(body)["text"]
        except ValidationError:
            return self._parse_by_schema(body)
        if not 0 < len(texts) <= self._max_texts:
            return self._parse_by_schema(body)
        for text in texts:
            if not text or len(text) > self._max_text_characters or text.isspace():
                return self._parse_by_schema(body)
        return texts

    def _parse_by_schema(self, body: bytes) -> list[str]:
        try:
            return self._schema.model_validate_json(body).text
        except ValidationError as exc:
            details: list[ErrorDetail] = [
                {"type": error["type"], "loc": ["body", *error["loc"]], "msg": error["msg"]}
                for error in exc.errors(include_url=False, include_input=False, include_context=False)[:MAX_DETAILS]
            ]
            if details[0]["type"] == TOO_MANY_TEXTS:
                raise TooLarge(details[0]["msg"], loc=details[0]["loc"]) from exc
            raise InvalidRequest(details) from exc
