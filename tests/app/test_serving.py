"""One version of the model in place of another while requests are answered: none fails, none mixes the two."""

import asyncio
import gc
import os
import signal
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx
import pytest

from app.errors import LoadError
from app.lifecycle import Lifecycle
from app.model.classifier import Classifier
from app.settings import BUNDLED_MODEL, Settings
from tests.app import plain_http
from tests.app.versions import OTHER, TOKEN, load, swapped_labels
from tests.conftest import RedisServer, Service, StartService, until

LOVED = "I love this wonderful film: {}."
BUNDLED = BUNDLED_MODEL.name
TOP = {BUNDLED: "POSITIVE", OTHER: "NEGATIVE"}
"""What each version says of that text."""
SETTINGS = {"VALENCE_ADMIN_TOKEN": TOKEN, "VALENCE_DRAIN_SECONDS": "0"}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the other version."""
    return swapped_labels(tmp_path_factory.mktemp("versions") / "other")


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all versions that can't be served."""
    started = Service(tmp_path_factory.mktemp("steady") / "service.log", **SETTINGS)
    try:
        yield started.wait_ready()
    finally:
        started.stop()


class Readers:
    """Clients that ask for known and unknown texts until the block ends, and check each answer against its header."""

    def __init__(self, service: Service) -> None:
        self.outcomes: Counter[str] = Counter()
        """Answers by the name of the version, and whatever was no right answer."""
        self._service = service
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def more_of(self, version: str, count: int = 40) -> None:
        """Return after so many further answers of this version."""
        wanted = self.outcomes[version] + count
        until(lambda: self.outcomes[version] >= wanted, f"{count} more answers of {version}")

    def _ask(self, number: int) -> None:
        turn = 0
        with httpx.Client(base_url=self._service.url, timeout=300, trust_env=False) as client:
            while not self._end.is_set():
                turn += 1
                texts = [LOVED.format(f"client {number} says {turn}"), LOVED.format(turn % 7)]
                try:
                    self.outcomes[outcome(client.post("/predict", json={"text": texts}))] += 1
                except httpx.TransportError as exc:
                    self.outcomes[repr(exc)] += 1


def outcome(answer: httpx.Response) -> str:
    """The version that answered; if its labels are not that version's, or there is no answer, what was wrong."""
    if answer.status_code != 200:
        return answer.text
    version = answer.headers["X-Model"].partition("@")[0]
    tops = {prediction[0]["label"] for prediction in answer.json()["predictions"]}
    return version if tops == {TOP[version]} else f"{version} says {tops}"


def test_versions_are_swapped_under_load(start_service: StartService, other: Path, redis_server: RedisServer) -> None:
    """There and back: no request fails, each is answered by one version, and by the new one once that is said."""
    started = start_service(VALENCE_REDIS_URL=redis_server.url, **SETTINGS).wait_ready()
    with Readers(started) as readers:
        readers.more_of(BUNDLED)
        for folder, name in ((other, OTHER), (BUNDLED_MODEL, BUNDLED), (other, OTHER)):
            swap = load(started, folder)
            assert swap.status_code == 200, swap.text
            late = plain_http.post(started.url + "/predict", json={"text": [LOVED.format("after it")]})
            assert outcome(late) == name
            readers.more_of(name)
    assert set(readers.outcomes) == {BUNDLED, OTHER}, readers.outcomes
    info = plain_http.get(started.url + "/model/info").json()
    assert (info["name"], info["labels"]) == (OTHER, ["POSITIVE", "NEGATIVE"])
    assert late.headers["X-Model"] == f"{OTHER}@{info['digest'][:16]}"
    told = swap.json()
    assert (told["model"], told["digest"], told["stale"]) == (OTHER, info["digest"][:16], None)
    assert told["before"] != told["digest"]
    series = [
        line for line in plain_http.get(started.metrics_url).text.splitlines() if line[:18] == "valence_model_info"
    ]
    assert len(series) == 1
    assert OTHER in series[0]
    assert started.metric('valence_model_loads_total{outcome="served"}') == 3
    assert plain_http.get(started.url + "/metrics/summary").json()["model"]["name"] == OTHER
    assert '"level":"error"' not in started.log.read_text()


def test_every_protocol_says_which_version_answered(steady: Service, other: Path) -> None:
    """And has the labels of that version; the path of a model has its name."""
    load(steady, BUNDLED_MODEL)
    v2 = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [LOVED]}]}
    for name, folder in ((BUNDLED, BUNDLED_MODEL), (OTHER, other)):
        load(steady, folder).raise_for_status()
        bodies = {"/predict": {"inputs": LOVED}, "/": {"inputs": LOVED}, f"/v2/models/{name}/infer": v2}
        for path, body in bodies.items():
            answer = plain_http.post(steady.url + path, json=body)
            assert answer.headers["X-Model"].startswith(f"{name}@"), path
            positive, negative = (answer.text.index(f'"{label}"') for label in ("POSITIVE", "NEGATIVE"))
            assert (positive < negative) == (name == BUNDLED), path
        assert plain_http.get(f"{steady.url}/v2/models/{name}").json()["name"] == name
    gone = plain_http.post(f"{steady.url}/v2/models/{BUNDLED}/infer", json=v2)
    assert gone.status_code == 404
    assert OTHER in gone.text
    load(steady, BUNDLED_MODEL).raise_for_status()


def golden_spoilt(folder: Path) -> Path:
    """A version that scores otherwise than at its export."""
    return swapped_labels(folder, labels=["NEGATIVE", "POSITIVE"])


