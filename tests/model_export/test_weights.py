"""model_export/weights.py: each weight once, by role for the native engine and by place for ONNX Runtime."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

import onnx
import onnxruntime as ort
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from model_export.__main__ import main
from model_export.checkpoint import Checkpoint, load
from model_export.errors import ExportError
from model_export.export import export_graph
from model_export.optimise import optimise
from model_export.quantise import quantise
from model_export.weights import by_role, store
from tests.model_export.tiny import TOLERANCE, write_checkpoint

EPSILON = 1e-12


class Graphs:
    """A tiny DistilBERT, its quantised graph, and what `store` makes of that."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.loaded: Checkpoint = load(write_checkpoint(folder / "checkpoint", **config))
        exported, optimised = export_graph(self.loaded, folder), folder / "optimised.onnx"
        optimise(exported, optimised)
        self.whole, self.split = folder / "whole.onnx", folder / "package" / "model.onnx"
        quantise(optimised, self.whole)
        self.split.parent.mkdir()
        shutil.copy(self.whole, self.split)
        self.weights = by_role(self.loaded.model)
        store(self.split, self.weights, self.loaded.model.config, EPSILON)

    @property
    def file(self) -> Path:
        """The weights."""
        return self.split.with_name("weights.safetensors")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """Made once. Not to be changed."""
    return Graphs(tmp_path_factory.mktemp("weights"))


def logits(graph: Path) -> npt.NDArray[np.float32]:
    """Of some random texts in one padded batch."""
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(5, 45, (8, 40)), np.ones((8, 40), np.int64)
    for row, tokens in enumerate(range(5, 45, 5)):
        mask[row, tokens:] = 0
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
    return found


def test_graph_computes_the_same_bits(graphs: Graphs) -> None:
    """Only where its constants lie has changed."""
    assert (logits(graphs.split) == logits(graphs.whole)).all()


def test_no_weight_is_stored_twice(graphs: Graphs) -> None:
    """Of the graph's constants only such stay in it as a hundred bytes hold; both files are hardly larger than one."""
    model = onnx.load(graphs.split, load_external_data=False)
    assert max(len(tensor.raw_data) for tensor in model.graph.initializer) < 100
    assert len(load_file(graphs.file)) == len(graphs.weights)
    nodes = sum(node.ByteSize() for node in model.graph.node)
    values = sum(array.nbytes for array in graphs.weights.values())
    assert graphs.split.stat().st_size < nodes + 200 * len(model.graph.initializer)
    assert graphs.file.stat().st_size < values + 120 * len(graphs.weights)


def test_roles_hold_the_checkpoints_weights(graphs: Graphs) -> None:
    """Each is its own module's, within half a step, in the layout that the native engine reads."""
    stored = load_file(graphs.file)
    bert = graphs.loaded.model.distilbert
    layer = bert.transformer.layer[1]
    linear = {
        "query": layer.attention.q_lin,
        "key": layer.attention.k_lin,
        "value": layer.attention.v_lin,
        "output": layer.attention.out_lin,
        "up": layer.ffn.lin1,
        "down": layer.ffn.lin2,
    }
    for role, module in linear.items():
        integers, scales = stored[f"layers.1.{role}.weight"], stored[f"layers.1.{role}.scale"]
        assert integers.shape == (module.in_features, module.out_features)
        assert (np.abs(integers * scales - module.weight.detach().numpy().T) <= scales * 0.501).all()
        if role != "key":
            assert (stored[f"layers.1.{role}.bias"] == module.bias.detach().numpy()).all()
    for role, table in (("words", bert.embeddings.word_embeddings), ("positions", bert.embeddings.position_embeddings)):
        rows, scales = stored[f"embeddings.{role}.weight"], stored[f"embeddings.{role}.scale"]
        assert (np.abs(rows * scales[:, None] - table.weight.detach().numpy()) <= scales[:, None] * 0.501).all()
    floats = {
        "embeddings.norm": bert.embeddings.LayerNorm,
        "layers.1.attention_norm": layer.sa_layer_norm,
        "layers.1.output_norm": layer.output_layer_norm,
        "pooler": graphs.loaded.model.pre_classifier,
        "classifier": graphs.loaded.model.classifier,
    }
    for role, module in floats.items():
        assert (stored[f"{role}.weight"] == module.weight.detach().numpy()).all()
        assert (stored[f"{role}.bias"] == module.bias.detach().numpy()).all()


