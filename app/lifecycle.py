"""One worker's life: loading, ready, another version in place of the one that serves, draining, closed.

A model is loaded beside the event loop, so that the probes and the version before it answer meanwhile, and `/readyz`
turns to 200 only when the golden texts have scored as in the manifest and the first-time costs are paid.
"""

import asyncio
import gc
import signal
import threading
import time
from concurrent.futures import CancelledError
from http import HTTPStatus
from traceback import clear_frames

import structlog

from app.cpu import cpu_flags, give_back_memory, plan_threads, resident_bytes
from app.errors import LoadError, NotReady, PackageError, one_line
from app.model.classifier import GoldenMismatch
from app.model.source import Fetched, fetched, look_up
from app.model.tabular import AnyPackage, open_package
from app.serving import ServedModel, Swap, aside, load, redis_tier
from app.settings import Settings, SettingsError
from app.telemetry.logs import stdout
from app.telemetry.metrics import (
    LOADS_FAILED,
    LOADS_SERVED,
    LOG_LINES_DROPPED,
    QUEUE_LIMIT,
    QUOTA,
    READY,
    RESIDENT,
    THREADS,
)

MEASURE_SECONDS = 1.0
"""How far those metrics lag behind that nobody reports: readiness, memory, drift, lost log lines."""

log = structlog.get_logger()


