"""manifest.json of an exported package: complete, true, and free of anybody's paths."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from model_export.scores import PackageScorer
from tests.model_export.tiny import TOLERANCE


@pytest.fixture(scope="module")
def manifest(package: Path) -> dict[str, Any]:
    """The manifest of the tiny package."""
    fields: dict[str, Any] = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    return fields


def test_package_holds_five_files(package: Path) -> None:
    """Nothing of the work is left inside."""
    names = {path.name for path in package.iterdir()}
    assert names == {"model.onnx", "weights.safetensors", "tokenizer.json", "config.json", "manifest.json"}


def test_manifest_says_what_the_package_is(manifest: dict[str, Any], checkpoint: Path) -> None:
    """Name, origin, licence and everything that a reader needs to feed the graph and to read its logits."""
    weights = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    expected = {
        "format": 1,
        "name": "tiny",
        "source": {"id": "tiny-distilbert", "revision": None, "sha256": {"model.safetensors": weights}},
        "licence": "MIT",
        "architecture": "DistilBertForSequenceClassification",
        "task": "text-classification",
        "activation": "softmax",
        "labels": ["NEGATIVE", "POSITIVE"],
        "max_tokens": 512,
        "inputs": ["input_ids", "attention_mask"],
        "opset": manifest["opset"],
    }
    assert expected.items() <= manifest.items()
    assert manifest["quantisation"]


def test_files_are_listed_with_size_and_digest(manifest: dict[str, Any], package: Path) -> None:
    """The service recognises a damaged download."""
    assert set(manifest["files"]) == {"model.onnx", "weights.safetensors", "tokenizer.json", "config.json"}
    for name, entry in manifest["files"].items():
        content = (package / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_tools_are_the_installed_ones(manifest: dict[str, Any]) -> None:
    """Every tool that shaped the files is there with its version."""
    tools = {"torch", "transformers", "optimum-onnx", "onnx", "onnxruntime", "tokenizers"}
    assert set(manifest["tools"]) == tools | {"python", "valence"}
    assert all(manifest["tools"][tool] == metadata.version(tool) for tool in tools)


def test_measurements_are_written_down(manifest: dict[str, Any], labelled: Path) -> None:
    """Verification and accuracy say what was measured, on how much, and within which limits."""
    verification, accuracy = manifest["verification"], manifest["accuracy"]
    assert verification["max_score_difference"] <= verification["tolerance"] == TOLERANCE
    assert verification["max_batch_difference"] <= verification["batch_tolerance"] == 1e-4
    assert verification["texts"] >= 120
    assert (accuracy["data"], accuracy["rows"]) == (labelled.name, 6)
    assert accuracy["sha256"] == hashlib.sha256(labelled.read_bytes()).hexdigest()
    assert accuracy["onnx"] >= accuracy["pytorch"] - 0.5


def test_golden_texts_score_as_written(manifest: dict[str, Any], package: Path) -> None:
    """Eight to twelve short texts, of more than one label and of different lengths, which the file scores like that."""
    scorer = PackageScorer(package, activation="softmax", max_tokens=512)
    golden = manifest["golden"]
    texts = [entry["text"] for entry in golden]
    written = np.array([[entry["scores"][label] for label in manifest["labels"]] for entry in golden])
    assert 8 <= len(set(texts)) == len(texts) <= 12
    assert np.abs(scorer.scores(texts) - written).max() < 1e-4
    assert len(set(written.argmax(axis=1))) == 2
    lengths = [len(scorer.token_ids(text)) for text in texts]
    assert max(lengths) < 64
    assert max(lengths) > 4 * min(lengths)
    assert np.abs(written[:, 0] - written[:, 1]).min() > 0.3


def test_no_path_of_this_machine_is_written(package: Path, checkpoint: Path) -> None:
    """Packages are published; the folders of whoever made them are nobody's business."""
    for name in ("manifest.json", "config.json", "tokenizer.json"):
        assert str(checkpoint.parents[1]) not in (package / name).read_text(encoding="utf-8")
    for name in ("model.onnx", "weights.safetensors"):
        assert str(checkpoint.parents[1]).encode() not in (package / name).read_bytes()
