"""The probes and the model's card, and everything that keeps the service from starting or from getting ready."""

import hashlib
import json
import math
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import PackageError
from app.model.classifier import GOLDEN_TOLERANCE, Classifier
from app.model.native.transformer import Transformer
from app.model.native.weights import Unsupported
from app.model.package import Package
from app.settings import BUNDLED_MODEL
from load.texts import load_texts
from tests.app import plain_http
from tests.conftest import Service, StartService, until


@pytest.fixture
def package(tmp_path: Path, bundled_model: Path) -> Path:
    """A copy of the bundled package that a test may spoil."""
    return Path(shutil.copytree(bundled_model, tmp_path / "package"))


@pytest.fixture
def taken_port() -> Iterator[str]:
    """An address on which somebody listens already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def edit(package: Path, **changes: object) -> None:
    """Change keys of the manifest."""
    path = package / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def last_words(service: Service) -> list[str]:
    """What a service that refuses to start says outside of its JSON log, once it has ended with a failure."""
    assert service.process.wait(300) != 0
    return [line for line in service.log.read_text().splitlines() if line and not line.startswith("{")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/health", b'{"status":"healthy"}'),
        ("/livez", b'{"status":"healthy"}'),
        ("/readyz", b'{"status":"ready"}'),
    ],
)
def test_probe_answers_exactly_this(service: Service, path: str, body: bytes) -> None:
    """Byte by byte: clients of earlier implementations compare the whole body."""
    response = plain_http.get(service.url + path)
    assert (response.status_code, response.content) == (200, body)
    assert response.headers["Content-Type"] == "application/json"


def test_model_info_tells_what_answers(service: Service, bundled_model: Path) -> None:
    """The manifest's facts, the content's digest, the CPU's flags that matter and the thread plan."""
    manifest = json.loads((bundled_model / "manifest.json").read_text())
    info = plain_http.get(service.url + "/model/info").json()
    facts = ("name", "source", "labels", "max_tokens", "quantisation", "accuracy", "calibration", "licence")
    others = ("activation", "unclear_below", "intended_use", "window_tokens", "window_overlap", "max_windows")
    for name in facts + others:
        assert info[name] == manifest[name], name
    assert info["revision"] == manifest["source"]["revision"]
    assert len(bytes.fromhex(info["digest"])) == 32
    assert 0 <= info["golden_difference"] <= 0.02
    assert set(info["cpu"]) == {"name", "flags"}
    assert info["threads"]["workers"] == 1
    assert 1 <= info["threads"]["threads"] <= info["threads"]["affinity_cores"]


def test_model_info_shows_what_was_asked_for(start_service: StartService) -> None:
    """Threads go before the quota, and an engine that was asked for needs no reason; a name that nobody knows is told.

    A typing error in a name is not silently ignored; the service starts all the same.
    """
    settings = {"VALENCE_THREADS": "3", "VALENCE_ENGINE": "onnxruntime", "VALENCE_MAX_TEXT": "5"}
    started = start_service(**settings).wait_ready()
    info = plain_http.get(started.url + "/model/info").json()
    assert info["threads"]["threads"] == 3
    assert info["engine"] == {"name": "onnxruntime", "reason": None}
    (line,) = [line for line in started.log.read_text().splitlines() if "unknown_setting" in line]
    assert {"event": "unknown_setting", "name": "VALENCE_MAX_TEXT", "level": "warning"}.items() <= json.loads(
        line
    ).items()


def test_model_info_names_the_engine_and_why(service: Service) -> None:
    """The native one, or why not."""
    try:
        Transformer.of(Package(BUNDLED_MODEL))
        expected = {"name": "native", "reason": None}
    except Unsupported as exc:
        expected = {"name": "onnxruntime", "reason": str(exc)}
    assert plain_http.get(service.url + "/model/info").json()["engine"] == expected
    until(lambda: f'"engine":"{expected["name"]}"' in service.log.read_text(), "it is logged")