class Lifecycle:
    """Owns what answers predictions, and knows whether it may. Raises PackageError or SettingsError where it can't."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.fetched = fetched(settings.model_dir, settings.model_cache_dir)
        self.package = open_package(self.fetched.folder)
        """What `model` serves, or is to serve, as it was `fetched`."""
        try:
            redis_tier(self.package, settings)  # what can't work is said before anything is loaded
        except ValueError as exc:
            raise SettingsError(f"VALENCE_REDIS_URL: {exc}") from exc
        self.plan = plan_threads(workers=settings.workers, requested=settings.threads)
        self.model: ServedModel | None = None
        """The version that answers, once it may; while draining, too. A request takes it once, and keeps to it."""
        self.draining = False
        self._not_ready: str | None = "the model is being loaded"
        self.loop: asyncio.AbstractEventLoop
        """The one on which everything lives; asked for once, since until Python 3.12 each question is a system call."""
        self._loaded = asyncio.Event()
        """The first load is over, well or not."""
        self._loading: asyncio.Task[object] | None = None
        """One version is loaded at a time, so that there are never three of them in memory."""
        self._lines_dropped = 0
        self._measuring: asyncio.TimerHandle | None = None

    @property
    def status(self) -> str:
        """One line for people: "ready", or why not."""
        return "draining: this process was told to stop" if self.draining else self._not_ready or "ready"

    async def wait_for_model(self) -> ServedModel:
        """What scores texts, as soon as it may.

        A worker that replaces another one takes connections before its model is loaded; those requests wait here.
        Raises NotReady when it can't be loaded, or not within the timeout.
        """
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._loaded.wait()
        except TimeoutError:
            pass  # the status below says what it was waiting for
        if self.model is None:
            raise NotReady(self._not_ready or "not started", headers={"Retry-After": "1"})
        return self.model

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
        THREADS.set(self.plan.threads)
        QUOTA.set(min(self.plan.quota_cores or self.plan.affinity_cores, self.plan.affinity_cores))
        QUEUE_LIMIT.set(self.settings.max_queue_tokens)
        self._measure()
        self._loading = asyncio.create_task(self._load_first())

    async def stop(self) -> None:
        """Let go of everything, in reverse order."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if self.model is not None:
            await self.model.close()
        if self._measuring is not None:
            self._measuring.cancel()

    async def swap(self, name: str) -> Swap:
        """Serve the package of this name instead, from the moment on that it is loaded, checked and warm.

        Requests that have begun are answered by the version before, which is closed when the last of them is. Raises
        LoadError, and the version before goes on, when the package can't be served, or another load is under way.
        """
        if self.draining:
            raise LoadError(HTTPStatus.SERVICE_UNAVAILABLE, self.status)
        if self._loading is not None and not self._loading.done():
            raise LoadError(HTTPStatus.CONFLICT, "another load is under way")
        self._loading = loading = asyncio.create_task(self._swap(name))
        return await asyncio.shield(loading)  # whoever asked may go

    def swap_from_thread(self, name: str) -> Swap:
        """The same from another thread, which waits for it."""
        try:
            return asyncio.run_coroutine_threadsafe(self.swap(name), self.loop).result()
        except CancelledError as exc:
            raise LoadError(HTTPStatus.SERVICE_UNAVAILABLE, "this process has stopped meanwhile") from exc

    def _measure(self) -> None:
        """Set the metrics that nobody reports, once a second."""
        self._publish()
        self._measuring = self.loop.call_later(MEASURE_SECONDS, self._measure)

    def _publish(self) -> None:
        READY.set(self.status == "ready")
        RESIDENT.set(resident_bytes())
        dropped, self._lines_dropped = stdout.dropped - self._lines_dropped, stdout.dropped
        LOG_LINES_DROPPED.inc(dropped)
        if self.model is not None:
            self.model.publish()

    async def _load_first(self) -> None:
        try:
            self._serve(await load(self.package, self.settings, self.plan), self.fetched)
        except Exception as exc:  # the process stays up, so that the probe can say why it is not ready
            self._not_ready = _failure(exc)
        else:
            # What start-up made lives as long as the process: the garbage collector need not look at it again.
            gc.collect()
            gc.freeze()
        finally:
            self._loaded.set()

    async def _swap(self, asked: str) -> Swap:
        began = time.monotonic()
        log.info("load_asked", model=asked)
        try:
            found = await aside(look_up, asked, self.settings.model_cache_dir)
            package = await aside(open_package, found.folder)
            self._check_requests(package)
            model = await load(package, self.settings, self.plan)
        except Exception as exc:
            LOADS_FAILED.inc()
            reason = _failure(exc)
            await aside(give_back_memory)
            raise LoadError(HTTPStatus.UNPROCESSABLE_ENTITY, reason) from exc
        replaced = await self._replace(model, found)
        await aside(give_back_memory)
        LOADS_SERVED.inc()
        name, digest, engine = model.labels
        seconds = round(time.monotonic() - began, 3)
        return Swap(model=name, digest=digest, engine=engine, stale=found.stale, before=replaced, seconds=seconds)

    async def _replace(self, model: ServedModel, found: Fetched) -> str | None:
        """Have it answer instead of the version before, whose digest is returned when that is closed."""
        before = self.model
        if before is not None:
            before.retire()
        self._serve(model, found)
        if before is None:
            return None
        await before.close(wait_seconds=self.settings.timeout)
        return before.labels[1]

    def _check_requests(self, package: AnyPackage) -> None:
        """Raises PackageError for a model of other requests than those whose schema was made at the start."""
        takes, served = package.manifest.requests, self.package.manifest.requests
        if takes != served:
            msg = f"it takes {takes}, and this process serves {served}: start one of its own with it"
            raise PackageError(one_line(ValueError(msg)))

    def _serve(self, model: ServedModel, found: Fetched) -> None:
        """Let it answer every request that begins from now on."""
        self.fetched, self.package, self.model, self._not_ready = found, model.package, model, None
        self._publish()
        if found.stale:
            log.warning("model_source_not_reached", name=found.name, reason=found.stale)
        name, digest, engine = model.labels
        facts = {"engine_reason": model.classifier.engine_reason, "golden_difference": model.golden_difference}
        log.info("ready", model=name, digest=digest, engine=engine, **facts)

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


def _failure(exc: Exception) -> str:
    """Log why a model can't be served, and say so in one line."""
    golden = isinstance(exc, GoldenMismatch)
    expected = golden or isinstance(exc, PackageError)
    event = "golden_check_failed" if golden else "load_failed"
    log.error(event, **{"reason": str(exc)} if expected else {"exc_info": exc})
    link: BaseException | None = exc
    while link is not None:  # what its frames have loaded would stay in memory for as long as they do
        clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return f"golden check failed: {exc}" if golden else f"the model could not be loaded: {one_line(exc)}"
