"""A package that takes pairs of texts, in every protocol; the network is the bundled one, told that it reads two."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from tritonclient import http as triton

from app.errors import PackageError
from app.model.classifier import Classifier
from app.model.package import Package
from app.model.tokenizer import Pair
from app.settings import BUNDLED_MODEL
from tests.app import plain_http
from tests.conftest import ROOT, Service

PAIRS = [["A fine film.", "I slept through it."], ["I slept through it.", "A fine film."]]
MODEL = "distilbert-sst2-mini"


def write_manifest(package: Path, **fields: Any) -> dict[str, Any]:
    """Overwrite fields of the manifest."""
    path = package / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) | fields
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return manifest


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with a golden pair, as ONNX Runtime scores it."""
    folder = Path(shutil.copytree(BUNDLED_MODEL, tmp_path_factory.mktemp("pairs") / "package"))
    golden = {"text": PAIRS[0], "scores": {"NEGATIVE": 0.5, "POSITIVE": 0.5}}
    single = {"pairs": True, "window_tokens": None, "window_overlap": 0}
    labels = write_manifest(folder, **single, golden=[golden])["labels"]
    classifier = Classifier(Package(folder), "onnxruntime")
    (scores,) = classifier.scores([classifier.encoder.encode(Pair.of(PAIRS[0])).ids]).tolist()
    write_manifest(folder, golden=[golden | {"scores": dict(zip(labels, scores, strict=True))}])
    return folder


@pytest.fixture(scope="module")
def paired(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of it, ready: it has scored its golden pair."""
    log = tmp_path_factory.mktemp("paired") / "service.log"
    started = Service(log, VALENCE_DRAIN_SECONDS="0", VALENCE_MODEL_DIR=str(package))
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def post(service: Service, body: object, path: str = "/predict") -> httpx.Response:
    """JSON."""
    return plain_http.post(service.url + path, json=body)


def ours(service: Service) -> list[list[dict[str, Any]]]:
    """What our own API says of the pairs."""
    predictions: list[list[dict[str, Any]]] = post(service, {"text": PAIRS}).json()["predictions"]
    return predictions


def test_pairs_are_cached_by_both_texts_in_their_order(paired: Service) -> None:
    """The second time from the cache; the same texts the other way round are another pair."""
    first, second = [["One.", "Two."]], [["Two.", "One."]]
    assert [post(paired, {"text": pairs}).headers["X-Cache"] for pairs in (first, second, first)] == [
        "0/1",
        "0/1",
        "1/1",
    ]
    scores = ours(paired)
    assert scores[0] != scores[1]


def test_tei_takes_a_pair_and_lists_of_them(paired: Service) -> None:
    """A flat list of two is one pair, as TEI has it, and answered without the outer list."""
    expected = ours(paired)
    assert post(paired, {"inputs": PAIRS}).json() == expected
    assert post(paired, {"inputs": PAIRS[0]}).json() == expected[0]


def test_hugging_face_takes_text_and_text_pair(paired: Service) -> None:
    """By its own client, which passes on what it is given; in lists, too."""
    expected = ours(paired)
    client = InferenceClient(model=paired.url)
    found = client.text_classification({"text": PAIRS[0][0], "text_pair": PAIRS[0][1]})  # type: ignore[arg-type]
    assert [{"label": item.label, "score": item.score} for item in found] == expected[0]
    objects = [{"text": first, "text_pair": second} for first, second in PAIRS]
    assert post(paired, {"inputs": objects}, "/").json() == expected
    assert post(paired, {"inputs": PAIRS}, "/").json() == expected


@pytest.mark.parametrize("binary", [True, False])
def test_triton_sends_pairs_as_a_last_dimension(paired: Service, *, binary: bool) -> None:
    """The metadata says so."""
    client = triton.InferenceServerClient(paired.url.removeprefix("http://"))
    assert client.get_model_metadata(MODEL)["inputs"][0]["shape"] == [-1, 2]
    texts = triton.InferInput("text", [2, 2], "BYTES")
    texts.set_data_from_numpy(np.array(PAIRS, dtype=object), binary_data=binary)
    answer = client.infer(MODEL, [texts])
    expected = [[item["score"] for item in row] for row in ours(paired)]
    assert answer.as_numpy("scores").tolist() == [pytest.approx(row, abs=1e-6) for row in expected]


def v2(shape: list[int], data: list[Any]) -> dict[str, Any]:
    """A request of the Open Inference Protocol."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": shape, "data": data}]}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/predict", {"text": ["good"]}, 422, "this model takes pairs, each a list of two texts"),
        ("/predict", {"text": [["good"]]}, 422, "1 texts are given as one: this model takes pairs"),
        ("/predict", {"text": [["a", "b", "c"]]}, 422, "3 texts are given as one: this model takes pairs"),
        ("/predict", {"text": [["good", " "]]}, 422, "a blank text"),
        ("/predict", {"text": [["a", 1]]}, 422, "valid string"),
        ("/predict", {"text": [["a", "b"]] * 129}, 413, "129 texts exceed"),
        ("/predict", {"text": PAIRS, "truncation": "start"}, 422, "has no `start`: its choices are 'end' and 'error'"),
        ("/predict", {"text": PAIRS, "truncation": "window"}, 422, "this model package has no `window`"),
        ("/predict", {"inputs": "good"}, 422, "this model takes pairs"),
        ("/predict", {"inputs": PAIRS, "truncation_direction": "Left"}, 422, "has no `start`"),
        ("/", {"inputs": "good"}, 422, "this model takes pairs"),
        ("/", {"inputs": {"text": "good"}}, 422, "1 texts are given as one"),
        ("/", {"inputs": {"text": "a", "text_pair": "b", "c": "d"}}, 422, "an object should have `text`"),
        (f"/v2/models/{MODEL}/infer", v2([2], ["a", "b"]), 422, "the last dimension should be 2, got [2]"),
        (f"/v2/models/{MODEL}/infer", v2([1, 2], ["a"]), 422, "the shape is of 2 texts, the data of 1"),
        (f"/v2/models/{MODEL}/infer", v2([129, 2], ["a"]), 413, "129 texts exceed"),
    ],
)
def test_what_is_no_pair_is_refused(paired: Service, path: str, body: object, status: int, said: str) -> None:
    """In one line."""
    answer = post(paired, body, path)
    assert answer.status_code == status
    assert said in answer.text


