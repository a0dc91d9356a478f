"""One training at a time, each in a process of its own; those that wait, and those that have ended.

All of it is in memory: a restart forgets what waited and what had ended, and ends what runs. Runs are in MLflow.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from model_export.progress import note
from training.service.refusals import Refused
from training.service.settings import Settings
from training.service.statuses import REFUSED, UNTRACKED

ROOT = Path(__file__).resolve().parents[2]
MAX_KEPT = 1_000
"""Trainings that are remembered; the oldest are forgotten first. More than may wait."""
TAIL_BYTES = 65_536
"""What is kept of the output of a training while it runs; all of it goes to standard error."""
STATUSES = {REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY, UNTRACKED: HTTPStatus.SERVICE_UNAVAILABLE}


class Failed(Exception):
    """A training that has no run, and the status by which its caller is told."""

    def __init__(self, reason: str, status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(eq=False)
class Job:
    """One training that was accepted."""

    body: bytes
    """Its request in JSON; empty once it runs."""
    id: str = field(default_factory=lambda: uuid4().hex)
    status: Literal["queued", "running", "succeeded", "failed"] = "queued"
    result: dict[str, Any] = field(default_factory=dict)
    """`run_id` and `metrics` of a training that succeeded."""
    failure: Failed | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[dict[str, Any]] | None = None

    def succeed(self, result: dict[str, Any]) -> None:
        """It has a run."""
        self.status, self.result = "succeeded", result
        self.ended.set()

    def fail(self, failure: Failed) -> None:
        """It has none, and never will have."""
        self.status, self.failure, self.body = "failed", failure, b""
        self.ended.set()


class Jobs:
    """A bounded queue, and the one coroutine that works it off: `work`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._receiving = 0
        """Requests that have a place in the queue and are being read."""
        self._jobs: dict[str, Job] = {}

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue, so that no body is read in vain. Raises Refused when there is none."""
        if self._receiving + self._queue.qsize() >= self._settings.queue:
            msg = f"{self._settings.queue} trainings wait already (VALENCE_TRAINING_QUEUE)"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, msg, headers={"Retry-After": "60"}, unread=True)
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    def submit(self, body: bytes) -> Job:
        """Queue a training; the caller holds a place."""
        job = Job(body)
        if len(self._jobs) >= MAX_KEPT:
            del self._jobs[next(iter(self._jobs))]
        self._jobs[job.id] = job
        self._queue.put_nowait(job)
        return job

    def find(self, job_id: str) -> Job:
        """Raises Refused for one that is not known, or no longer."""
        if job_id not in self._jobs:
            msg = "no such training: it was never there or is forgotten; MLflow has its run"
            raise Refused(HTTPStatus.NOT_FOUND, msg, loc=["path"])
        return self._jobs[job_id]

    def cancel(self, job: Job) -> None:
        """End a training that waits or runs; one that waited keeps its place in the queue until its turn."""
        if job.task is not None:
            job.task.cancel()
        elif job.status == "queued":
            job.fail(Failed("cancelled"))

    async def work(self) -> None:
        """Run what is queued, one after the other, until cancelled."""
        while True:
            job = await self._queue.get()
            if job.status == "queued":
                began = time.monotonic()
                await self._run(job)
                said = f"failed: {job.failure}" if job.failure else f"succeeded as run {job.result['run_id']}"
                note(f"training {job.id} {said}, {time.monotonic() - began:.1f} s")

    async def _run(self, job: Job) -> None:
        body, job.body, job.status = job.body, b"", "running"
        job.task = asyncio.create_task(train(body, self._settings.timeout_seconds))
        try:
            job.succeed(await job.task)
        except asyncio.CancelledError:
            job.fail(Failed("cancelled"))
            worker = asyncio.current_task()
            if worker and worker.cancelling():  # the service ends, not this training alone
                raise
        except Failed as exc:
            job.fail(exc)
        except Exception as exc:
            traceback.print_exc()
            job.fail(Failed(f"{type(exc).__name__}: {exc}"))


async def train(body: bytes, timeout_seconds: float) -> dict[str, Any]:
    """What `training.service.job` answers. Raises Failed with the reason; no process and no file is left behind."""
    with tempfile.TemporaryDirectory(prefix="valence-training-") as folder:
        request = Path(folder) / "request.json"
        await asyncio.to_thread(request.write_bytes, body)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "training.service.job", str(request)),
            cwd=ROOT,
            env=os.environ | {"TMPDIR": folder},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(timeout_seconds):
                said, errors = await asyncio.gather(tail(process.stdout), tail(process.stderr))
                return answer(await process.wait(), said, errors)
        except TimeoutError as exc:
            msg = f"it took longer than {timeout_seconds:g} s (VALENCE_TRAINING_TIMEOUT_SECONDS)"
            raise Failed(msg, HTTPStatus.GATEWAY_TIMEOUT) from exc
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            await process.wait()


async def tail(stream: asyncio.StreamReader) -> str:
    """The last line that a process writes, once it has closed the stream."""
    kept = b""
    while piece := await stream.read(TAIL_BYTES):
        sys.stderr.buffer.write(piece)
        sys.stderr.flush()
        kept = (kept + piece)[-TAIL_BYTES:]
    return kept.decode(errors="replace").rstrip().rpartition("\n")[2]


def answer(status: int, said: str, errors: str) -> dict[str, Any]:
    """The answer of a process that has ended. Raises Failed with its last words."""
    if status < 0:
        raise Failed(f"its process was ended by {signal.Signals(-status).name}: too little memory?")
    if status:
        reason = errors.removeprefix("error: ") or f"its process ended with status {status}"
        raise Failed(reason, STATUSES.get(status, HTTPStatus.INTERNAL_SERVER_ERROR))
    result: dict[str, Any] = json.loads(said)
    return result
