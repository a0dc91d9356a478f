"""One worker's life: loading, checked, warm, ready, draining, closed.

The model is loaded beside the event loop, so that the probes answer from the first moment, and `/readyz` turns to 200
only when the golden texts have scored as in the manifest and the first-time costs are paid.
"""

import asyncio
import gc
import signal
import threading
from contextlib import AsyncExitStack
from hashlib import blake2b

import structlog

from app.cpu import cpu_flags, plan_threads, resident_bytes
from app.errors import NotReady, PackageError
from app.model.classifier import Classifier, GoldenMismatch, checked_classifier
from app.model.package import Package
from app.scoring.drift import DriftWindow
from app.scoring.memory import MemoryCache
from app.scoring.queue import InferenceQueue
from app.scoring.redis_tier import RedisTier
from app.scoring.scorer import Scorer
from app.scoring.served import ServedTexts
from app.scoring.stored import STORED_FORMAT
from app.settings import Settings, SettingsError
from app.telemetry.logs import stdout
from app.telemetry.metrics import LOG_LINES_DROPPED, MODEL_INFO, QUEUE_LIMIT, QUOTA, READY, RESIDENT, THREADS

MEASURE_SECONDS = 1.0
"""How far those metrics lag behind that nobody reports: readiness, memory, drift, lost log lines."""

log = structlog.get_logger()