def test_metadata_says_what_no_tensor_does(graphs: Graphs) -> None:
    """The native engine reads no other file for its geometry."""
    with safe_open(graphs.file, framework="numpy") as file:
        network = json.loads(file.metadata()["network"])
    config = graphs.loaded.model.config
    assert network == {
        "architecture": "distilbert",
        "scheme": "int8, dynamic per token",
        "gelu": "tanh",
        "epsilon": 1e-12,
        "hidden": 32,
        "inner": 64,
        "heads": 2,
        "layers": 2,
        "vocabulary": config.vocab_size,
        "positions": 512,
        "labels": 2,
    }


def test_files_are_the_same_in_every_run(graphs: Graphs, tmp_path: Path) -> None:
    """Their digests name the model: made again they must not empty every cache."""
    again = Path(shutil.copy(graphs.whole, tmp_path / "model.onnx"))
    store(again, graphs.weights, graphs.loaded.model.config, EPSILON)
    assert again.read_bytes() == graphs.split.read_bytes()
    assert again.with_name("weights.safetensors").read_bytes() == graphs.file.read_bytes()


def test_equal_weights_are_found(tmp_path: Path) -> None:
    """Torch exports equal constants once: new norms, all of ones and zeros, are one constant of the graph."""
    torch.manual_seed(0)
    folder = write_checkpoint(tmp_path / "checkpoint")
    loaded = load(folder)
    with torch.no_grad():
        for name, weights in loaded.model.named_parameters():
            if "norm" in name.lower():
                weights.fill_(1.0 if name.endswith("weight") else 0.0)
    loaded.model.save_pretrained(folder)
    output = tmp_path / "package"
    assert main(["--model", str(folder), "--tolerance", "1", "--output", str(output)]) == 0
    stored = load_file(output / "weights.safetensors")
    assert (stored["layers.1.output_norm.weight"] == 1).all()
    assert (stored["embeddings.norm.bias"] == 0).all()


def test_weights_that_the_graph_lacks_stop_the_export(graphs: Graphs, tmp_path: Path) -> None:
    """The native engine would compute something else than was verified; the first is named, and nothing written."""
    graph = Path(shutil.copy(graphs.whole, tmp_path / "model.onnx"))
    other = graphs.weights | {"layers.1.value.weight": graphs.weights["layers.1.value.weight"] ^ 1}
    with pytest.raises(ExportError, match=r"1 weights are not in the quantised graph .*: layers\.1\.value\.weight"):
        store(graph, other, graphs.loaded.model.config, EPSILON)
    assert graph.read_bytes() == graphs.whole.read_bytes()
    assert not graph.with_name("weights.safetensors").exists()


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("BertForSequenceClassification", {}),
        ("DistilBertForSequenceClassification", {"activation": "relu"}),
        ("DistilBertForSequenceClassification", {"max_position_embeddings": 48}),
    ],
    ids=["another network", "another activation", "positions that stay float32"],
)
def test_other_networks_keep_their_weights_in_the_graph(
    tmp_path: Path, architecture: str, config: dict[str, Any]
) -> None:
    """They are ONNX Runtime's: one file, which refers to no other."""
    names = {0: "NEGATIVE", 1: "POSITIVE"}
    checkpoint = write_checkpoint(tmp_path / "checkpoint", architecture, id2label=names, **config)
    output = tmp_path / "package"
    assert main(["--model", str(checkpoint), "--tolerance", str(2 * TOLERANCE), "--output", str(output)]) == 0
    assert not (output / "weights.safetensors").exists()
    assert "weights.safetensors" not in json.loads((output / "manifest.json").read_text())["files"]
    model = onnx.load(output / "model.onnx", load_external_data=False)
    assert not [tensor.name for tensor in model.graph.initializer if tensor.external_data]