def damaged(folder: Path) -> Path:
    """A version with a file that is not the exported one."""
    (swapped_labels(folder) / "tokenizer.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("make", "reason"),
    [(golden_spoilt, "golden check failed: golden text"), (damaged, "tokenizer.json was changed after")],
)
def test_a_version_that_fails_leaves_the_old_one(steady: Service, tmp_path: Path, make: object, reason: str) -> None:
    """Why is said to whoever asked and in the log, and requests notice nothing."""
    assert callable(make)
    failed = steady.metric('valence_model_loads_total{outcome="failed"}')
    answer = load(steady, make(tmp_path / "bad"))
    assert answer.status_code == 422
    ((detail),) = answer.json()["detail"]
    assert detail["type"] == "not_loaded"
    assert reason in detail["msg"]
    assert steady.metric('valence_model_loads_total{outcome="failed"}') == failed + 1
    assert plain_http.get(steady.url + "/readyz").status_code == 200
    assert outcome(plain_http.post(steady.url + "/predict", json={"text": [LOVED]})) == BUNDLED
    until(lambda: reason.rpartition(": ")[2] in steady.log.read_text(), "it is logged")


@pytest.mark.parametrize("model", ["no/such/folder", "models:/sentiment/4", "s3://bucket/package"])
def test_a_name_that_leads_nowhere_leaves_the_old_one(steady: Service, model: str) -> None:
    """A folder that is not there, a registry that nobody named, a scheme that nobody knows."""
    answer = load(steady, model)
    assert answer.status_code == 422
    assert model in answer.json()["detail"][0]["msg"]
    assert outcome(plain_http.post(steady.url + "/predict", json={"text": [LOVED]})) == BUNDLED


class HeldPackage:
    """A version whose manifest comes through a pipe, so that its load lasts until a test lets it go."""

    def __init__(self, folder: Path) -> None:
        self.folder = swapped_labels(folder)
        self._manifest = folder / "manifest.json"
        self._text = self._manifest.read_bytes()
        self._manifest.unlink()
        os.mkfifo(self._manifest)
        self._pipe = -1

    def is_read(self) -> bool:
        """Whether somebody waits for the manifest."""
        with suppress(OSError):
            self._pipe = os.open(self._manifest, os.O_WRONLY | os.O_NONBLOCK)
        return self._pipe >= 0

    def let_go(self) -> None:
        """Give it to whoever waits, and to all who ask for it from now on."""
        whole = self.folder / "whole"
        whole.write_bytes(self._text)
        whole.replace(self._manifest)
        with os.fdopen(self._pipe, "wb") as pipe:
            pipe.write(self._text)


def test_one_version_is_loaded_at_a_time(steady: Service, other: Path, tmp_path: Path) -> None:
    """The second is refused at once while the first is under way, and requests are answered."""
    held = HeldPackage(tmp_path / "held")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(load, steady, held.folder)
        until(held.is_read, "the first load has begun")
        second = load(steady, other)
        assert (second.status_code, second.json()["detail"][0]["msg"]) == (409, "another load is under way")
        assert outcome(plain_http.post(steady.url + "/predict", json={"text": [LOVED]})) == BUNDLED
        held.let_go()
        assert first.result().json()["model"] == OTHER
    assert load(steady, BUNDLED_MODEL).status_code == 200


def test_a_process_that_is_told_to_stop_does_not_wait_for_a_load(start_service: StartService, tmp_path: Path) -> None:
    """Whatever it waits for."""
    started = start_service(**SETTINGS).wait_ready()
    held = HeldPackage(tmp_path / "held")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(load, started, held.folder)
        until(held.is_read, "the load has begun")
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(300) == 0
        assert isinstance(asked.exception(), httpx.TransportError) or asked.result().status_code == 503


def test_a_service_that_could_not_load_its_own_can_be_given_another(
    start_service: StartService, tmp_path: Path
) -> None:
    """It is ready then."""
    started = start_service(VALENCE_MODEL_DIR=str(golden_spoilt(tmp_path / "bad")), **SETTINGS)
    until(lambda: "golden_check_failed" in started.log.read_text(), "the golden check has failed")
    assert load(started, BUNDLED_MODEL).json()["before"] is None
    started.wait_ready()
    assert outcome(plain_http.post(started.url + "/predict", json={"text": [LOVED]})) == BUNDLED


def test_nothing_of_a_version_stays(other: Path, tmp_path: Path) -> None:
    """Neither of the one that was replaced, nor of one that failed."""

    def loaded() -> int:
        """Models in memory, without the one of the start, which the garbage collector no longer looks at."""
        return sum(isinstance(thing, Classifier) for thing in gc.get_objects())

    async def main() -> None:
        lifecycle = Lifecycle(Settings())
        await lifecycle.start()
        model = await lifecycle.wait_for_model()
        parts = model, model.scorer, model.classifier, model.classifier.engine, model.classifier.encoder
        old = [weakref.ref(part) for part in parts]
        del model, parts
        assert (await lifecycle.swap(str(other)))["before"] is not None
        assert [part() for part in old] == [None] * len(old)
        assert loaded() == 1
        with pytest.raises(LoadError, match="golden check failed"):
            await lifecycle.swap(str(golden_spoilt(tmp_path / "bad")))
        assert loaded() == 1
        await lifecycle.stop()

    try:
        asyncio.run(main())
    finally:
        gc.unfreeze()


def test_several_workers_refuse(start_service: StartService, other: Path) -> None:
    """Each has a model of its own, and the port is their parent's."""
    started = start_service(VALENCE_WORKERS="2", **SETTINGS).wait_ready()
    answer = load(started, other)
    assert answer.status_code == 409
    assert "several workers" in answer.text
    assert load(started, other, token="x" * 16).status_code == 401