def test_long_pair_is_cut_and_reported(paired: Service) -> None:
    """Or refused, as the caller likes."""
    pair = ["good " * 600, "bad " * 600]
    assert post(paired, {"text": [pair]}).headers["X-Truncated"] == "0"
    refused = post(paired, {"text": [pair], "truncation": "error"})
    assert refused.status_code == 422
    assert "more than the model's 512 tokens" in refused.text


def test_service_says_that_it_takes_pairs(paired: Service) -> None:
    """In the facts of the model, and in its schema."""
    assert plain_http.get(paired.url + "/model/info").json()["pairs"] is True
    schema = plain_http.get(paired.url + "/openapi.json").json()
    body = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    (text, *_) = [option["properties"]["text"] for option in body["anyOf"] if "text" in option["properties"]]
    assert (text["items"]["minItems"], text["items"]["maxItems"]) == (2, 2)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"window_tokens": 128}, "pairs of texts are not read in windows"),
        ({"pairs": False}, "golden texts should not be pairs"),
    ],
)
def test_contradicting_manifest_is_refused(package: Path, tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    """In one line."""
    copy = Path(shutil.copytree(package, tmp_path / "package"))
    write_manifest(copy, **fields)
    with pytest.raises(PackageError, match=said):
        Package(copy)


def test_files_of_texts_are_refused(package: Path, tmp_path: Path) -> None:
    """`app.score` reads one column."""
    table = tmp_path / "in.csv"
    table.write_text("text\ngood\n")
    process = subprocess.run(
        [sys.executable, "-m", "app.score", str(table)],
        env=os.environ | {"VALENCE_MODEL_DIR": str(package)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {package} takes pairs of texts")
