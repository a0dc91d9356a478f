"""One worker's life: loading, checked, warm, ready, draining, closed.

The model is loaded beside the event loop, so that the probes answer from the first moment, and `/readyz` turns to 200
only when the golden texts have scored as in the manifest and the first-time costs are paid.
"""

import asyncio
import gc
import signal
import threading
from contextlib import AsyncExitStack

import structlog

from app.allocator import return_free_pages, return_large_blocks
from app.batching import Batcher
from app.cache import Keys, MemoryCache
from app.cpu import cpu_flags, plan_threads, resident_bytes
from app.drift import DriftWindow
from app.errors import NotReady
from app.metrics import (
    CACHE_BYTES,
    CACHE_ENTRIES,
    MODEL_INFO,
    QUEUE_LIMIT,
    QUEUE_TEXTS,
    QUEUE_TOKENS,
    QUOTA,
    READY,
    RESIDENT,
    THREADS,
)
from app.model import Classifier, GoldenMismatch
from app.package import Package
from app.recording import Recorder
from app.redis_tier import RedisTier
from app.scoring import Scorer
from app.served import ServedTexts
from app.settings import EngineChoice, Settings
from app.tracing import Tracing

log = structlog.get_logger()


class Lifecycle:
    """Owns what answers predictions, and knows whether it may. Raises PackageError for an unusable package."""

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        self.settings = settings
        self.tracing = tracing
        self.package = Package(settings.model_dir)
        self.plan = plan_threads(workers=settings.workers, requested=settings.threads)
        self.golden_difference: float | None = None
        self.engine: tuple[str, str | None] | None = None
        """Which one computes the model, once that is known, and why it is not the native one."""
        self.draining = False
        self._not_ready: str | None = "the model is being loaded"
        self._scorer: Scorer | None = None
        self._loading: asyncio.Task[None] | None = None
        self.drift = self._watch_drift()
        self.served = ServedTexts(self.package.manifest.labels)
        self.recorder = Recorder()
        self._resources = AsyncExitStack()

    @property
    def status(self) -> str:
        """One line for people: "ready", or why not."""
        return "draining: this process was told to stop" if self.draining else self._not_ready or "ready"

    @property
    def scorer(self) -> Scorer:
        """What scores texts; while draining, too. Raises NotReady before it may."""
        if self._scorer is None or self._not_ready:
            raise NotReady(self._not_ready or "not started", headers={"Retry-After": "1"})
        return self._scorer

    async def start(self) -> None:
        """Begin to load; returns at once."""
        log.info(
            "starting",
            model=self.package.manifest.name,
            digest=self.package.digest[:16],
            threads=self.plan.threads,
            quota_cores=self.plan.quota_cores,
            affinity_cores=self.plan.affinity_cores,
            cpu_flags=cpu_flags(),
        )
        self._record()
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        """Let go of everything, in reverse order."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await self._resources.aclose()
        self.recorder.stop()

    def _record(self) -> None:
        """What the metrics read, rather than being told."""
        THREADS.set(self.plan.threads)
        QUOTA.set(min(self.plan.quota_cores or self.plan.affinity_cores, self.plan.affinity_cores))
        QUEUE_LIMIT.set(self.settings.max_queue_tokens)
        self.recorder.watch(READY, lambda: self.status == "ready")
        self.recorder.watch(RESIDENT, resident_bytes)
        self.recorder.before_pouring(self.served.record)
        if self.drift is not None:
            self.recorder.before_pouring(self.drift.publish)
        else:
            off = "VALENCE_DRIFT_WINDOW_TEXTS=0" if self.package.profile else "the model package has no profile"
            log.info("drift_not_watched", reason=off)
        self.recorder.start()

    def _watch_drift(self) -> DriftWindow | None:
        settings = self.settings
        if self.package.profile is None or not settings.drift_window_texts:
            return None
        return DriftWindow(
            self.package.profile,
            max_texts=settings.drift_window_texts,
            max_age_seconds=settings.drift_window_seconds,
        )

    async def _load(self) -> None:
        return_large_blocks()  # before the model's are made
        try:
            classifier = await asyncio.to_thread(self._check, self.settings.engine)
            await asyncio.to_thread(classifier.warm_up)
            self._scorer = await self._assemble(classifier)
            self.engine = classifier.engine.name, classifier.engine_reason
        except GoldenMismatch as exc:
            self._not_ready = f"golden check failed: {exc}"
            log.error("golden_check_failed", reason=str(exc))  # noqa: TRY400 - the reason is the whole story
        except Exception as exc:  # the process stays up, so that the probe can say why it is not ready
            self._not_ready = f"the model could not be loaded: {exc}"
            log.exception("load_failed")
        else:
            self._not_ready = None
            # What start-up made lives as long as the process: the garbage collector need not look at it again.
            gc.collect()
            gc.freeze()
            return_free_pages()
            MODEL_INFO.labels(self.package.manifest.name, self.package.digest[:16]).set(1)
            name, reason = self.engine
            log.info("ready", engine=name, engine_reason=reason, golden_difference=self.golden_difference)

    def _check(self, choice: EngineChoice) -> Classifier:
        """A classifier that scores the golden texts as at export. Raises GoldenMismatch when there is none."""
        classifier = Classifier(self.package, choice)
        self._not_ready = "the golden texts are being checked"
        try:
            self.golden_difference = classifier.check_golden()
        except Exception as exc:
            if choice != "auto" or classifier.engine.name == "onnxruntime":
                raise
            # Rounding goes another way now and then, and one golden text in hundreds moves too far by it.
            log.warning("native_engine_differs", reason=str(exc))
            classifier = self._check("onnxruntime")
            classifier.engine_reason = str(exc)
        return classifier

    async def _assemble(self, classifier: Classifier) -> Scorer:
        settings = self.settings
        redis = None
        if settings.redis_url is not None:
            tier = RedisTier(
                settings.redis_url,
                timeout_seconds=settings.redis_timeout_seconds,
                ttl_seconds=settings.cache_ttl_seconds,
            )
            redis = await self._resources.enter_async_context(tier)
        batcher = Batcher(
            classifier.predict,
            threads=self.plan.threads,
            pads=classifier.engine.pads,
            max_batch_tokens=settings.max_batch_tokens,
            max_queue_tokens=settings.max_queue_tokens,
            tracing=self.tracing,
        )
        memory = MemoryCache(
            max_entries=settings.cache_max_entries,
            max_bytes=settings.cache_max_bytes,
            ttl_seconds=settings.cache_ttl_seconds,
        )
        self.recorder.watch(QUEUE_TOKENS, lambda: batcher.waiting_tokens)
        self.recorder.watch(QUEUE_TEXTS, lambda: batcher.waiting_texts)
        self.recorder.watch(CACHE_ENTRIES, lambda: len(memory))
        self.recorder.watch(CACHE_BYTES, lambda: memory.size_bytes)
        scorer = Scorer(
            encoder=classifier.encoder,
            batcher=batcher,
            keys=Keys(self.package.digest, classifier.engine.name),
            memory=memory,
            redis=redis,
            timeout_seconds=settings.timeout,
        )
        self._resources.callback(scorer.close)
        return scorer

    def handle_signals(self) -> None:
        """On SIGTERM say "not ready" first, and hand the signal on to the server after `drain_seconds`.

        Load balancers go on sending requests for some seconds after a pod was told to stop (kubernetes#43576). SIGINT
        (Ctrl-C) stops without that wait, and so does SIGQUIT, which gunicorn sends to its workers for a SIGINT of its
        own: uvicorn-worker 0.4 only takes note of it, and the worker would be killed after the grace period. Does
        nothing outside the main thread, where Python allows no signal handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        stop_server = signal.getsignal(signal.SIGTERM)
        if not callable(stop_server):
            return

        def drain() -> None:
            self.draining = True
            loop.call_later(self.settings.drain_seconds, stop_server, signal.SIGTERM, None)

        loop.add_signal_handler(signal.SIGTERM, drain)
        loop.add_signal_handler(signal.SIGQUIT, stop_server, signal.SIGQUIT, None)
