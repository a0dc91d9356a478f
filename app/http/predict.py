"""Predictions, in whatever protocol they are asked for: texts or rows in, labels with their scores out.

The whole way of a request is `Predict.__call__`. It stands in front of FastAPI, which only describes it in
`/openapi.json`, and inside whatever the application is wrapped in: FastAPI's router, dependencies and response models
would cost more than a cache hit itself.
"""

import asyncio
import re
from collections.abc import Coroutine, Mapping, Sequence
from math import ceil
from time import perf_counter
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import AppError, InvalidRequest
from app.http.body import Bodies
from app.http.compression import PACKED_FROM_BYTES, PACKED_HEADERS, packed, unpacked
from app.http.observe import PATH, Exchange
from app.http.protocols.inference import Header, InferenceProtocol
from app.http.protocols.spoken import Spoken
from app.http.refusals import refused
from app.http.schemas import MAX_FAULTS, detail
from app.lifecycle import Lifecycle
from app.scoring.memory import Answer
from app.serving import ServedModel
from app.telemetry.metrics import PARSE_SECONDS, SERIALISE_SECONDS

TEI_INPUTS = re.compile(rb'"inputs"\s*:')
"""The key that tells TEI's bodies from ours."""


class Predict:
    """Middleware that answers predictions; everything else goes on to the router."""

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, spoken: Spoken) -> None:
        settings = lifecycle.settings
        self._app = app
        self._lifecycle = lifecycle
        self._log_texts = settings.log_texts
        self._max_body_bytes = settings.max_body_bytes
        self._bodies = Bodies(lifecycle)
        self._native = spoken.by_path[PATH]
        self._tei = spoken.tei
        self._protocols = {path + slash: spoken.by_path[path] for path in spoken.by_path for slash in ("", "/")}
        self._by_model = spoken.by_model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ClientDisconnect when the client leaves before its answer is there."""
        posted = scope["type"] == "http" and scope["method"] == "POST"
        if not posted or not (protocol := self._protocols.get(scope["path"]) or self._of_model(scope["path"])):
            await self._app(scope, receive, send)
            return
        scope["route"] = protocol
        exchange: Exchange = scope["state"]["exchange"]
        try:
            body = await self._bodies.read(exchange.headers, receive)
            began = perf_counter()
            try:
                request, respond = protocol.parse(body, exchange.headers)
            except InvalidRequest as exc:
                body, protocol = self._second_look(body, protocol, exchange.headers, exc)
                request, respond = protocol.parse(body, exchange.headers)
            PARSE_SECONDS.observe(perf_counter() - began)
            # Once for the whole request: another version may take its place while this one waits.
            model = self._lifecycle.model or await self._wait_for_model(body)
            scored = model.scorer.recall(request.text, exchange.span, request.truncation)
            if scored.missing and model.scorer.redis is not None:
                await model.scorer.ask_redis(scored)
            if scored.missing:
                await while_client_waits(model.scorer.ask_model(scored), receive)
            answers = [scored.answers[key] for key in scored.keys]
            if request.truncation == "error":
                refuse_truncated(answers, model.classifier.encoder.longest)
        except AppError as refusal:
            exchange.span.set_attribute("valence.rejected", refusal.reason)
            await refused(refusal, protocol.error(refusal))(scope, receive, send)
            return
        began = perf_counter()
        model.served.add(scored.keys, answers, protocol.name, request.text)
        logged = {"text": request.text} if self._log_texts else {}
        exchange.fields = {"texts": len(answers), "cache_hits": scored.hits, "protocol": protocol.name, **logged}
        body, own_headers = respond(answers, model.package.manifest)
        headers = [*own_headers, model.header, (b"x-cache", b"%d/%d" % (scored.hits, len(answers)))]
        if any(answer.tokens >= model.classifier.window_tokens for answer in answers):  # no other is cut or in windows
            headers += length_headers(answers, model.classifier.window_tokens)
        if len(body) >= PACKED_FROM_BYTES and (smaller := packed(body, exchange.headers)):
            body, headers = smaller, [*headers, *PACKED_HEADERS]
        headers.append((b"content-length", b"%d" % len(body)))
        SERIALISE_SECONDS.observe(perf_counter() - began)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _wait_for_model(self, body: bytes) -> ServedModel:
        with self._bodies.held(body):
            return await self._lifecycle.wait_for_model()

    def _of_model(self, path: str) -> InferenceProtocol | None:
        """The protocol of a path that has the model's name in it."""
        name = self._lifecycle.package.manifest.name
        return next((protocol for protocol in self._by_model if protocol.answers(path.removesuffix("/"), name)), None)

    def _second_look(
        self, body: bytes, protocol: InferenceProtocol, headers: Mapping[bytes, bytes], exc: InvalidRequest
    ) -> tuple[bytes, InferenceProtocol]:
        """A body that is no request of its protocol, unpacked, or the same and the protocol that it is of.

        Plain requests of our own, which most are, need not be asked for either. Raises `exc` where there is neither.
        """
        text = unpacked(body, headers, self._max_body_bytes)
        if self._tei is not None and protocol is self._native and TEI_INPUTS.search(text):
            return text, self._tei
        if text is body:
            raise exc
        return text, protocol


def length_headers(answers: Sequence[Answer], window_tokens: int) -> list[Header]:
    """Which texts were cut, and which were read in how many windows; each header only where there are some."""
    counts = [ceil(answer.tokens / window_tokens) for answer in answers]
    cut = [b"%d" % index for index, answer in enumerate(answers) if answer.truncated]
    windows = [b"%d:%d" % (index, count) for index, count in enumerate(counts) if count > 1]
    named = (b"x-truncated", cut), (b"x-windows", windows)
    return [(name, b",".join(values)) for name, values in named if values]


def refuse_truncated(answers: Sequence[Answer], longest: int) -> None:
    """Raises InvalidRequest that names the texts that have more tokens than the longest that is read, if there are."""
    msg = f'the text has more than the model\'s {longest} tokens, and `truncation` is "error"'
    details = [
        detail("too_many_tokens", ["text", index], msg) for index, answer in enumerate(answers) if answer.truncated
    ]
    if details:
        raise InvalidRequest(details[:MAX_FAULTS])


async def while_client_waits(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work, but cancel it when the client closes its connection, and raise ClientDisconnect."""
    working = asyncio.current_task()
    assert working is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        working.cancel()

    watcher = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if not gone or working.uncancel():  # somebody else has cancelled this request
            raise
        raise ClientDisconnect from None
    finally:
        watcher.cancel()
