"""Cache, single flight and queue together, with the real tokenizer and a model that the test can hold."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.batching import Batcher
from app.cache import Keys, MemoryCache
from app.errors import Overloaded, TimedOut
from app.model import Answer
from app.package import Package
from app.scoring import INLINE_CHARACTERS, Scorer
from app.settings import BUNDLED_MODEL
from app.tokenization import Encoder
from tests.app.held_model import HeldModel

PACKAGE = Package(BUNDLED_MODEL)
ENCODER = Encoder(PACKAGE.tokenizer_path, PACKAGE.manifest.max_tokens)
LONG = "good " * INLINE_CHARACTERS  # tokenised in a thread


def run(
    test: Callable[[Scorer, HeldModel], Awaitable[None]], *, timeout: float = 30, max_queue_tokens: int = 1_000
) -> None:
    """Run `test` on an event loop with a scorer of its own."""

    async def main() -> None:
        model = HeldModel()
        scorer = Scorer(
            encoder=ENCODER,
            batcher=Batcher(model, threads=1, pads=True, max_batch_tokens=0, max_queue_tokens=max_queue_tokens),
            keys=Keys(PACKAGE.digest),
            memory=MemoryCache(max_entries=100, max_bytes=1_000_000, ttl_seconds=100),
            redis=None,
            timeout_seconds=timeout,
        )
        try:
            async with asyncio.timeout(60):
                await test(scorer, model)
        finally:
            model.allow(200)
            scorer.close()

    asyncio.run(main())


def test_second_request_is_answered_from_the_cache() -> None:
    """The model sees a text once; the order of the texts is kept, and hits are counted by text."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow(3)
        first = await scorer.score(["good", "very good"])
        second = await scorer.score(["bad bad bad", "very good", "good"])
        assert first.answers == [
            Answer(b"%d" % tokens, 0, 1.0, tokens, unknown_tokens=0, truncated=False) for tokens in (3, 4)
        ]
        assert [answer.fragment for answer in second.answers] == [b"5", b"4", b"3"]
        assert (first.hits, second.hits) == (0, 2)
        assert model.batches == [[3], [4], [5]]

    run(scenario)


def test_same_text_twice_in_a_request_is_scored_once() -> None:
    """Both places get the answer; neither was a hit."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow()
        scored = await scorer.score(["good", "good"])
        assert [answer.fragment for answer in scored.answers] == [b"3", b"3"]
        assert scored.hits == 0
        assert model.batches == [[3]]

    run(scenario)


@pytest.mark.parametrize("text", ["good", pytest.param(LONG, id="long")])
def test_stampede_on_a_cold_text_is_one_inference(text: str) -> None:
    """Five hundred requests that want the same unknown text share one run."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        requests = [asyncio.create_task(scorer.score([text])) for _ in range(500)]
        await asyncio.to_thread(model.first_started.wait, 30)
        model.allow()
        assert len({(await request).answers[0] for request in requests}) == 1
        assert len(model.batches) == 1

    run(scenario)


