"""The Python client against a real service with small limits, keys and quotas."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from examples.client import AsyncClient, Client, Limits, Scores, batches, frame, retry_after
from tests.conftest import Service
from tests.examples.limited import limited

LIMITS = Limits(max_texts=4, max_body_bytes=2_000)
TEXTS = [f"Film number {number} is {'very ' * (number // 9 * 150)}good." for number in range(17)] + ['Ä\n"ö"' * 100] * 2


def ask(service: Service, texts: list[str], key: str = "shop-key", limits: Limits = LIMITS) -> list[Scores]:
    """Ask with the client for scripts."""
    with Client(service.url, api_key=key, limits=limits) as client:
        return client.predict(texts)


async def ask_async(service: Service, texts: list[str]) -> list[Scores]:
    """Ask with the client for asyncio."""
    async with AsyncClient(service.url, api_key="shop-key", limits=LIMITS) as client:
        return await client.predict(texts)


def test_both_split_what_is_too_much_for_one_request(keyed: Service) -> None:
    """By number and by bytes, and give what each text alone would get."""
    sizes = [len(batch) for batch in batches(TEXTS, LIMITS)]
    assert (max(sizes), sum(sizes)) == (4, len(TEXTS))
    assert sizes[:-1] != [4] * (len(sizes) - 1)
    alone = [ask(keyed, [text])[0] for text in TEXTS]
    assert ask(keyed, TEXTS) == asyncio.run(ask_async(keyed, TEXTS)) == alone
    assert ask(keyed, []) == []


def test_waits_as_long_as_it_is_told(keyed: Service) -> None:
    """A 429 with `Retry-After` is waited for, and the request after it answered."""
    assert len(ask(keyed, TEXTS[:9], "slow-key")) == 9
    assert 1 <= limited(keyed, "slow") <= 3


def test_gives_up_where_the_wait_is_beyond_its_bound(keyed: Service) -> None:
    """A quota that is used up until midnight is an error after one request."""
    ask(keyed, TEXTS[:1], "daily-key")
    with pytest.raises(httpx.HTTPStatusError, match=r"HTTP 429 for texts 0 to 0, request .*: .* are used up"):
        ask(keyed, TEXTS[:1], "daily-key", replace(LIMITS, max_wait_seconds=0.5))
    assert limited(keyed, "daily") == 1


def test_gives_up_after_so_many_retries(keyed: Service) -> None:
    """None of them here: the first refusal is the error."""
    before = limited(keyed, "slow")
    with pytest.raises(httpx.HTTPStatusError, match=r"HTTP 429 .* 2 texts a second"):
        ask(keyed, TEXTS[:9], "slow-key", replace(LIMITS, max_retries=0))
    assert limited(keyed, "slow") == before + 1


def test_says_what_the_service_refuses(keyed: Service) -> None:
    """Which texts, and why; one text in the place of a list is refused here."""
    with pytest.raises(httpx.HTTPStatusError, match=r"HTTP 422 for texts 4 to 4, request .*blank"):
        ask(keyed, [*TEXTS[:4], " "])
    with pytest.raises(httpx.HTTPStatusError, match="HTTP 401"):
        ask(keyed, TEXTS, "another-key")
    with pytest.raises(TypeError, match="not one text"):
        ask(keyed, "A fine film.")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        (timedelta(days=1), 80_000, 86_400),
        (timedelta(days=-1), 0, 0),
        ("soon", 4, 4),
        (None, 4, 4),
    ],
)
def test_reads_every_retry_after(value: str | timedelta | None, least: float, most: float) -> None:
    """Seconds, a date as proxies send it, and neither, here after two retries."""
    # The date is made here: a time of day in a test's name is another name in each process of
    # pytest-xdist, which then refuses to run anything.
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    response = httpx.Response(503, headers={"Retry-After": value} if value else {})
    assert least <= retry_after(response, 2) <= most


def test_frame_has_the_index_and_a_column_for_each_label(service: Service) -> None:
    """And the scores of each text in its row."""
    pd = pytest.importorskip("pandas", reason="pandas belongs to the export's environment")
    texts = pd.Series(["I love you.", "I hate you."], index=["b", "a"])
    with Client(service.url) as client:
        scores = frame(texts, client.predict(texts))
    assert list(scores.index) == ["b", "a"]
    assert scores.idxmax(axis="columns").to_dict() == {"b": "POSITIVE", "a": "NEGATIVE"}
