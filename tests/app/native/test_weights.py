"""What the kernel takes of a package, and what it leaves to ONNX Runtime."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.native.onnx_graph import NotOnnx, read_graph
from app.native.transformer import Transformer
from app.native.weights import Unsupported, Weights
from app.package import Package
from app.settings import BUNDLED_MODEL


@pytest.fixture
def package_folder(tmp_path: Path) -> Path:
    """A copy of the bundled package, to be changed."""
    return Path(shutil.copytree(BUNDLED_MODEL, tmp_path / "package"))


def change(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_config(folder: Path, **fields: Any) -> None:
    """Change config.json, as an export would have written it."""
    change(folder / "config.json", **fields)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    files["config.json"]["sha256"] = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    change(folder / "manifest.json", files=files)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model_type": "bert"}, "it is a bert with gelu, not a distilbert"),
        ({"activation": "relu"}, "it is a distilbert with relu"),
        ({"n_layers": 0}, "should be positive integers"),
        ({"n_layers": 7}, r"layer\.6/attention/q_lin.* should come from a MatMulIntegerToFloat, found None"),
        ({"n_heads": 24}, "384 and 1536 with 24 heads"),
        ({"dim": 352, "n_heads": 11}, "352 and 1536 with 11 heads"),
        ({"vocab_size": 30_523}, r"word_embeddings.* should be int8\[30523, 384\], found int8\[30522, 384\]"),
        ({"max_position_embeddings": 256}, "256 positions for 512 tokens"),
    ],
)
def test_another_network_is_not_for_the_kernel(package_folder: Path, fields: dict[str, Any], reason: str) -> None:
    """What config.json says must be what the graph holds, and what the kernel can compute."""
    change_config(package_folder, **fields)
    with pytest.raises(Unsupported, match=reason):
        Transformer.of(Package(package_folder))


def test_another_scheme_is_not_for_the_kernel(package_folder: Path) -> None:
    """The manifest says how the package was quantised."""
    change(package_folder / "manifest.json", quantisation={"scheme": "int8, static"})
    with pytest.raises(Unsupported, match="not quantised as 'int8, dynamic per token'"):
        Weights(Package(package_folder))


def test_a_config_that_was_changed_after_the_export_is_not_believed(package_folder: Path) -> None:
    """Half as many heads, twice as wide, would fit all weights and give other scores."""
    change(package_folder / "config.json", n_heads=6)
    with pytest.raises(Unsupported, match="was changed after its export"):
        Weights(Package(package_folder))


def test_a_package_without_config_is_not_for_the_kernel(package_folder: Path) -> None:
    """ONNX Runtime needs none."""
    (package_folder / "config.json").unlink()
    with pytest.raises(Unsupported, match=r"config\.json: .*No such file"):
        Weights(Package(package_folder))


def test_the_graph_is_read_as_it_was_written() -> None:
    """Nodes with inputs, outputs and floats; tensors with their types and shapes."""
    graph = read_graph(BUNDLED_MODEL / "model.onnx")
    norm = next(node for node in graph.nodes if node.op_type == "LayerNormalization")
    assert norm.inputs[1] == "distilbert.embeddings.LayerNorm.weight"
    assert norm.floats == {"epsilon": pytest.approx(1e-12)}
    words = graph.tensors["distilbert.embeddings.word_embeddings.weight/int8"]
    assert (words.dtype, words.shape) == (np.int8, (30_522, 384))
    assert graph.tensors["quantise/step_127"] == np.float32(1 / 127)


@pytest.mark.parametrize("kept", [0, 1, 5, 1_000, 100_000, -1])
def test_a_file_that_is_cut_off_is_no_graph(tmp_path: Path, kept: int) -> None:
    """Wherever it ends."""
    path = tmp_path / "model.onnx"
    path.write_bytes((BUNDLED_MODEL / "model.onnx").read_bytes()[:kept])
    with pytest.raises(NotOnnx, match=r"model\.onnx is no ONNX model"):
        read_graph(path)


@pytest.mark.parametrize("content", [b"\xff" * 40, b"not a model at all", bytes(range(256))])
def test_any_other_file_is_no_graph(tmp_path: Path, content: bytes) -> None:
    """Whatever its bytes would mean."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(NotOnnx, match="is no ONNX model"):
        read_graph(path)
