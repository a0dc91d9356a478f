"""POST /predict: texts in, every label with its score out.

The endpoint is called directly, past FastAPI's router, its dependencies and its models, which would cost four times as
much as a cache hit itself: with a whole body where `app.server` has one (`at_once`, `pending`, `conclude`), otherwise
by the middleware. The route below serves the same endpoint where the router is asked (behind another path, in a test)
and describes it in `/openapi.json`.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from app.deadlines import Deadlines
from app.errors import AppError, TooLarge, TooSlow
from app.flights import Abandoned
from app.lifecycle import Lifecycle
from app.metrics import PARSE_SECONDS, REJECTED, SERIALISE_SECONDS
from app.recent import RecentReplies
from app.replies import JSON_TYPE, Reply, refusal
from app.schemas import ErrorResponse, PredictResponse, RequestParser, predict_request
from app.scoring import Recalled
from app.spans import Trace

PATH = "/predict"
LINGER_BYTES, LINGER_SECONDS = 16_777_216, 2.0
"""How much of a body that was refused is read on, and how long."""
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
    408: {"model": ErrorResponse, "description": "The body did not come within the timeout."},
    413: {"model": ErrorResponse, "description": "Too many bytes or texts."},
    422: {"model": ErrorResponse, "description": "Not a JSON object with a list of texts."},
    429: {"model": ErrorResponse, "description": "The queue is full.", "headers": RETRY_AFTER},
    503: {"model": ErrorResponse, "description": "The model is not ready.", "headers": RETRY_AFTER},
    504: {"model": ErrorResponse, "description": "Not served within the timeout."},
}


class PredictEndpoint:
    """Answers one request; every refusal is an answer, too."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        settings = lifecycle.settings
        self._lifecycle = lifecycle
        self.max_body_bytes = settings.max_body_bytes
        self._deadlines = Deadlines(settings.timeout)
        self._log_texts = settings.log_texts
        self.schema = predict_request(max_texts=settings.max_texts, max_text_characters=settings.max_text_characters)
        self._drift = lifecycle.drift
        self._recent = RecentReplies()
        self._parse = RequestParser(
            self.schema, max_texts=settings.max_texts, max_text_characters=settings.max_text_characters
        )

    async def __call__(self, scope: Scope, receive: Receive, trace: Trace | None = None) -> Reply:
        """Raises ClientDisconnect when the client leaves before its answer is there."""
        try:
            body = await self._read_body(scope, receive)
        except AppError as exc:
            return _refused(exc, trace)
        reply = self.at_once(body, trace)
        if isinstance(reply, Reply):
            return reply
        try:
            return await self.later(reply, partial(_until_client_leaves, receive))
        except Abandoned:
            raise ClientDisconnect from None

    def at_once(self, body: bytes, trace: Trace | None = None) -> Reply | Recalled:
        """The reply, or what `later` and `pending` take where a text is not known in this process."""
        if (reply := self._recent.get(body)) is not None:
            self._lifecycle.served.add_repeated(reply.answers)  # drift has seen these texts within the second
            if trace is not None:
                trace.repeated(len(reply.answers))
            return reply
        try:
            began = perf_counter()
            texts = self._parse(body)
            PARSE_SECONDS.observe(perf_counter() - began)
            scorer = self._lifecycle.scorer
            recalled = scorer.recall(texts, trace)
            if recalled.missing and not scorer.asks_redis:
                scorer.ask_model(recalled)
        except AppError as exc:
            return _refused(exc, trace)
        if recalled.missing:
            return recalled
        reply = self._reply(recalled)
        self._recent.put(body, reply)
        return reply

    def pending(self, recalled: Recalled) -> asyncio.Future[Any]:
        """What `conclude` takes when it is done; cancelled, if the client has left."""
        if recalled.wait is not None:  # no task, since nothing but the model is waited for
            return recalled.wait.future
        return self._deadlines.loop.create_task(self.later(recalled))

    def conclude(self, recalled: Recalled, pending: asyncio.Future[Any]) -> Reply:
        """The reply that was pending. Raises CancelledError."""
        if isinstance(pending, asyncio.Task):
            reply: Reply = pending.result()
            return reply
        try:
            self._lifecycle.scorer.collect(recalled)
        except AppError as exc:
            return _refused(exc, recalled.trace)
        return self._reply(recalled)

    async def later(self, recalled: Recalled, left: Callable[[], Coroutine[Any, Any, None]] | None = None) -> Reply:
        """The reply, from Redis or the model. Raises Abandoned when what `left` begins ends first."""
        try:
            scorer = self._lifecycle.scorer
            if recalled.wait is None:
                await scorer.ask_redis(recalled)
            if recalled.missing:
                await scorer.infer(recalled, left)
        except AppError as exc:
            return _refused(exc, recalled.trace)
        return self._reply(recalled)

    def _reply(self, recalled: Recalled) -> Reply:
        began = perf_counter()
        texts, scored = recalled.texts, recalled.scored()
        self._lifecycle.served.add(scored.answers)
        if self._drift is not None:
            self._drift.see(scored.keys, scored.answers)
        body = b'{"predictions":[' + b",".join([answer.fragment for answer in scored.answers]) + b"]}"
        headers = [
            (b"content-length", b"%d" % len(body)),
            JSON_TYPE,
            (b"x-cache", b"%d/%d" % (scored.hits, len(texts))),
        ]
        if any(answer.truncated for answer in scored.answers):
            indices = [b"%d" % index for index, answer in enumerate(scored.answers) if answer.truncated]
            headers.append((b"x-truncated", b",".join(indices)))
        fields = f'"texts": {len(texts)}, "cache_hits": {scored.hits}, '
        if self._log_texts:
            fields += f'"text": {json.dumps(texts, ensure_ascii=False)}, '
        SERIALISE_SECONDS.observe(perf_counter() - began)
        return Reply(200, headers, body, scored.answers, fields)

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body; raises TooLarge as soon as it is known to exceed the limit, TooSlow after the timeout."""
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self.max_body_bytes:
                if b"expect" not in dict(scope["headers"]):  # who waits for "100 Continue" has sent nothing yet
                    await _discard(receive)
                raise self._too_large(f"{int(value)} bytes exceed")
        waiting = asyncio.current_task(self._deadlines.loop)
        assert waiting is not None
        deadline = self._deadlines.begin(waiting.cancel)
        try:
            return await self._read_messages(receive)
        except asyncio.CancelledError as exc:
            if not deadline.expired or waiting.uncancel():  # somebody else has cancelled this request
                raise
            msg = f"the body did not come within {self._deadlines.seconds:g} s (VALENCE_TIMEOUT)"
            raise TooSlow(msg, loc=["body"], headers={"Connection": "close"}) from exc
        finally:
            self._deadlines.end(deadline)

    async def _read_messages(self, receive: Receive) -> bytes:
        """The body, in however many messages it comes."""
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            body = body + chunk if body else chunk
            if len(body) > self.max_body_bytes:
                if message.get("more_body", False):
                    await _discard(receive)
                raise self._too_large("the body exceeds")
            if not message.get("more_body", False):
                return body

    def _too_large(self, what: str) -> TooLarge:
        """There may be more to come, so the connection cannot be used again."""
        msg = f"{what} the limit of {self.max_body_bytes} bytes (VALENCE_MAX_BODY_BYTES)"
        return TooLarge(msg, loc=["body"], headers={"Connection": "close"})


def router(endpoint: PredictEndpoint) -> APIRouter:
    """The route, with the limits of the settings in its schema."""
    routes = APIRouter()
    # The body is read by us and not by FastAPI: it must be bounded before it is parsed, and clients of earlier
    # implementations of this API send JSON without a Content-Type.
    body = {"required": True, "content": {"application/json": {"schema": endpoint.schema.model_json_schema()}}}

    @routes.post(PATH, response_model=PredictResponse, responses=RESPONSES, openapi_extra={"requestBody": body})
    async def predict(request: Request) -> Response:
        """Classify texts.

        Texts longer than the model's tokens are cut, and `X-Truncated` names them.
        """
        facts = request.state.facts
        reply = await endpoint(request.scope, request.receive, facts.trace)
        facts.fields = reply.fields
        response = Response(status_code=reply.status)
        response.raw_headers, response.body = reply.headers, reply.body
        return response

    return routes


def _refused(exc: AppError, trace: Trace | None) -> Reply:
    REJECTED[exc.reason].inc()
    if trace is not None:
        trace.attributes["valence.rejected"] = exc.reason
    return refusal(exc)


async def _until_client_leaves(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _discard(receive: Receive) -> None:
    """Read on for a while: to close a connection with unread data resets it, and the client would lose our answer.

    The same as nginx's lingering_close.
    """
    size, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while more and size <= LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
