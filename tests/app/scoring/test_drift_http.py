"""Drift over real HTTP: traffic of the profile's kind stays low, other traffic rises, hits count as misses do."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from model_export.labelled import read_labelled
from model_export.profile import main as make_profile
from model_export.treebank import detokenise, hold_out
from tests.app import plain_http
from tests.app.domains import amharic, essays, german, log_lines, replies, reviews
from tests.conftest import ROOT, Service, StartService, until

SST2 = ROOT.parent / "shared" / "data" / "sst2"
FEATURES = ("label", "score", "tokens", "unknown_tokens")


def drift(service: Service) -> dict[str, float]:
    """The index of each feature; empty where there is none."""
    page = plain_http.get(service.metrics_url).text
    found = re.findall(r'^valence_drift_psi{feature="(\w+)"} (\S+)$', page, re.MULTILINE)
    return {feature: float(index) for feature, index in found}


def window_texts(service: Service) -> float:
    """Texts in the window."""
    return service.metric("valence_drift_window_texts")


def send(service: Service, texts: Sequence[str]) -> int:
    """Send the texts in requests of fifty; return how many of them came from the cache."""
    hits = 0
    for start in range(0, len(texts), 50):
        answer = plain_http.post(f"{service.url}/predict", json={"text": texts[start : start + 50]})
        answer.raise_for_status()
        hits += int(answer.headers["X-Cache"].split("/")[0])
    return hits


@pytest.fixture(scope="module")
def package(bundled_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with a profile of 800 reviews."""
    folder = tmp_path_factory.mktemp("reviews")
    package = Path(shutil.copytree(bundled_model, folder / "package"))
    (folder / "reviews.txt").write_text("\n".join(reviews(800, seed=1)), encoding="utf-8")
    assert make_profile([str(package), "--texts", str(folder / "reviews.txt")]) == 0
    return package


def test_index_follows_the_traffic_from_the_cache_too(start_service: StartService, package: Path) -> None:
    """Other reviews stay below 0.1, log lines pass 0.25, and the same reviews, all from the cache, bring it down."""
    service = start_service(VALENCE_MODEL_DIR=str(package), VALENCE_DRIFT_WINDOW_TEXTS="500").wait_ready()
    texts, others = reviews(500, seed=2), log_lines(500, seed=2)
    send(service, texts[:450])
    until(lambda: window_texts(service) == 450, "the window holds 450 texts")
    assert drift(service) == {}
    send(service, texts[450:])
    until(lambda: window_texts(service) == 500, "the window holds 500 texts")
    assert set(drift(service)) == set(FEATURES)
    assert max(drift(service).values()) < 0.1

    assert send(service, others) == 0
    until(lambda: drift(service)["tokens"] > 0.25, "the index of the length passes 0.25")
    assert window_texts(service) == 500
    assert min(drift(service)[name] for name in ("label", "score", "tokens")) > 0.25

    assert send(service, texts) == 500
    until(lambda: max(drift(service).values()) < 0.1, "every index is below 0.1 again")


def test_repeated_text_counts_once(start_service: StartService, package: Path) -> None:
    """A hundred requests for a log line between 500 reviews change no index."""
    service = start_service(VALENCE_MODEL_DIR=str(package)).wait_ready()
    send(service, reviews(500, seed=3))
    (hot,) = log_lines(1, seed=3)
    for number in range(100):
        body = {"text": [hot] * (1 + number % 3)}  # one in three is answered before it is parsed
        plain_http.post(f"{service.url}/predict", json=body).raise_for_status()
    until(lambda: window_texts(service) == 501, "the window holds 501 texts")
    assert max(drift(service).values()) < 0.1


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The bundled model with its own profile and the smallest window, which each domain fills anew."""
    log = tmp_path_factory.mktemp("bundled") / "service.log"
    started = Service(log, VALENCE_DRIFT_WINDOW_TEXTS="500", VALENCE_CACHE_TTL_SECONDS="86400")
    try:
        yield started.wait_ready()
    finally:
        started.stop()


@pytest.mark.parametrize(
    ("texts", "feature"),
    [(german, "score"), (amharic, "unknown_tokens"), (replies, "tokens"), (essays, "tokens")],
    ids=["german", "amharic", "replies", "essays"],
)
def test_other_domain_is_seen(bundled: Service, texts: Callable[[int, int], list[str]], feature: str) -> None:
    """Another language, another script, short replies and long texts, against the bundled model's own profile."""
    published = "valence_cache_entries"  # just before the indices, and never the same after other texts
    wanted = bundled.metric(published) + 500
    assert send(bundled, texts(500, 4)) == 0
    until(lambda: bundled.metric(published) == wanted, "the window holds these 500 texts")
    until(lambda: drift(bundled).get(feature, 0) > 0.25, f"the index of {feature} passes 0.25")


def test_several_workers_show_one_index(start_service: StartService, package: Path) -> None:
    """Each has its window; one that has no figure yet does not hide the other's, and no sample is any worker's own."""
    service = start_service(VALENCE_MODEL_DIR=str(package), VALENCE_WORKERS="2").wait_ready()
    until(lambda: service.log.read_text().count('"event":"ready"') == 2, "both workers are ready")
    texts = reviews(5_000, seed=6)
    rounds = iter(range(0, 5_000, 50))

    def shown() -> bool:
        send(service, texts[(start := next(rounds)) : start + 50])
        return set(drift(service)) == set(FEATURES)

    until(shown, "a worker has an index")
    assert max(drift(service).values()) < 0.1
    until(lambda: window_texts(service) >= 500, "the windows of both workers are added up")


def test_sentences_of_the_same_kind_raise_no_alert(start_service: StartService) -> None:
    """As the treebank has them and as people type them; of those that it was trained on, it is a little surer."""
    if not SST2.is_dir():
        pytest.skip("SST-2 (../shared/data/sst2) is not part of this clone")
    texts = [example.text for example in hold_out(read_labelled(SST2 / "train.tsv"), 0.05, 0)[1][:400]]
    service = start_service().wait_ready()
    send(service, texts + [f"{detokenise(text).capitalize()} " for text in texts])
    until(lambda: window_texts(service) == 2 * len(texts), "the window holds every sentence twice")
    found = drift(service)
    assert found.pop("score") < 0.25
    assert max(found.values()) < 0.1


def test_package_without_a_profile_is_not_watched(
    start_service: StartService, bundled_model: Path, tmp_path: Path
) -> None:
    """It serves as ever, says so in its log and in /model/info, and has no index."""
    package = Path(shutil.copytree(bundled_model, tmp_path / "package"))
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    del manifest["files"]["profile.json"]
    (package / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    service = start_service(VALENCE_MODEL_DIR=str(package)).wait_ready()
    send(service, ["good", "bad"])
    assert drift(service) == {}
    assert plain_http.get(f"{service.url}/model/info").json()["profile"] is None
    assert "drift_not_watched" in service.log.read_text()


def test_window_of_zero_turns_it_off(start_service: StartService) -> None:
    """No index is exported, though there would be one after so many texts."""
    service = start_service(VALENCE_DRIFT_WINDOW_TEXTS="0").wait_ready()
    send(service, replies(600, seed=5))
    assert drift(service) == {}
    assert window_texts(service) == 0