class Lifecycle:
    """Owns what answers predictions, and knows whether it may. Raises PackageError or SettingsError where it can't."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.package = Package(settings.model_dir)
        # Pods that share a Redis must agree on it: the setting, or else what they all know.
        told = settings.cache_key.get_secret_value() if settings.cache_key else self.package.digest
        self._secret = blake2b(told.encode()).digest()
        self._redis = self._redis_tier()
        self.plan = plan_threads(workers=settings.workers, requested=settings.threads)
        self.golden_difference: float | None = None
        self.engine: tuple[str, str | None] | None = None
        """Which one computes the model, once that is known, and why it is not the native one."""
        self.scorer: Scorer | None = None
        """What scores texts, once it may; while draining, too."""
        self.draining = False
        self._not_ready: str | None = "the model is being loaded"
        self.loop: asyncio.AbstractEventLoop
        """The one on which everything lives; asked for once, since until Python 3.12 each question is a system call."""
        self._loaded = asyncio.Event()
        """Loading is over, well or not."""
        self._loading: asyncio.Task[None] | None = None
        self._drift = self._watch_drift()
        self.served = ServedTexts(self.package.manifest.labels, self._drift)
        self._lines_dropped = 0
        self._measuring: asyncio.TimerHandle | None = None
        self._resources = AsyncExitStack()

    @property
    def status(self) -> str:
        """One line for people: "ready", or why not."""
        return "draining: this process was told to stop" if self.draining else self._not_ready or "ready"

    async def wait_for_scorer(self) -> Scorer:
        """What scores texts, as soon as it may.

        A worker that replaces another one takes connections before its model is loaded; those requests wait here.
        Raises NotReady when it can't be loaded, or not within the timeout.
        """
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._loaded.wait()
        except TimeoutError:
            pass  # the status below says what it was waiting for
        if self.scorer is None:
            raise NotReady(self._not_ready or "not started", headers={"Retry-After": "1"})
        return self.scorer

    async def start(self) -> None:
        """Begin to load; returns at once."""
        self.loop = asyncio.get_running_loop()
        log.info(
            "starting",
            model=self.package.manifest.name,
            digest=self.package.digest[:16],
            threads=self.plan.threads,
            quota_cores=self.plan.quota_cores,
            affinity_cores=self.plan.affinity_cores,
            cpu_flags=cpu_flags(),
        )
        if self._drift is None:
            off = "VALENCE_DRIFT_WINDOW_TEXTS=0" if self.package.profile else "the model package has no profile"
            log.info("drift_not_watched", reason=off)
        THREADS.set(self.plan.threads)
        QUOTA.set(min(self.plan.quota_cores or self.plan.affinity_cores, self.plan.affinity_cores))
        QUEUE_LIMIT.set(self.settings.max_queue_tokens)
        self._measure()
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        """Let go of everything, in reverse order."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await self._resources.aclose()
        if self._measuring is not None:
            self._measuring.cancel()

    def _measure(self) -> None:
        """Set the metrics that nobody reports, once a second."""
        self._publish()
        self._measuring = self.loop.call_later(MEASURE_SECONDS, self._measure)

    def _publish(self) -> None:
        READY.set(self.status == "ready")
        RESIDENT.set(resident_bytes())
        dropped, self._lines_dropped = stdout.dropped - self._lines_dropped, stdout.dropped
        LOG_LINES_DROPPED.inc(dropped)
        if self._drift is not None:
            self._drift.publish()

    def _watch_drift(self) -> DriftWindow | None:
        settings = self.settings
        if self.package.profile is None or not settings.drift_window_texts:
            return None
        return DriftWindow(
            self.package.profile,
            max_texts=settings.drift_window_texts,
            max_age_seconds=settings.drift_window_seconds,
        )

    def _redis_tier(self) -> RedisTier | None:
        settings = self.settings
        if settings.redis_url is None:
            return None
        try:
            return RedisTier(
                settings.redis_url,
                labels=len(self.package.manifest.labels),
                timeout_seconds=settings.redis_timeout_seconds,
                ttl_seconds=settings.cache_ttl_seconds,
                secret=self._secret,
            )
        except ValueError as exc:
            raise SettingsError(f"VALENCE_REDIS_URL: {exc}") from exc

    async def _load(self) -> None:
        try:
            classifier, self.golden_difference = await asyncio.to_thread(
                checked_classifier, self.package, self.settings.engine
            )
            if classifier.native_differs is not None:
                log.warning("native_engine_differs", reason=classifier.native_differs)
            await asyncio.to_thread(classifier.warm_up)
            self.scorer = await self._assemble(classifier)
        except GoldenMismatch as exc:
            self._not_ready = f"golden check failed: {exc}"
            log.error("golden_check_failed", reason=str(exc))  # noqa: TRY400 - the reason is the whole story
        except PackageError as exc:
            self._not_ready = f"the model could not be loaded: {exc}"
            log.error("load_failed", reason=str(exc))  # noqa: TRY400 - as above
        except Exception as exc:  # the process stays up, so that the probe can say why it is not ready
            self._not_ready = f"the model could not be loaded: {exc}"
            log.exception("load_failed")
        else:
            self._ready(classifier)
        finally:
            self._loaded.set()

    def _ready(self, classifier: Classifier) -> None:
        self._not_ready = None
        self._publish()
        self.engine = classifier.engine.name, classifier.engine_reason
        # What start-up made lives as long as the process: the garbage collector need not look at it again.
        gc.collect()
        gc.freeze()
        name, reason = self.engine
        MODEL_INFO.labels(self.package.manifest.name, self.package.digest[:16], name).set(1)
        log.info("ready", engine=name, engine_reason=reason, golden_difference=self.golden_difference)

    async def _assemble(self, classifier: Classifier) -> Scorer:
        settings = self.settings
        if self._redis is not None:
            await self._resources.enter_async_context(self._redis)
        queue = InferenceQueue(
            classifier.predict,
            threads=self.plan.threads,
            pads=classifier.engine.pads,
            window_tokens=classifier.window_tokens,
            max_batch_tokens=settings.max_batch_tokens,
            max_queue_tokens=settings.max_queue_tokens,
        )
        memory = MemoryCache(
            max_entries=settings.cache_max_entries,
            max_bytes=settings.cache_max_bytes,
            ttl_seconds=settings.cache_ttl_seconds,
        )
        scorer = Scorer(
            encoder=classifier.encoder,
            queue=queue,
            # Engines round differently, so pods with different ones share no scores; nor do versions that store others.
            cache_prefix=f"valence:{self.package.digest[:16]}:{classifier.engine.name}:{STORED_FORMAT}:",
            secret=self._secret,
            memory=memory,
            redis=self._redis,
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
        stop_server = signal.getsignal(signal.SIGTERM)
        if not callable(stop_server):
            return

        def drain() -> None:
            self.draining = True
            self._publish()
            self.loop.call_later(self.settings.drain_seconds, stop_server, signal.SIGTERM, None)

        self.loop.add_signal_handler(signal.SIGTERM, drain)
        self.loop.add_signal_handler(signal.SIGQUIT, stop_server, signal.SIGQUIT, None)
