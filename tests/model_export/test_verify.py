"""model_export/verify.py: the gate lets a sound package pass and stops every kind of broken one."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

import onnx
from onnx import helper
from onnxruntime.quantization import quantize_dynamic

from model_export.checkpoint import Checkpoint, load
from model_export.errors import ExportError
from model_export.export import export_graph
from model_export.reference import CheckpointScorer
from model_export.scores import PackageScorer, activate, one_by_one
from model_export.texts import short_texts, verification_texts
from model_export.verify import random_batches, verify
from tests.model_export.doctor import append, change_graph, zero_largest_table
from tests.model_export.tiny import TOLERANCE


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Checkpoint:
    """The tiny DistilBERT in PyTorch."""
    return load(checkpoint)


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    """A package that a test may doctor."""
    return Path(shutil.copytree(package, tmp_path / "package"))


def scorer(folder: Path) -> PackageScorer:
    """The package as the gate sees it."""
    return PackageScorer(folder, activation="softmax", max_tokens=512)


def test_sound_package_passes(loaded: Checkpoint, package: Path) -> None:
    """The measured differences are within their limits, and were taken on every text."""
    texts = verification_texts()
    result = verify(CheckpointScorer(loaded), scorer(package), texts, tolerance=TOLERANCE)
    assert (result.texts, result.tolerance) == (len(texts), TOLERANCE)
    assert 0 < result.mean_score_difference < result.max_score_difference <= TOLERANCE
    assert result.max_batch_difference <= result.batch_tolerance == 1e-4
    assert result.batches > 10


def test_lost_weights_stop_the_export(loaded: Checkpoint, copy: Path) -> None:
    """The line holds the largest difference, the text's index and its beginning."""
    change_graph(copy, zero_largest_table)
    with pytest.raises(ExportError, match=r"differ from PyTorch's by up to 0\.\d+ \(allowed: 0\.3\), at text \d+: '"):
        verify(CheckpointScorer(loaded), scorer(copy), short_texts(), tolerance=TOLERANCE)


def test_every_score_a_little_off_stops_the_export(loaded: Checkpoint, copy: Path) -> None:
    """A fault that moves all texts is found even where it moves none of them far."""
    change_graph(copy, append("Mul", [0.6, 0.6]))
    with pytest.raises(ExportError, match=r"differ from PyTorch's by 0\.\d+ on average \(allowed: 0\.05\)"):
        verify(CheckpointScorer(loaded), scorer(copy), short_texts(), tolerance=0.25)


def test_scores_that_are_not_numbers_stop_the_export(loaded: Checkpoint, copy: Path) -> None:
    """NaN compares as 'not larger' with any tolerance."""
    change_graph(copy, append("Sub", [float("inf"), float("inf")]))
    with np.errstate(invalid="ignore"), pytest.raises(ExportError, match="by up to inf"):
        verify(CheckpointScorer(loaded), scorer(copy), short_texts(), tolerance=TOLERANCE)


def test_ordinary_dynamic_quantisation_is_stopped(loaded: Checkpoint, copy: Path, tmp_path: Path) -> None:
    """Dynamic int8 as onnxruntime makes it has one scale for the batch, so batchmates change a score."""
    raw = export_graph(loaded, tmp_path / "raw")
    quantize_dynamic(raw, copy / "model.onnx")
    with pytest.raises(ExportError, match="scores change with the batch by up to"):
        verify(CheckpointScorer(loaded), scorer(copy), verification_texts(), tolerance=1.0)


def test_flipped_sure_label_stops_the_export(loaded: Checkpoint, copy: Path) -> None:
    """A shift within a generous tolerance may not turn a label of which PyTorch is sure, 0.75 against 0.25."""
    change_graph(copy, append("Add", [2.5, 0.0]))
    with pytest.raises(ExportError, match="label changes where PyTorch is sure of it, at text"):
        verify(CheckpointScorer(loaded), scorer(copy), short_texts(), tolerance=0.6)


def test_other_tokens_stop_the_export(loaded: Checkpoint, copy: Path) -> None:
    """A tokenizer.json that splits texts in another way is found even where the scores happen to agree."""
    path = copy / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(ExportError, match=r"splits text 0: .* in another way"):
        verify(CheckpointScorer(loaded), scorer(copy), ["GOOD"], tolerance=TOLERANCE)


def test_other_number_of_labels_stops_the_export(loaded: Checkpoint, copy: Path) -> None:
    """A graph with one logit more is not this checkpoint's."""
    change_graph(copy, append("Concat"))
    model = onnx.load(copy / "model.onnx")
    model.graph.node[-1].input.append("before")
    model.graph.node[-1].attribute.append(helper.make_attribute("axis", 1))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, copy / "model.onnx")
    with pytest.raises(ExportError, match="gives 4 scores a text, the checkpoint 2"):
        verify(CheckpointScorer(loaded), scorer(copy), short_texts(), tolerance=TOLERANCE)


def test_graph_with_other_outputs_is_refused(copy: Path) -> None:
    """The service feeds and reads fixed names."""

    def add_output(graph: onnx.GraphProto) -> None:
        graph.node.append(helper.make_node("Identity", ["logits"], ["pooled"]))
        graph.output.append(helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, None))

    change_graph(copy, add_output)
    with pytest.raises(ExportError, match="to logits, pooled, which no one can serve"):
        scorer(copy)


def test_graph_that_does_not_load_is_one_line(copy: Path) -> None:
    """What onnxruntime refuses is told as an error of the export, not as a traceback."""
    (copy / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="onnxruntime can't load the exported graph"):
        scorer(copy)


@pytest.mark.parametrize("count", [2, 3, 50, 60, 190])
def test_every_text_has_batchmates(count: int) -> None:
    """Each text is in one batch, of two texts at least, and padding stays within bounds, whatever chance brings."""
    lengths = [1 + 37 * index % 512 for index in range(count)]
    for seed in range(100):
        batches = random_batches(lengths, random.Random(seed))
        assert sorted(index for batch in batches for index in batch) == list(range(count))
        assert min(map(len, batches)) >= 2
        bounded = batches[:-1]  # the last one may have taken in a text that was left alone
        assert all(len(batch) <= 3 or len(batch) * max(lengths[i] for i in batch) <= 4096 for batch in bounded)


def test_reference_does_not_depend_on_padding(loaded: Checkpoint) -> None:
    """The yardstick itself is sound: PyTorch masks padding."""
    reference, texts = CheckpointScorer(loaded), short_texts()[:20]
    assert np.abs(reference.scores(texts) - one_by_one(reference, texts)).max() < 1e-5


def test_activations_turn_logits_into_scores() -> None:
    """Softmax shares one between the labels, sigmoid judges each label alone; large logits don't overflow."""
    logits = np.array([[0.0, 0.0], [1000.0, 0.0]], np.float32)
    assert activate(logits, "softmax").tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert activate(logits, "sigmoid").tolist() == [[0.5, 0.5], [1.0, 0.5]]


def test_texts_reach_every_length() -> None:
    """At least 120 different short texts, and lengths in every power of two up to far beyond 512 tokens."""
    short, words = short_texts(), [len(text.split()) for text in verification_texts()]
    assert len(set(short)) == len(short) >= 120
    assert {count.bit_length() for count in words} == set(range(1, 11))