def test_waiter_that_leaves_does_not_cancel_the_others() -> None:
    """The request that started the inference goes away; the one that joined still gets its answer."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(scorer.score(["the first one"]))
        leaver, stayer = (asyncio.create_task(scorer.score(["good"])) for _ in range(2))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        model.allow(2)
        assert (await stayer).answers[0].fragment == b"3"
        await blocker
        assert leaver.cancelled()

    run(scenario)


def test_text_that_nobody_waits_for_leaves_the_queue() -> None:
    """When the only request for a waiting text has gone, it is never scored; a later request starts afresh."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(scorer.score(["the first one"]))
        leaver = asyncio.create_task(scorer.score(["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        model.allow(2)
        await blocker
        assert model.batches == [[5]]
        assert (await scorer.score(["good"])).hits == 0

    run(scenario)


def test_text_left_by_all_can_be_asked_for_at_once() -> None:
    """In the very turn of the loop in which the last request gives a text up, another one starts it afresh."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(scorer.score(["the first one"]))
        leaver = asyncio.create_task(scorer.score(["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        successor = asyncio.create_task(scorer.score(["good"]))
        await asyncio.gather(leaver, return_exceptions=True)
        model.allow(2)
        assert (await successor).answers[0].fragment == b"3"
        await blocker

    run(scenario)


def test_result_is_kept_when_its_request_has_gone() -> None:
    """An inference that runs already is not wasted: the next request finds its result."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        leaver = asyncio.create_task(scorer.score(["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        model.allow(2)
        await scorer.score(["behind it"])
        assert (await scorer.score(["good"])).hits == 1

    run(scenario)


def test_late_request_is_dropped_before_inference() -> None:
    """What waits longer than the timeout is refused, and not computed afterwards."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(scorer.score(["the first one"]))
        late = asyncio.create_task(scorer.score(["good"]))
        with pytest.raises(TimedOut, match=r"0\.05 s \(VALENCE_TIMEOUT\)"):
            await late
        model.allow()
        await asyncio.gather(blocker, return_exceptions=True)
        model.allow()
        await scorer.score(["after that"])
        assert model.batches == [[5], [4]]

    run(scenario, timeout=0.05)


def test_refused_request_leaves_nothing_behind() -> None:
    """A full queue refuses a request whole; asked again later, all its texts are scored."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        running = asyncio.create_task(scorer.score(["one"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        waiting = asyncio.create_task(scorer.score(["word " * 15]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await scorer.score(["a", "b"])
        model.allow(4)
        await asyncio.gather(running, waiting)
        assert (await scorer.score(["a", "b"])).hits == 0
        assert model.batches == [[3], [17], [3], [3]]

    run(scenario, max_queue_tokens=20)


def test_refusal_takes_neither_a_turn_of_the_loop_nor_tokenising() -> None:
    """In an overload there are many; and whoever is refused waits for nothing that others had asked for."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        running = asyncio.create_task(scorer.score(["one"]))
        waiting = asyncio.create_task(scorer.score(["word " * 15]))
        await asyncio.to_thread(model.first_started.wait, 30)
        with pytest.raises(Overloaded, match=r"17 tokens are waiting, 9 more"):  # 70 characters; it has 12 tokens
            scorer.ask_model(scorer.recall(["word " * 15, "undetermined " * 5]))
        waiting.cancel()
        await asyncio.wait([waiting])
        model.allow(2)
        await running
        await scorer.score(["two"])
        assert model.batches == [[3], [3]]

    run(scenario, max_queue_tokens=20)


def test_long_text_is_not_refused_for_what_will_be_cut_off() -> None:
    """Its 10,000 characters make 512 tokens at most, for which there is room behind the one that waits."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        running = asyncio.create_task(scorer.score(["one"]))
        waiting = asyncio.create_task(scorer.score(["two"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        long = asyncio.create_task(scorer.score([LONG]))
        await asyncio.sleep(0)
        model.allow(3)
        await asyncio.gather(running, waiting, long)
        assert model.batches == [[3], [3], [512]]

    run(scenario)


def test_known_texts_are_answered_while_the_queue_is_full() -> None:
    """Hits pass before admission: an overloaded model still serves what is known."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow()
        await scorer.score(["known"])
        running = asyncio.create_task(scorer.score(["one"]))
        waiting = asyncio.create_task(scorer.score(["word " * 15]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await scorer.score(["a", "b"])
        assert (await scorer.score(["known"])).hits == 1
        model.allow(2)
        await asyncio.gather(running, waiting)

    run(scenario, max_queue_tokens=20)


def test_truncation_is_reported_from_the_cache_too() -> None:
    """A text of more than the model's tokens is marked, the first time and from the cache."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow(2)
        for hits in (0, 1):
            scored = await scorer.score([LONG])
            assert (scored.answers[0].truncated, scored.hits) == (True, hits)
        assert model.batches == [[512]]

    run(scenario)


def test_failed_inference_is_not_cached() -> None:
    """An error reaches the request, and the next one tries again."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow(error=RuntimeError("broken"))
        with pytest.raises(RuntimeError, match="broken"):
            await scorer.score(["good"])
        model.allow()
        assert (await scorer.score(["good"])).answers[0].fragment == b"3"

    run(scenario)
