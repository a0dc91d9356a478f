"""One version of the model while it serves: all that is its own is made together, swapped together, closed together.

Whatever depends on a package (labels, caches, queue, drift) hangs on a `ServedModel`, so a request that has taken one
can't mix two versions.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from hashlib import blake2b
from threading import Thread
from typing import TYPE_CHECKING, TypedDict, TypeVar
from urllib.parse import quote

import structlog

from app.cpu import ThreadPlan
from app.model.package import Package
from app.model.tabular import AnyModel, AnyPackage, checked_model
from app.scoring.memory import MemoryCache
from app.scoring.queue import InferenceQueue, lower_priority
from app.scoring.scorer import Scorer
from app.scoring.served import DriftWindow, ServedTexts, row_features, text_features
from app.scoring.stored import STORED_FORMAT
from app.settings import Settings
from app.telemetry.metrics import MODEL_INFO

if TYPE_CHECKING:
    from app.scoring.redis_tier import RedisTier

DIGEST_CHARACTERS = 16
"""How much of the digest names a version in logs, metrics and keys."""
MAX_NAME_CHARACTERS = 128
"""Of a model's name in a header, where whatever is no plain ASCII is percent-encoded."""
POLL_SECONDS = 0.02
"""How often a version that is to be closed is asked whether requests need it: to tell it would cost each of them."""

log = structlog.get_logger()
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version that is loaded, checked and warm. Lives on the event loop that `load` was called on."""

    package: AnyPackage
    classifier: AnyModel
    golden_difference: float
    """By how much a golden answer differs from that at export, at most."""
    scorer: Scorer
    served: ServedTexts
    header: tuple[bytes, bytes]
    """`X-Model: NAME@DIGEST` of its answers."""
    connections: AsyncExitStack
    """That to Redis, if there is one."""

    @property
    def labels(self) -> tuple[str, str, str]:
        """Name, digest and engine, by which metrics tell versions apart."""
        return self.package.manifest.name, self.package.digest[:DIGEST_CHARACTERS], self.classifier.engine.name

    def publish(self) -> None:
        """Set the gauges that are of the version that answers; once a second, and when it begins to."""
        MODEL_INFO.labels(*self.labels).set(1)
        self.scorer.publish()
        if self.served.drift is not None:
            self.served.drift.publish()

    def retire(self) -> None:
        """Take back the gauges that say that it answers."""
        MODEL_INFO.remove(*self.labels)
        if self.served.drift is not None:
            self.served.drift.retire()

    async def close(self, *, wait_seconds: float = 0) -> None:
        """Let go of everything, when no request asks any more, or so much later."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    while self.scorer.requests:  # noqa: ASYNC110 - POLL_SECONDS says why
                        await asyncio.sleep(POLL_SECONDS)
        finally:
            self.scorer.stop()
            await asyncio.to_thread(self.scorer.join)
            await self.connections.aclose()


class Swap(TypedDict):
    """What came of a load: the versions by their names and digests, and how long it took."""

    model: str
    digest: str
    engine: str
    stale: str | None
    """Why the copy in the cache had to do, where its source could not be reached."""
    before: str | None
    """Digest of the version that served before; None where none could."""
    seconds: float


async def load(package: AnyPackage, settings: Settings, plan: ThreadPlan) -> ServedModel:
    """Have a package read, checked against its golden texts and warmed up beside the event loop.

    Raises GoldenMismatch or PackageError when it can't be served.
    """
    classifier, golden_difference = await aside(checked_model, package, settings.engine)
    if classifier.native_differs is not None:
        log.warning("native_engine_differs", reason=classifier.native_differs)
    await aside(classifier.warm_up)
    # Pods that share a Redis must agree on it: the setting, or else what they all know.
    told = settings.cache_key.get_secret_value() if settings.cache_key else package.digest
    secret = blake2b(told.encode()).digest()
    async with AsyncExitStack() as stack:
        redis = redis_tier(package, settings, secret)
        if redis is not None:
            await stack.enter_async_context(redis)
        return ServedModel(
            package=package,
            classifier=classifier,
            golden_difference=golden_difference,
            scorer=_scorer(classifier, settings, plan, redis, secret),
            served=ServedTexts(package.manifest.labels, _watch_drift(package, settings)),
            header=_header(package),
            connections=stack.pop_all(),
        )


async def aside(run: Callable[..., _Result], *arguments: object) -> _Result:
    """Run in a thread that takes no more of the CPU than inference does: requests may be answered meanwhile.

    No executor's, for which the end of the process would wait: a download may take ten minutes.
    """
    outcome: Future[_Result] = Future()
    outcome.set_running_or_notify_cancel()  # whoever waits may be cancelled, the thread can't

    def work() -> None:
        lower_priority()
        try:
            outcome.set_result(run(*arguments))
        except BaseException as exc:  # it belongs to whoever waits
            outcome.set_exception(exc)

    Thread(target=work, name="load", daemon=True).start()
    return await asyncio.wrap_future(outcome)


def redis_tier(package: AnyPackage, settings: Settings, secret: bytes = b"") -> "RedisTier | None":
    """The second cache tier for this package, not yet connected. Raises ValueError for a URL that can't be used."""
    if settings.redis_url is None:
        return None
    from app.scoring.redis_tier import RedisTier  # noqa: PLC0415 - redis-py: 8 MB and 150 ms that most do without

    return RedisTier(
        settings.redis_url,
        labels=len(package.manifest.labels),
        timeout_seconds=settings.redis_timeout_seconds,
        ttl_seconds=settings.cache_ttl_seconds,
        secret=secret,
    )


def _scorer(
    classifier: AnyModel, settings: Settings, plan: ThreadPlan, redis: "RedisTier | None", secret: bytes
) -> Scorer:
    digest = classifier.package.digest[:DIGEST_CHARACTERS]
    return Scorer(
        encoder=classifier.encoder,
        queue=InferenceQueue(
            classifier.predict,
            threads=plan.threads,
            pads=classifier.engine.pads,
            window_tokens=classifier.window_tokens,
            max_batch_tokens=settings.max_batch_tokens,
            max_queue_tokens=settings.max_queue_tokens,
        ),
        # Engines round differently, so pods with different ones share no scores; nor do versions that store others.
        cache_prefix=f"valence:{digest}:{classifier.engine.name}:{STORED_FORMAT}:",
        secret=secret,
        memory=MemoryCache(
            max_entries=settings.cache_max_entries,
            max_bytes=settings.cache_max_bytes,
            ttl_seconds=settings.cache_ttl_seconds,
        ),
        redis=redis,
        timeout_seconds=settings.timeout,
    )


def _watch_drift(package: AnyPackage, settings: Settings) -> DriftWindow | None:
    if package.profile is None or not settings.drift_window_texts:
        off = "VALENCE_DRIFT_WINDOW_TEXTS=0" if package.profile else "the model package has no profile"
        log.info("drift_not_watched", reason=off)
        return None
    return DriftWindow(
        package.profile,
        features_of=text_features if isinstance(package, Package) else row_features(package.manifest.names),
        max_texts=settings.drift_window_texts,
        max_age_seconds=settings.drift_window_seconds,
    )


def _header(package: AnyPackage) -> tuple[bytes, bytes]:
    name = quote(package.manifest.name[:MAX_NAME_CHARACTERS], safe="/:+ ")
    return b"x-model", f"{name}@{package.digest[:DIGEST_CHARACTERS]}".encode()
