"""POST /predict: texts in, every label with its score out."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.dependencies import LifecycleDep
from app.errors import TooLarge
from app.schemas import ErrorResponse, PredictResponse, parse, predict_request
from app.settings import Settings

HEADERS = {
    "X-Cache": {"description": "Texts answered from the cache / all texts.", "schema": {"type": "string"}},
    "X-Truncated": {
        "description": "Indices of the texts that were longer than the model's tokens and were cut; absent if none.",
        "schema": {"type": "string"},
    },
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"headers": HEADERS},
    413: {"model": ErrorResponse, "description": "Too many bytes or texts."},
    422: {"model": ErrorResponse, "description": "Not a JSON object with a list of texts."},
    429: {"model": ErrorResponse, "description": "The queue is full.", "headers": RETRY_AFTER},
    503: {"model": ErrorResponse, "description": "The model is not ready.", "headers": RETRY_AFTER},
    504: {"model": ErrorResponse, "description": "Not served within the timeout."},
}


def router(settings: Settings) -> APIRouter:
    """The route, with the limits of these settings in its schema."""
    routes = APIRouter()
    schema = predict_request(max_texts=settings.max_texts, max_text_characters=settings.max_text_characters)
    # The body is read here and not by FastAPI: it must be bounded before it is parsed, and clients of earlier
    # implementations of this API send JSON without a Content-Type.
    body = {"required": True, "content": {"application/json": {"schema": schema.model_json_schema()}}}

    @routes.post("/predict", response_model=PredictResponse, responses=RESPONSES, openapi_extra={"requestBody": body})
    async def predict(request: Request, lifecycle: LifecycleDep) -> Response:
        """Classify texts.

        Texts longer than the model's tokens are cut, and `X-Truncated` names them.
        """
        texts = parse(schema, await _read_body(request, settings.max_body_bytes))
        scored = await lifecycle.scorer.score(texts)
        headers = {"X-Cache": f"{scored.hits}/{len(texts)}"}
        truncated = [str(index) for index, answer in enumerate(scored.answers) if answer.truncated]
        if truncated:
            headers["X-Truncated"] = ",".join(truncated)
        fields = request.state.facts.fields
        fields.update(texts=len(texts), cache_hits=scored.hits)
        if settings.log_texts:
            fields["text"] = texts
        content = b'{"predictions":[' + b",".join(answer.fragment for answer in scored.answers) + b"]}"
        return Response(content, media_type="application/json", headers=headers)

    return routes


async def _read_body(request: Request, limit: int) -> bytes:
    """The whole body; raises TooLarge as soon as it is known to exceed `limit` bytes."""
    declared = int(request.headers.get("content-length", 0))
    chunks, size = [], 0
    if declared <= limit:
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                break
        else:
            return b"".join(chunks)
    # The rest of the body is not read: the connection cannot be used again.
    raise TooLarge(
        f"{f'{declared} bytes exceed' if declared else 'the body exceeds'} the limit of {limit} bytes "
        "(VALENCE_MAX_BODY_BYTES)",
        loc=["body"],
        headers={"Connection": "close"},
    )
