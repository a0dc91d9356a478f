"""The JSON of predictions and of errors, with its limits: what `/openapi.json` shows is what is checked."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    create_model,
)
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails, PydanticCustomError

from app.errors import ErrorDetail, InvalidRequest, TooLarge
from app.model.tokenizer import Pair, Truncation

EXAMPLE_REQUEST: JsonDict = {"text": ["I hate you.", "I love you."]}
MAX_TOP_K = 100_000
MAX_FAULTS = 128
"""Faults that one answer lists."""
BYTE_ORDER_MARKS = b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"
ONE_TEXT, PAIRS = "this model takes one text, not a pair", "this model takes pairs, each a list of two texts"
VISIBLE = (
    r"[^\s"
    "\0-\x1f\x7f-\xa0\xad"  # controls, soft hyphen
    "\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\ufeff\ufff0-\ufffb"  # zero width
    "\u115f\u1160\u2800\u3164\uffa0"  # fillers of Hangul and Braille
    "\ufe00-\ufe0f\U000e0000-\U000e0fff]"  # variation selectors and tags, without what they would vary
)
"""A character that can be seen: a text without one is blank."""

_Model = TypeVar("_Model", bound=BaseModel)


class PredictRequest(BaseModel):
    """Texts to classify. `predict_request` makes the subclass that knows the limits."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [EXAMPLE_REQUEST]}
    )

    text: list[str]
    top_k: Annotated[int, Strict(), Field(ge=1, le=MAX_TOP_K)] | None = None
    """Labels that are answered of each text, those with the highest scores. Null: all."""
    raw_scores: Annotated[bool, Strict()] = False
    """Whether scores are the network's logits, of any size, instead of being between 0 and 1."""
    truncation: Truncation = "end"
    """What is cut of a text that is longer than the model's tokens; `error` refuses it."""
    max_texts: ClassVar[int]
    pairs: ClassVar[bool]
    """Whether each text is a pair of them."""


class LabelScore(BaseModel):
    """One label and how sure the model is of it."""

    label: str
    score: float = Field(description="Between 0 and 1; of any size where `raw_scores` is asked for.")


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


class ErrorItem(BaseModel):
    """One thing that is wrong: a stable type, the place in the request, and a sentence."""

    type: str
    loc: list[str | int]
    msg: str


class ErrorResponse(BaseModel):
    """The one shape of every error body."""

    detail: list[ErrorItem]


def predict_request(
    *,
    max_texts: int,
    max_text_characters: int,
    truncations: Sequence[Truncation] = ("end", "start", "error"),
    pairs: bool = False,
) -> type[PredictRequest]:
    """The request model with these limits: at most `max_texts` texts of at most `max_text_characters` characters.

    `truncations` are those of the model package, the default first; where it takes `pairs`, each text is two of them.
    The first wrong text is enough: half a million of them must not become half a million messages.
    """
    text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=max_text_characters, pattern=VISIBLE)]
    pair = Annotated[list[text], Strict(), Field(min_length=2, max_length=2), AfterValidator(Pair.of)]
    rules = Strict(), FailFast(), Field(min_length=1, max_length=max_texts)
    texts: Any = Annotated[list[pair], *rules] if pairs else Annotated[list[text], *rules]
    what = "pairs of texts, each" if pairs else "texts"
    field = Field(description=f"1 to {max_texts} {what} of 1 to {max_text_characters} characters, none of them blank.")
    choice = Field(truncations[0], json_schema_extra={"enum": list(truncations)})
    request = create_model(
        "PredictRequest",
        __base__=PredictRequest,
        __doc__="Texts to classify.",
        text=(texts, field),
        truncation=(Annotated[Truncation, AfterValidator(partial(_of_package, truncations))], choice),
    )
    request.max_texts, request.pairs = max_texts, pairs
    return request


def _of_package(truncations: Sequence[Truncation], chosen: Truncation) -> Truncation:
    """Raises PydanticCustomError for a choice that this model package does not have."""
    if chosen not in truncations:
        *others, last = map(repr, truncations)
        msg = f"this model package has no `{chosen}`: its choices are {', '.join(others)} and {last}"
        raise PydanticCustomError("truncation", msg)
    return chosen


def read(model: type[_Model], body: bytes) -> _Model:
    """JSON -> `model`. Raises InvalidRequest with the place of each fault."""
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        raise invalid(exc, body) from exc


def invalid(exc: ValidationError, body: bytes = b"") -> InvalidRequest:
    """What pydantic says of a body, with the place of each fault."""
    if exc.error_count() > MAX_FAULTS:  # to list them takes time: a body of 1 MiB can hold 100,000 unknown fields
        return InvalidRequest([detail("extra_forbidden", [], f"{exc.error_count()} fields that are unknown")])
    if body.startswith(BYTE_ORDER_MARKS):
        msg = "the body begins with a byte order mark: it should be UTF-8 without one"
        return InvalidRequest([detail("byte_order_mark", [], msg)])
    return InvalidRequest([_described(error) for error in exc.errors(include_url=False)])


def _described(error: ErrorDetails) -> ErrorDetail:
    """Pydantic's fault, but for the limits, which are named by their settings."""
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "string_too_long":
            limit = f"the limit of {context['max_length']} (VALENCE_MAX_TEXT_CHARACTERS)"
            return detail("text_too_long", error["loc"], f"{len(error['input'])} characters exceed {limit}")
        case "string_too_short" | "string_pattern_mismatch":
            return detail("blank_text", error["loc"], "a blank text has no sentiment")
        case "string_type" if isinstance(error["input"], list) and len(error["input"]) == 2:  # noqa: PLR2004 - a pair
            return detail("pair", error["loc"], f"2 texts are given as one: {ONE_TEXT}")
        case "list_type" if len(error["loc"]) > 1 and error["loc"][0] == "text":
            return detail("no_pair", error["loc"], PAIRS)
        case "too_short" | "too_long" if len(error["loc"]) > 1 and error["loc"][0] == "text":
            return detail("no_pair", error["loc"], f"{len(error['input'])} texts are given as one: {PAIRS}")
    return detail(error["type"], error["loc"], error["msg"])


def detail(kind: str, loc: Sequence[str | int], msg: str) -> ErrorDetail:
    """One fault of a body."""
    return {"type": kind, "loc": ["body", *loc], "msg": msg}


def refuse_many(count: int, most: int, loc: Sequence[str], what: str = "texts") -> None:
    """Raises TooLarge for more texts than the limit, whatever else is wrong with them."""
    if count > most:
        raise TooLarge(f"{count} {what} exceed the limit of {most} (VALENCE_MAX_TEXTS)", loc=["body", *loc])


def refuse_twice(body: bytes, where: str = "") -> None:
    """Raises InvalidRequest for a key that is there twice: which of its values counts is each parser's own choice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)  # few: the schema has refused all others
            msg = f"this key is there {keys.count(twice)} times {where}".rstrip()
            raise InvalidRequest([detail("duplicate_key", [twice], msg)])
        return found

    json.loads(body, object_pairs_hook=once)