def test_a_native_engine_that_rounds_a_golden_text_away_is_not_used(start_service: StartService, package: Path) -> None:
    """One text in hundreds moves by more than the tolerance: if it is a golden one, ONNX Runtime takes over."""
    bundled = Package(BUNDLED_MODEL)
    try:
        native = Classifier(bundled, "native")
    except PackageError as exc:
        pytest.skip(str(exc))
    other = Classifier(bundled, "onnxruntime")

    def scores(classifier: Classifier, text: str) -> list[float]:
        found: list[float] = classifier.scores([classifier.encoder.encode(text).ids])[0].tolist()
        return found

    texts = load_texts()["cold"]
    apart = [text for text in texts if abs(scores(native, text)[0] - scores(other, text)[0]) > GOLDEN_TOLERANCE]
    if not apart:
        pytest.skip("both engines score all of these texts the same")
    text = apart[0]
    golden = {"text": text, "scores": dict(zip(bundled.manifest.labels, scores(other, text), strict=True))}
    edit(package, golden=[golden])
    started = start_service(VALENCE_MODEL_DIR=str(package)).wait_ready()
    engine = plain_http.get(started.url + "/model/info").json()["engine"]
    assert engine["name"] == "onnxruntime"
    assert engine["reason"].startswith("golden text 0 scores ")
    until(lambda: '"event":"native_engine_differs"' in started.log.read_text(), "it is logged")
    insisting = start_service(VALENCE_MODEL_DIR=str(package), VALENCE_ENGINE="native")
    until(lambda: "golden_check_failed" in insisting.log.read_text(), "the golden check has failed")
    assert plain_http.get(insisting.url + "/readyz").status_code == 503


def test_a_package_that_is_not_for_the_native_engine_is_refused_if_that_is_asked_for(
    start_service: StartService, package: Path
) -> None:
    """Not ready, with the reason; by default it is ONNX Runtime's.

    Float kernels differ a little between CPUs: a golden score that is 0.01 off is no reason to refuse, and shown.
    """
    manifest = json.loads((package / "manifest.json").read_text())
    files, golden = manifest["files"], manifest["golden"]
    del files["weights.safetensors"]  # as an export of another architecture writes it
    golden[0]["scores"] = {label: score + 0.01 for label, score in golden[0]["scores"].items()}
    edit(package, files=files, golden=golden)
    insisting = start_service(VALENCE_MODEL_DIR=str(package), VALENCE_ENGINE="native")
    started = start_service(VALENCE_MODEL_DIR=str(package)).wait_ready()
    info = plain_http.get(started.url + "/model/info").json()
    assert info["engine"]["name"] == "onnxruntime"
    assert math.isclose(info["golden_difference"], 0.01, abs_tol=0.005)
    until(lambda: "load_failed" in insisting.log.read_text(), "loading has failed")
    assert "VALENCE_ENGINE=native can't compute" in plain_http.get(insisting.url + "/readyz").json()["status"]


def test_wrong_scores_are_never_served(start_service: StartService, package: Path) -> None:
    """While a golden text scores otherwise than at export, the service says why and predicts nothing, but it lives."""
    golden = json.loads((package / "manifest.json").read_text())["golden"]
    golden[3]["scores"] = {label: 1 - score for label, score in golden[3]["scores"].items()}
    edit(package, golden=golden)
    spoilt = start_service(VALENCE_MODEL_DIR=str(package))
    until(lambda: "golden_check_failed" in spoilt.log.read_text(), "the golden check has failed")
    ready = plain_http.get(spoilt.url + "/readyz")
    assert ready.status_code == 503
    assert ready.json()["status"].startswith("golden check failed: golden text 3 scores ")
    refused = plain_http.post(spoilt.url + "/predict", json={"text": ["good"]})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    ((detail),) = refused.json()["detail"]
    assert (detail["type"], detail["loc"], detail["msg"]) == ("not_ready", [], ready.json()["status"])
    assert plain_http.get(spoilt.url + "/livez").status_code == 200
    assert plain_http.get(spoilt.url + "/model/info").json()["golden_difference"] is None
    assert spoilt.metric('valence_requests_rejected_total{reason="not_ready"}') == 1


