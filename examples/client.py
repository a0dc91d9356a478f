"""A client of Valence in one file, to copy: needs httpx, and pandas only for `frame`.

    with Client("http://127.0.0.1:8000", api_key="...") as client:
        for scores in client.predict(["I love you.", "I hate you."], top_k=1):
            print(scores[0]["label"], scores[0]["score"])

`AsyncClient` is the same with `async with` and `await`.
"""

import asyncio
import json
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

BUSY = httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE

Scores = list[dict[str, Any]]
"""Of one text: `{"label": ..., "score": ...}`, highest score first."""


@dataclass(frozen=True)
class Limits:
    """What the service takes in one request, and how long a busy one is asked again."""

    max_texts: int = 128
    """VALENCE_MAX_TEXTS of the service."""
    max_body_bytes: int = 1_048_576
    """VALENCE_MAX_BODY_BYTES of the service."""
    max_retries: int = 5
    """How often one request is sent again."""
    max_wait_seconds: float = 60
    """How long all waits of one request may take; a `Retry-After` beyond that is an error at once."""


def batches(texts: Iterable[str], limits: Limits) -> Iterator[list[str]]:
    """Split texts into requests within the limits; a text that is too large alone is for the service to refuse."""
    batch: list[str] = []
    room = budget = limits.max_body_bytes - 256  # for the options
    for text in texts:
        size = len(json.dumps(text, ensure_ascii=False).encode()) + 1
        if batch and (len(batch) == limits.max_texts or size > room):
            yield batch
            batch, room = [], budget
        batch.append(text)
        room -= size
    if batch:
        yield batch


def retry_after(response: httpx.Response, retries: int) -> float:
    """Seconds to wait by `Retry-After`, which is seconds or a date; without it 1, 2, 4, ... by the retries so far."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # missing, or neither
        return float(2**retries)


def requests(
    texts: Iterable[str], limits: Limits, options: dict[str, Any]
) -> Generator[tuple[float, dict[str, Any]], httpx.Response, list[Scores]]:
    """Yield what to send and after how many seconds, take the answers, and return the predictions.

    Whoever drives it brings the network and the clock, so both clients share it.
    """
    if isinstance(texts, str):
        raise TypeError("texts should be a list of texts, not one text")
    predictions: list[Scores] = []
    for batch in batches(texts, limits):
        wait, waited, retries = 0.0, 0.0, 0
        while (response := (yield wait, {"text": batch, **options})).status_code in BUSY:
            wait = retry_after(response, retries)
            waited, retries = waited + wait, retries + 1
            if retries > limits.max_retries or waited > limits.max_wait_seconds:
                break
        if response.is_error:
            raise refusal(response, len(predictions), len(batch))
        predictions += response.json()["predictions"]
    return predictions


def refusal(response: httpx.Response, first: int, number: int) -> httpx.HTTPStatusError:
    """The error with what the service says, the texts it is about, and the id to find it by in the service's log."""
    about = f"texts {first} to {first + number - 1}, request {response.headers.get('X-Request-ID')}"
    msg = f"HTTP {response.status_code} for {about}: {response.text[:1000]}"
    return httpx.HTTPStatusError(msg, request=response.request, response=response)


def http_options(url: str, api_key: str | None) -> dict[str, Any]:
    """What httpx is to know; the service itself gives up after VALENCE_TIMEOUT, 30 s by default."""
    return {"base_url": url, "timeout": 60, "headers": {"X-API-Key": api_key} if api_key else {}}


class Client:
    """Asks one request after another. Raises httpx.HTTPStatusError for a refusal, httpx.TransportError without one."""

    def __init__(self, url: str, *, api_key: str | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._http = httpx.Client(**http_options(url, api_key))

    def predict(self, texts: Iterable[str], **options: Any) -> list[Scores]:
        """Score texts, in their order. Options: `top_k`, `raw_scores`, `truncation` (docs/protocols.md)."""
        steps = requests(texts, self._limits, options)
        try:
            wait, body = next(steps)
            while True:
                time.sleep(wait)
                wait, body = steps.send(self._http.post("predict", json=body))
        except StopIteration as done:
            return list(done.value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


class AsyncClient:
    """`Client` for asyncio; for requests side by side, call `predict` more than once with `asyncio.gather`."""

    def __init__(self, url: str, *, api_key: str | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._http = httpx.AsyncClient(**http_options(url, api_key))

    async def predict(self, texts: Iterable[str], **options: Any) -> list[Scores]:
        """Score texts, in their order. Options: `top_k`, `raw_scores`, `truncation` (docs/protocols.md)."""
        steps = requests(texts, self._limits, options)
        try:
            wait, body = next(steps)
            while True:
                await asyncio.sleep(wait)
                wait, body = steps.send(await self._http.post("predict", json=body))
        except StopIteration as done:
            return list(done.value)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()


def frame(texts: Any, predictions: Sequence[Scores]) -> Any:
    """A pandas.DataFrame with the index of the series `texts` and one column of scores for each label."""
    import pandas as pd  # noqa: PLC0415 - only who wants a frame needs pandas

    rows = [{item["label"]: item["score"] for item in scores} for scores in predictions]
    return pd.DataFrame(rows, index=texts.index)
