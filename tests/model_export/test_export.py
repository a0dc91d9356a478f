"""model_export/export.py: the graph and the JSON files that stand beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

import onnxruntime as ort
from tokenizers import Tokenizer

from model_export.checkpoint import load
from model_export.errors import ExportError
from model_export.export import export_graph, write_config, write_tokenizer
from model_export.reference import CheckpointScorer
from model_export.scores import activate
from tests.model_export.tiny import write_checkpoint


@pytest.mark.parametrize(
    ("architecture", "inputs"),
    [
        ("DistilBertForSequenceClassification", {"input_ids", "attention_mask"}),
        ("BertForSequenceClassification", {"input_ids", "attention_mask", "token_type_ids"}),
        ("RobertaForSequenceClassification", {"input_ids", "attention_mask"}),
    ],
)
def test_graph_computes_what_pytorch_does(tmp_path: Path, architecture: str, inputs: set[str]) -> None:
    """The fp32 graph agrees with PyTorch to rounding, for another shape than the one that was traced."""
    loaded = load(write_checkpoint(tmp_path / "model", architecture))
    session = ort.InferenceSession(str(export_graph(loaded, tmp_path / "onnx")), providers=["CPUExecutionProvider"])
    assert {node.name for node in session.get_inputs()} == inputs
    texts = ["good", "not a good film, never again", "love it"]
    feed = loaded.tokenizer(texts, padding=True, return_tensors="np", return_token_type_ids="token_type_ids" in inputs)
    (logits,) = session.run(["logits"], {name: value.astype(np.int64) for name, value in feed.items()})
    assert np.abs(activate(logits, "softmax") - CheckpointScorer(loaded).scores(texts)).max() < 1e-5


def test_unknown_architecture_is_refused(tmp_path: Path) -> None:
    """Transformers knows more encoders than optimum can export."""
    loaded = load(write_checkpoint(tmp_path / "model"))
    loaded.model.config.model_type = "no-such"
    with pytest.raises(ExportError, match="optimum can't export a DistilBertForSequenceClassification"):
        export_graph(loaded, tmp_path / "onnx")


def test_tokenizer_is_written_without_limits_of_its_own(tmp_path: Path) -> None:
    """Truncation and padding that a checkpoint was saved with are off, and the checkpoint keeps its own."""
    loaded = load(write_checkpoint(tmp_path / "model"))
    loaded.tokenizer.backend_tokenizer.enable_truncation(4)
    loaded.tokenizer.backend_tokenizer.enable_padding(length=9)
    write_tokenizer(loaded, tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert (tokenizer.truncation, tokenizer.padding) == (None, None)
    assert loaded.tokenizer.backend_tokenizer.truncation["max_length"] == 4


def test_config_holds_labels_and_no_path(tmp_path: Path) -> None:
    """The labels of this export, and nothing about the machine that made it."""
    write_config(load(write_checkpoint(tmp_path / "model"), ["NEGATIVE", "POSITIVE"]), tmp_path / "config.json")
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text)["id2label"] == {"0": "NEGATIVE", "1": "POSITIVE"}
    assert str(tmp_path) not in text