def test_model_that_cannot_be_loaded_is_reported(start_service: StartService, package: Path) -> None:
    """A file that is what the manifest says and yet no model: not ready, with the reason, and alive."""
    (package / "model.onnx").write_bytes(b"no model")
    files = json.loads((package / "manifest.json").read_text())["files"]
    files["model.onnx"]["sha256"] = hashlib.sha256(b"no model").hexdigest()
    del files["weights.safetensors"]  # which the native engine would do with
    edit(package, files=files)
    started = start_service(VALENCE_MODEL_DIR=str(package))
    until(lambda: "load_failed" in started.log.read_text(), "loading has failed")
    ready = plain_http.get(started.url + "/readyz")
    assert ready.status_code == 503
    assert ready.json()["status"].startswith("the model could not be loaded: ")
    assert plain_http.get(started.url + "/livez").status_code == 200
    assert '"exception"' not in started.log.read_text()  # the reason, and no stack of ours


def test_missing_package_is_one_line(start_service: StartService, tmp_path: Path) -> None:
    """The line names the folder, the file that is not there and the variable; there is no traceback."""
    refused = start_service(VALENCE_MODEL_DIR=str(tmp_path / "none"))
    reason = f"error: no model package at {tmp_path / 'none'}: No such file or directory (manifest.json)"
    assert last_words(refused) == [f"{reason} (VALENCE_MODEL_DIR)"]
    assert "Traceback" not in refused.log.read_text()


def test_changed_package_is_one_line(start_service: StartService, package: Path) -> None:
    """A model other than the verified one is not even loaded."""
    with (package / "model.onnx").open("ab") as file:
        file.write(b" ")
    (line,) = last_words(start_service(VALENCE_MODEL_DIR=str(package)))
    assert line.startswith(f"error: {package / 'model.onnx'} was changed after its export: sha256 ")


def test_package_of_another_format_is_one_line(start_service: StartService, package: Path) -> None:
    """A package of a later version says so."""
    edit(package, format=2)
    (line,) = last_words(start_service(VALENCE_MODEL_DIR=str(package)))
    reason = f"{package / 'manifest.json'} is not a manifest of format 1: format: Input should be 1"
    assert line == f"error: {reason} (VALENCE_MODEL_DIR)"


def test_wrong_setting_is_one_line(start_service: StartService) -> None:
    """The line names each variable, its value and what is wrong; nothing else is said."""
    refused = start_service(VALENCE_WORKERS="two", VALENCE_BIND="8000")
    (line,) = last_words(refused)
    bind, workers = line.split("; ")
    example = "such as 0.0.0.0:8000 or [::1]:8000, with a port from 1 to 65535"
    assert bind == f"error: VALENCE_BIND='8000': Value error, should be ADDRESS:PORT, {example}"
    reason = "Input should be a valid integer, unable to parse string as an integer"
    assert workers == f"VALENCE_WORKERS='two': {reason}"


def test_wrong_option_in_the_redis_url_is_one_line(start_service: StartService) -> None:
    """What only redis-py knows to be wrong stops the start, too, and no password is said."""
    refused = start_service(VALENCE_REDIS_URL="redis://:horse@127.0.0.1:6379/0?color=blue")
    assert last_words(refused) == ["error: VALENCE_REDIS_URL: unexpected keyword argument 'color'"]
    assert "horse" not in refused.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_taken_metrics_port_is_one_line(start_service: StartService, taken_port: str, workers: str) -> None:
    """With one worker as with several."""
    refused = start_service(VALENCE_METRICS_BIND=taken_port, VALENCE_WORKERS=workers)
    (line,) = last_words(refused)
    assert line.startswith(f"error: VALENCE_METRICS_BIND='{taken_port}': Address already in use")
    assert "Traceback" not in refused.log.read_text()


def test_taken_port_is_named(start_service: StartService, taken_port: str) -> None:
    """Gunicorn tries for five seconds, then it says which address it could not have."""
    refused = start_service(VALENCE_BIND=taken_port)
    assert refused.process.wait(300) == 1
    host, port = taken_port.split(":")
    assert f"Can't connect to ('{host}', {port})" in refused.log.read_text()
