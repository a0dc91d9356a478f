"""What a protocol is to a prediction: how a request is read, how its answer is written, and how a refusal is said.

Each adapter turns its JSON into the request of our own API, so that one schema holds the limits of all of them.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from app.errors import AppError, InvalidRequest
from app.http.schemas import ONE_TEXT, PredictRequest
from app.model.classifier import SCORE_DIGITS
from app.model.tabular import AnyManifest, Item
from app.model.tokenizer import Truncation
from app.scoring.memory import Answer

Function = Literal["softmax", "sigmoid", "none"]
"""What makes scores of logits; `none` leaves them as they are."""
Header = tuple[bytes, bytes]
Respond = Callable[[Sequence[Answer], AnyManifest], tuple[bytes, Sequence[Header]]]
"""Writes the answers of the model with this manifest to one request: body and headers."""
JSON_TYPE: Header = (b"content-type", b"application/json")
REFUSALS = {
    401: "No API key that is known, where keys are asked for.",
    408: "The body did not come within the timeout.",
    413: "Too many bytes or texts.",
    415: "A body that is compressed otherwise than by gzip or deflate.",
    422: "Not a request of this protocol.",
    429: "The queue is full, or the limit of the API key reached.",
    503: "Not ready, or too many connections or bodies.",
    504: "Not served within the timeout.",
}
"""What every protocol may be answered, in its own shape."""

ANSWER_HEADERS = {
    "X-Cache": {"description": "Texts or rows answered from the cache / all of them.", "schema": {"type": "string"}},
    "X-Model": {
        "description": "Version of the model that answered: its name, percent-encoded, and 16 digits of its digest.",
        "schema": {"type": "string"},
    },
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
RETRIED = 429, 503
"""Statuses after which the same request may be answered."""


class Asked(Protocol):
    """What a request asks for."""

    @property
    def text(self) -> Sequence[Item]:
        """Texts, or the rows that stand in their place."""
        ...

    @property
    def truncation(self) -> Truncation:
        """What is cut of a text that is too long."""
        ...


class InferenceProtocol(Protocol):
    """One way to ask for predictions."""

    name: str
    """In metrics and logs."""
    path: str
    """The route's template, as metrics and `/openapi.json` have it."""

    def parse(self, body: bytes, headers: Mapping[bytes, bytes]) -> tuple[Asked, Respond]:
        """What is asked for, and what writes its answer. Raises InvalidRequest or TooLarge."""

    def error(self, _: AppError, /) -> dict[str, Any] | None:
        """The body of a refusal in this protocol's shape; None: our own."""
        return None


def refusals(shape: Any) -> dict[int | str, dict[str, Any]]:
    """What `/openapi.json` says of the refusals of a protocol whose errors have this shape."""
    told: dict[int | str, dict[str, Any]] = {}
    for status, description in REFUSALS.items():
        headers = {"headers": RETRY_AFTER} if status in RETRIED else {}
        told[status] = {"model": shape, "description": description, **headers}
    return told


def label_scores(
    names: Sequence[str], answer: Answer, top_k: int | None = None, function: Function | None = None
) -> list[dict[str, Any]]:
    """The labels of one text with their scores, highest first; by the model's own function where none is given."""
    scores = answer.scores if function is None else apply(function, logits(answer))
    return [
        {"label": names[label], "score": score}
        for label, score in zip(answer.labels[:top_k], scores[:top_k], strict=True)
    ]


def chosen_scores(
    names: Sequence[str], request: PredictRequest, answers: Sequence[Answer]
) -> list[list[dict[str, Any]]]:
    """The labels of each text with their scores, as the options of the request have them."""
    function: Function | None = "none" if request.raw_scores else None
    return [label_scores(names, answer, request.top_k, function) for answer in answers]


def logits(answer: Answer) -> tuple[float, ...]:
    """What the network said of the labels, in the order of the answer's labels."""
    return struct.unpack(f"={len(answer.labels)}f", answer.logits)


def apply(function: Function, values: Sequence[float]) -> list[float]:
    """Logits -> scores, which keep their order, since each function rises. Rounded like the model's own."""
    match function:
        case "softmax":
            highest = max(values)
            exponentials = [math.exp(value - highest) for value in values]
            total = math.fsum(exponentials)
            scores = [value / total for value in exponentials]
        case "sigmoid":
            scores = [0.5 + 0.5 * math.tanh(value / 2) for value in values]  # the same, without an overflow
        case "none":
            scores = list(values)
    return [round(score, SCORE_DIGITS) for score in scores]


def texts_of(inputs: str | list[Any], *, pairs: bool) -> tuple[list[Any], bool]:
    """The texts of `inputs`, or the pairs, and whether there is one alone, outside of a list.

    Inputs are one text, a list of them, or a list of lists of one; where the model takes `pairs`, a list of two texts,
    or a list of such lists, as TEI has it. Raises InvalidRequest for a pair where it takes none.
    """
    if isinstance(inputs, str):
        return [inputs], True
    if pairs:
        alone = bool(inputs) and all(isinstance(item, str) for item in inputs)
        return [inputs] if alone else inputs, alone
    for index, item in enumerate(inputs):
        if isinstance(item, list) and len(item) != 1:
            kind = "pair" if len(item) == 2 else "no_text"  # noqa: PLR2004 - a pair
            msg = f"{len(item)} texts are given as one: {ONE_TEXT}"
            raise InvalidRequest([{"type": kind, "loc": ["body", "inputs", index], "msg": msg}])
    return [item[0] if isinstance(item, list) else item for item in inputs], False


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a request without references, which lead nowhere within `/openapi.json`."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):  # and no column of this name
            return inline(parts[node["$ref"].rpartition("/")[2]])
        return {key: inline(value) for key, value in node.items()}

    inlined_schema: dict[str, Any] = inline(schema)
    return inlined_schema


def one_sentence(exc: AppError) -> dict[str, Any]:
    """A refusal for protocols whose errors are one string."""
    return {"error": sentences(exc)}


def sentences(exc: AppError) -> str:
    """A refusal in one line."""
    return "; ".join(": ".join([*_place(detail["loc"]), detail["msg"]]) for detail in exc.details)


def _place(loc: Sequence[str | int]) -> list[str]:
    return [".".join(map(str, loc[1:]))] if len(loc) > 1 else []
