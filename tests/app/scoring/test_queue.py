"""The queue in front of the model, with a model whose runs the test holds and lets go."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest

from app.errors import Overloaded
from app.model.tokenizer import Tokens
from app.scoring.queue import InferenceQueue, Job
from tests.app.held_model import HeldModel
from tests.app.redis_tiers import metric
from tests.conftest import until


def job(length: int) -> Job:
    """A text of that many tokens, for which one request waits."""
    tokens = Tokens([7] * length, truncated=False, unknown=0)
    return Job(asyncio.get_running_loop().create_future(), requests=1, tokens=tokens)


async def outcomes(jobs: Iterable[Job]) -> list[int]:
    """The top label of each: its number of tokens."""
    return [(await job.future).labels[0] for job in jobs]


def has_room(queue: InferenceQueue, tokens: int) -> bool:
    """Whether the queue would take so many more tokens."""
    try:
        queue.check_room(tokens)
    except Overloaded:
        return False
    return True


def run(
    test: Callable[[InferenceQueue, HeldModel], Awaitable[None]],
    *,
    threads: int = 1,
    pads: bool = True,
    window_tokens: int = 512,
    max_batch_tokens: int = 0,
    max_queue_tokens: int = 1_000,
) -> None:
    """Run `test` on an event loop with a queue of its own."""

    async def main() -> None:
        model = HeldModel()
        queue = InferenceQueue(
            model,
            threads=threads,
            pads=pads,
            window_tokens=window_tokens,
            max_batch_tokens=max_batch_tokens,
            max_queue_tokens=max_queue_tokens,
        )
        try:
            async with asyncio.timeout(30):
                await test(queue, model)
        finally:
            model.allow(100)
            queue.stop()
            queue.join()

    asyncio.run(main())


def test_each_text_runs_alone_in_order_of_arrival() -> None:
    """Without a token budget nothing is padded."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        jobs = [job(3), job(5), job(4)]
        queue.submit(jobs)
        model.allow(3)
        assert await outcomes(jobs) == [3, 5, 4]
        assert model.batches == [[3], [5], [4]]

    run(scenario)


def test_waiting_texts_of_near_length_run_together() -> None:
    """The first text starts at once; of those that gather meanwhile the oldest leads, its nearest in length join it."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        jobs = [job(9), job(10), job(30), job(11), job(29)]
        queue.submit(jobs[:1])
        await asyncio.to_thread(model.first_started.wait, 30)
        queue.submit(jobs[1:])
        model.allow(3)
        await outcomes(jobs)
        assert model.batches == [[9], [10, 11], [30, 29]]

    run(scenario, max_batch_tokens=60)


def test_without_padding_the_oldest_run_together() -> None:
    """Lengths do not matter to an engine that does not pad: nobody is overtaken, and the tokens themselves count."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        jobs = [job(9), job(10), job(30), job(11), job(29), job(70)]
        padding = metric("valence_padding_tokens_total")
        queue.submit(jobs[:1])
        await asyncio.to_thread(model.first_started.wait, 30)
        queue.submit(jobs[1:])
        model.allow(4)
        await outcomes(jobs)
        assert model.batches == [[9], [10, 30, 11], [29], [70]]
        assert metric("valence_padding_tokens_total") == padding

    run(scenario, pads=False, max_batch_tokens=60)


def test_padded_tokens_stay_within_the_budget() -> None:
    """Longest text times number of texts never exceeds the budget, unless one text alone does."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        jobs = [job(1), *(job(length) for length in (50, 8, 9, 10, 12, 3, 200))]
        queue.submit(jobs[:1])
        await asyncio.to_thread(model.first_started.wait, 30)
        queue.submit(jobs[1:])
        model.allow(len(jobs))
        await outcomes(jobs)
        assert all(len(batch) == 1 or max(batch) * len(batch) <= 40 for batch in model.batches)
        assert sorted(length for batch in model.batches for length in batch) == [1, 3, 8, 9, 10, 12, 50, 200]

    run(scenario, max_batch_tokens=40)


def test_nothing_is_padded_beside_a_text_in_windows() -> None:
    """Its windows run one after the other, and so do the texts beside it: only tokens of texts count."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        jobs = [job(3), job(50), job(20)]
        padding, read = metric("valence_padding_tokens_total"), metric("valence_inference_tokens_total")
        queue.submit(jobs[:1])
        await asyncio.to_thread(model.first_started.wait, 30)
        queue.submit(jobs[1:])
        model.allow(2)
        await outcomes(jobs)
        assert model.batches == [[3], [50, 20]]
        assert metric("valence_padding_tokens_total") == padding
        assert metric("valence_inference_tokens_total") == read + 73

    run(scenario, window_tokens=32, max_batch_tokens=70)


def test_every_thread_takes_work() -> None:
    """Two threads run two texts at the same time."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        jobs = [job(3), job(4)]
        queue.submit(jobs)
        await asyncio.to_thread(model.both_started.wait, 30)  # both are held: neither can have ended
        assert model.batches == [[3], [4]]
        model.allow(2)
        await outcomes(jobs)

    run(scenario, threads=2)


def test_full_queue_refuses_at_once_and_whole() -> None:
    """Beyond the bound nothing of a request is queued; the message names limit and load, the header a pause."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        accepted = [job(10), job(90)]
        queue.submit(accepted)
        await asyncio.to_thread(model.first_started.wait, 30)  # the first one runs, 90 tokens wait
        with pytest.raises(Overloaded, match="90 tokens are waiting, 16 more would exceed the limit of 100") as refused:
            queue.submit([job(8), job(8)])
        assert int((refused.value.headers or {})["Retry-After"]) >= 1
        model.allow(2)
        await outcomes(accepted)
        assert model.batches == [[10], [90]]

    run(scenario, max_queue_tokens=100)


def test_empty_queue_takes_a_request_beyond_the_bound() -> None:
    """A request larger than the whole queue is served when nothing else waits, or it never could be."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        jobs = [job(80), job(80)]
        queue.submit(jobs)
        model.allow(2)
        await outcomes(jobs)

    run(scenario, max_queue_tokens=100)


def test_abandoned_text_is_not_scored() -> None:
    """A text whose requests have gone while it waited leaves no work behind, and its tokens are free again."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        first, left, last = job(10), job(60), job(61)
        queue.submit([first, left])
        await asyncio.to_thread(model.first_started.wait, 30)
        left.requests = 0
        model.allow(2)
        await first.future
        await asyncio.to_thread(until, lambda: has_room(queue, 100), "the thread has looked for its next text")
        queue.submit([last])
        await last.future
        assert model.batches == [[10], [61]]

    run(scenario, max_queue_tokens=100)


def test_failed_inference_reaches_its_texts_and_no_others() -> None:
    """The error is raised where the result would have been; the queue goes on."""

    async def scenario(queue: InferenceQueue, model: HeldModel) -> None:
        broken, fine = job(3), job(4)
        queue.submit([broken, fine])
        model.allow(error=RuntimeError("broken"))
        model.allow()
        with pytest.raises(RuntimeError, match="broken"):
            await broken.future
        assert await outcomes([fine]) == [4]

    run(scenario)
