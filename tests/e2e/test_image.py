"""What is in the image, and that all of it is used."""

import json
import re
from collections.abc import Iterator

import pytest

from app.model.native.transformer import LIBRARY, VERSION
from tests.e2e.stack import Stack, command
from tests.k8s.rendering import overlay

MEGABYTE = 1_000_000
LIMIT = 300 * MEGABYTE

LIST_MODULES = """
import importlib.metadata, json, sysconfig
tops = {}
for distribution in importlib.metadata.distributions(path=[sysconfig.get_path("purelib")]):
    parts = {file.parts[0] for file in distribution.files}
    tops[distribution.name] = sorted(part.split(".")[0] for part in parts if ".dist-info" not in part and part != "..")
print(json.dumps(tops))
"""
"""Run in the image: distribution -> names of its modules and packages."""


def test_the_image_is_small(image: str) -> None:
    """Everything, base image included."""
    assert int(command("podman", "image", "inspect", "--format", "{{.Size}}", image)) < LIMIT


def test_the_image_says_how_it_runs(image: str) -> None:
    """A user by number, gunicorn itself as process 1, a health check, and labels that tools read."""
    (facts,) = json.loads(command("podman", "image", "inspect", image))
    assert facts["Config"]["User"] == "10001:10001"
    assert facts["Config"]["Entrypoint"] == ["gunicorn"]
    assert "readyz" in facts["Healthcheck"]["Test"][-1]
    labels = facts["Config"]["Labels"]
    wanted = {
        f"org.opencontainers.image.{name}" for name in ("title", "description", "licenses", "version", "revision")
    }
    assert wanted <= set(labels)


def test_a_code_change_rebuilds_the_last_layer_only(image: str) -> None:
    """The last layer with content is the code, and it is small: the environment and the model lie below it."""
    layers = json.loads(command("podman", "history", "--format", "json", image))
    (code, model, environment, *_) = [layer["size"] for layer in layers if layer["size"] > 0]
    assert code < 1.5 * MEGABYTE < model < environment


@pytest.fixture(scope="module")
def traced(image: str) -> Iterator[Stack]:
    """One pod that logs each module it imports, and its requests done; it sends spans to where nobody listens.

    ONNX Runtime computes there: what the native engine leaves to it must be in the image, too.
    """
    variables = {
        "PYTHONPROFILEIMPORTTIME": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "VALENCE_ENGINE": "onnxruntime",
    }
    with Stack("valence-e2e-traced", overlay("dev"), image=image, pods=1, **variables) as stack:
        yield stack


def test_the_native_engine_is_in_the_image(traced: Stack) -> None:
    """Compiled while the image was built; 0 is its word for a CPU without AVX512-VNNI."""
    program = f"import ctypes; print(ctypes.CDLL('app/model/native/{LIBRARY.name}').transformer_version())"
    assert int(traced.api[0].execute("python", "-c", program)) in (0, VERSION)


def test_every_distribution_in_the_image_is_imported(traced: Stack) -> None:
    """Whatever pip put there and no request ever imports has no place in the image."""
    pod = traced.api[0]
    assert pod.predict("a text").status_code == 200
    log = command("sh", "-c", f"podman logs {pod.name} 2>&1")
    assert '"event":"tracing"' in log
    imported = {match.split(".")[0] for match in re.findall(r"import time:.*\| +(\S+)", log)}
    distributions: dict[str, list[str]] = json.loads(pod.execute("python", "-c", LIST_MODULES))
    assert "fastapi" in distributions
    assert [name for name, modules in distributions.items() if not imported & set(modules)] == []
