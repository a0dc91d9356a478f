"""Our own API: `{"text": [...]}` in, every label with its score out."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from pydantic import ValidationError
from pydantic_core import from_json

from app.http.observe import PATH
from app.http.protocols.inference import JSON_TYPE, Header, InferenceProtocol, Respond, chosen_scores
from app.http.schemas import PredictRequest, invalid, refuse_many, refuse_twice
from app.model.tabular import AnyManifest
from app.scoring.memory import Answer

KEY, ESCAPED_E, ESCAPED_T_OR_X = b'"text"', b"\\u0065", b"\\u007"
"""The schema's one key that each body has, and what every other spelling of it holds."""
JSON_HEADERS = (JSON_TYPE,)


class Native(InferenceProtocol):
    """`POST /predict`."""

    name = "valence"
    path = PATH

    def __init__(self, schema: type[PredictRequest]) -> None:
        self._schema = schema

    def parse(self, body: bytes, _: Mapping[bytes, bytes]) -> tuple[PredictRequest, Respond]:
        """The request of a body, whatever its content type says.

        Raises TooLarge for too many texts, and InvalidRequest with the place of each fault for anything else.
        """
        try:
            request = self._schema.model_validate_json(body)
        except ValidationError as exc:
            refusal = invalid(exc, body)
            if refusal.details[0]["type"] not in ("json_invalid", "byte_order_mark"):
                _refuse_many(from_json(body), self._schema.max_texts)
            raise refusal from exc
        plain = len(request.model_fields_set) == 1
        if not plain or body.count(KEY) != 1 or ESCAPED_E in body or ESCAPED_T_OR_X in body:  # then look closer
            refuse_twice(body)
        return request, every_label if plain else partial(chosen, request)


def every_label(answers: Sequence[Answer], manifest: AnyManifest) -> tuple[bytes, Sequence[Header]]:
    """All labels with the model's own scores."""
    names = manifest.labels
    predictions = [
        [{"label": names[label], "score": score} for label, score in zip(answer.labels, answer.scores, strict=True)]
        for answer in answers
    ]
    return orjson.dumps({"predictions": predictions}), JSON_HEADERS


def chosen(request: PredictRequest, answers: Sequence[Answer], manifest: AnyManifest) -> tuple[bytes, Sequence[Header]]:
    """Labels and scores as the options of the request have them."""
    return orjson.dumps({"predictions": chosen_scores(manifest.labels, request, answers)}), JSON_HEADERS


def checked(schema: type[PredictRequest], texts: list[Any], **options: Any) -> PredictRequest:
    """What another protocol asks for, as a request of our own. Raises TooLarge or InvalidRequest, as `parse` does."""
    value = {"text": texts, **options}
    try:
        return schema.model_validate(value)
    except ValidationError as exc:
        _refuse_many(value, schema.max_texts)
        raise invalid(exc) from exc


def _refuse_many(value: Any, max_texts: int) -> None:
    texts = value.get("text") if isinstance(value, dict) else None
    if isinstance(texts, list):
        refuse_many(len(texts), max_texts, ["text"])
