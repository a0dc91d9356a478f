"""Cache, single flight and queue together, with the real tokenizer and a model that the test can hold."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from app.errors import Overloaded, TimedOut
from app.model.package import Package
from app.model.tokenizer import Encoder
from app.scoring.memory import Answer, MemoryCache
from app.scoring.queue import InferenceQueue
from app.scoring.scorer import INLINE_BYTES, Scored, Scorer
from app.settings import BUNDLED_MODEL
from tests.app.held_model import HeldModel

PACKAGE = Package(BUNDLED_MODEL)
ENCODER = Encoder(PACKAGE.tokenizer_path, PACKAGE.manifest.max_tokens)
LONG = "good " * INLINE_BYTES  # tokenised in a thread


async def score(scorer: Scorer, texts: list[str]) -> Scored:
    """What is known of these texts in the end."""
    scored = scorer.recall(texts)
    if scored.missing:
        await scorer.ask_model(scored)
    return scored


def top_labels(scored: Scored) -> list[int]:
    """The top label of each text, in the order of the request: its number of tokens."""
    return [scored.answers[key].labels[0] for key in scored.keys]


def run(
    test: Callable[[Scorer, HeldModel], Awaitable[None]], *, timeout: float = 30, max_queue_tokens: int = 1_000
) -> None:
    """Run `test` on an event loop with a scorer of its own."""

    async def main() -> None:
        model = HeldModel()
        scorer = Scorer(
            encoder=ENCODER,
            queue=InferenceQueue(
                model, threads=1, pads=True, window_tokens=512, max_batch_tokens=0, max_queue_tokens=max_queue_tokens
            ),
            secret=b"",
            cache_prefix="valence:test:",
            memory=MemoryCache(max_entries=100, max_bytes=1_000_000, ttl_seconds=100),
            redis=None,
            timeout_seconds=timeout,
        )
        try:
            async with asyncio.timeout(60):
                await test(scorer, model)
        finally:
            model.allow(200)
            scorer.stop()
            scorer.join()

    asyncio.run(main())


def test_second_request_is_answered_from_the_cache() -> None:
    """The model sees a text once; the order of the texts is kept, and hits are counted by text."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow(3)
        first = await score(scorer, ["good", "very good"])
        second = await score(scorer, ["bad bad bad", "very good", "good"])
        assert [first.answers[key] for key in first.keys] == [
            Answer((tokens, 0), (1.0, 0.0), bytes(8), tokens, unknown_tokens=0, truncated=False) for tokens in (3, 4)
        ]
        assert top_labels(second) == [5, 4, 3]
        assert (first.hits, second.hits) == (0, 2)
        assert model.batches == [[3], [4], [5]]

    run(scenario)


def test_same_text_twice_in_a_request_is_scored_once() -> None:
    """Both places get the answer; neither was a hit."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow()
        scored = await score(scorer, ["good", "good"])
        assert top_labels(scored) == [3, 3]
        assert scored.hits == 0
        assert model.batches == [[3]]

    run(scenario)


@pytest.mark.parametrize("text", ["good", pytest.param(LONG, id="long")])
def test_stampede_on_a_cold_text_is_one_inference(text: str) -> None:
    """Five hundred requests that want the same unknown text share one run."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        requests = [asyncio.create_task(score(scorer, [text])) for _ in range(500)]
        await asyncio.to_thread(model.first_started.wait, 30)
        model.allow()
        assert len({top_labels(await request)[0] for request in requests}) == 1
        assert len(model.batches) == 1

    run(scenario)


@pytest.mark.parametrize("text", ["good", pytest.param(LONG, id="long")])
@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_waiter_that_leaves_does_not_cancel_the_others(text: str, leaver: int) -> None:
    """Whoever goes, the one that started the inference or one that joined, the others get their answer."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(score(scorer, ["the first one"]))
        requests = [asyncio.create_task(score(scorer, [text])) for _ in range(3)]
        await asyncio.to_thread(model.first_started.wait, 30)
        left = requests.pop(leaver)
        left.cancel()
        model.allow(2)
        assert [top_labels(await request) for request in requests] == [model.batches[1]] * 2
        await blocker
        assert left.cancelled()

    run(scenario)


def test_leaver_takes_along_what_it_alone_wanted() -> None:
    """Of its three waiting texts another request wants one: that one is scored, the two others are not."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(score(scorer, ["the first one"]))
        leaver = asyncio.create_task(score(scorer, ["a", "a b", "a b c"]))
        stayer = asyncio.create_task(score(scorer, ["a b"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        await asyncio.wait([leaver])
        model.allow(2)
        assert top_labels(await stayer) == [4]
        await blocker
        assert model.batches == [[5], [4]]

    run(scenario)


def test_late_request_leaves_the_text_to_one_that_came_later() -> None:
    """The timeout of the request that began an inference ends its own waiting alone."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        first = asyncio.create_task(score(scorer, ["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        await asyncio.sleep(0.5)
        second = asyncio.create_task(score(scorer, ["good"]))
        with pytest.raises(TimedOut):
            await first
        model.allow()
        assert top_labels(await second) == [3]
        assert model.batches == [[3]]

    run(scenario, timeout=1)


def test_nobody_is_told_of_an_inference_that_nobody_waits_for() -> None:
    """It fails after its request has gone: no request raises it, nor does the event loop call it forgotten."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        leaver = asyncio.create_task(score(scorer, ["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        await asyncio.wait([leaver])
        del leaver  # whose traceback knows the inference
        model.allow(error=RuntimeError("broken"))
        model.allow()
        await score(scorer, ["behind it"])
        gc.collect()
        assert complaints == []

    run(scenario)


def test_text_that_nobody_waits_for_leaves_the_queue() -> None:
    """When the only request for a waiting text has gone, it is never scored; a later request starts afresh."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(score(scorer, ["the first one"]))
        leaver = asyncio.create_task(score(scorer, ["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        model.allow(2)
        await blocker
        assert model.batches == [[5]]
        assert (await score(scorer, ["good"])).hits == 0

    run(scenario)


def test_text_left_by_all_can_be_asked_for_at_once() -> None:
    """In the very turn of the loop in which the last request gives a text up, another one starts it afresh."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(score(scorer, ["the first one"]))
        leaver = asyncio.create_task(score(scorer, ["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        successor = asyncio.create_task(score(scorer, ["good"]))
        await asyncio.gather(leaver, return_exceptions=True)
        model.allow(2)
        assert top_labels(await successor) == [3]
        await blocker

    run(scenario)


def test_result_is_kept_when_its_request_has_gone() -> None:
    """An inference that runs already is not wasted: the next request finds its result."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        leaver = asyncio.create_task(score(scorer, ["good"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        model.allow(2)
        await score(scorer, ["behind it"])
        assert (await score(scorer, ["good"])).hits == 1

    run(scenario)


def test_late_request_is_dropped_before_inference() -> None:
    """What waits longer than the timeout is refused, and not computed afterwards."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        blocker = asyncio.create_task(score(scorer, ["the first one"]))
        late = asyncio.create_task(score(scorer, ["good"]))
        with pytest.raises(TimedOut, match=r"0\.05 s \(VALENCE_TIMEOUT\)"):
            await late
        model.allow()
        await asyncio.gather(blocker, return_exceptions=True)
        model.allow()
        await score(scorer, ["after that"])
        assert model.batches == [[5], [4]]

    run(scenario, timeout=0.05)


def test_refused_request_leaves_nothing_behind() -> None:
    """A full queue refuses a request whole; asked again later, all its texts are scored."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        running = asyncio.create_task(score(scorer, ["one"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        waiting = asyncio.create_task(score(scorer, ["word " * 15]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await score(scorer, ["a", "b"])
        model.allow(4)
        await asyncio.gather(running, waiting)
        assert (await score(scorer, ["a", "b"])).hits == 0
        assert model.batches == [[3], [17], [3], [3]]

    run(scenario, max_queue_tokens=20)


def test_refusal_takes_neither_a_turn_of_the_loop_nor_tokenising() -> None:
    """In an overload there are many; and whoever is refused waits for nothing that others had asked for."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        running = asyncio.create_task(score(scorer, ["one"]))
        waiting = asyncio.create_task(score(scorer, ["word " * 15]))
        await asyncio.to_thread(model.first_started.wait, 30)
        with pytest.raises(Overloaded, match=r"17 tokens are waiting, 9 more"):  # 70 characters; it has 12 tokens
            scorer.ask_model(scorer.recall(["word " * 15, "undetermined " * 5])).send(None)
        waiting.cancel()
        await asyncio.wait([waiting])
        model.allow(2)
        await running
        await score(scorer, ["two"])
        assert model.batches == [[3], [3]]

    run(scenario, max_queue_tokens=20)


def test_long_text_is_not_refused_for_what_will_be_cut_off() -> None:
    """Its 10,000 characters make 512 tokens at most, for which there is room behind the one that waits."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        running = asyncio.create_task(score(scorer, ["one"]))
        waiting = asyncio.create_task(score(scorer, ["two"]))
        await asyncio.to_thread(model.first_started.wait, 30)
        long = asyncio.create_task(score(scorer, [LONG]))
        await asyncio.sleep(0)
        model.allow(3)
        await asyncio.gather(running, waiting, long)
        assert model.batches == [[3], [3], [512]]

    run(scenario)


def test_known_texts_are_answered_while_the_queue_is_full() -> None:
    """Hits pass before admission: an overloaded model still serves what is known."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow()
        await score(scorer, ["known"])
        running = asyncio.create_task(score(scorer, ["one"]))
        waiting = asyncio.create_task(score(scorer, ["word " * 15]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await score(scorer, ["a", "b"])
        assert (await score(scorer, ["known"])).hits == 1
        model.allow(2)
        await asyncio.gather(running, waiting)

    run(scenario, max_queue_tokens=20)


def test_truncation_is_reported_from_the_cache_too() -> None:
    """A text of more than the model's tokens is marked, the first time and from the cache."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow(2)
        for hits in (0, 1):
            scored = await score(scorer, [LONG])
            assert (scored.answers[scored.keys[0]].truncated, scored.hits) == (True, hits)
        assert model.batches == [[512]]

    run(scenario)


def test_failed_inference_is_not_cached() -> None:
    """An error reaches the request, and the next one tries again."""

    async def scenario(scorer: Scorer, model: HeldModel) -> None:
        model.allow(error=RuntimeError("broken"))
        with pytest.raises(RuntimeError, match="broken"):
            await score(scorer, ["good"])
        model.allow()
        assert top_labels(await score(scorer, ["good"])) == [3]

    run(scenario)


def test_keys_depend_on_prefix_and_text_alone() -> None:
    """Of fixed length, and the text cannot be read in them: another model or another text has another key."""

    async def scenario(scorer: Scorer, _: HeldModel) -> None:
        keys = scorer.recall(["good", "good ", "good", "good" * 10_000]).keys
        assert keys[0] == keys[2]
        assert len(set(keys)) == 3
        assert {len(key) for key in keys} == {len(b"valence:test:") + 16}
        assert all(key.startswith(b"valence:test:") and b"good" not in key for key in keys)

    run(scenario)
