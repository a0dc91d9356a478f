"""model_export/optimise.py and quantise.py: int8 scores stay close to fp32 and depend on nothing but the text."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from model_export.checkpoint import load
from model_export.errors import ExportError
from model_export.export import export_graph
from model_export.optimise import optimise
from model_export.quantise import quantise, to_int8
from tests.model_export.tiny import DEBERTA, write_checkpoint

FAMILIES = ("DistilBert", "Bert", "Roberta")
LAYERS, LINEAR_LAYERS = 2, 12
PAD = {"Roberta": 1}
TOKENS = 45  # the smallest of the tiny vocabularies, less its special tokens

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class Graphs:
    """One tiny checkpoint as optimum exports it, optimised, and quantised."""

    def __init__(self, family: str, folder: Path, **config: Any) -> None:
        loaded = load(write_checkpoint(folder / "checkpoint", f"{family}ForSequenceClassification", **config))
        self.pad = PAD.get(family, 0)
        self.exported = export_graph(loaded, folder)
        self.optimised, self.int8 = folder / "optimised.onnx", folder / "int8.onnx"
        optimise(self.exported, self.optimised)
        self.facts = quantise(self.optimised, self.int8)

    def scores(self, path: Path, texts: list[IntArray]) -> FloatArray:
        """Softmax of one padded batch's logits."""
        shape = (len(texts), max(map(len, texts)))
        arrays = {
            "input_ids": np.full(shape, self.pad, np.int64),
            "attention_mask": np.zeros(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }
        for row, text in enumerate(texts):
            arrays["input_ids"][row, : len(text)] = text
            arrays["attention_mask"][row, : len(text)] = 1
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {node.name: arrays[node.name] for node in session.get_inputs()})
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
        return scores


@pytest.fixture(scope="module", params=FAMILIES)
def graphs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """The three graphs of each family."""
    return Graphs(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def texts() -> list[IntArray]:
    """Random texts of 1 to 512 tokens, most of them short."""
    rng = np.random.default_rng(0)
    lengths = [1, 2, 3, 500, 512, *rng.integers(4, 100, 35)]
    return [rng.integers(5, TOKENS, length) for length in lengths]


def operators(path: Path) -> list[str]:
    """The operator of every node."""
    return [node.op_type for node in onnx.load(path).graph.node]


def test_optimised_graph_scores_as_the_exported_one(graphs: Graphs, texts: list[IntArray]) -> None:
    """Fusion changes fp32 rounding and nothing else, padding included."""
    for batch in (texts[:3], texts[3:5], texts[5:]):
        expected = graphs.scores(graphs.exported, batch)
        assert np.abs(graphs.scores(graphs.optimised, batch) - expected).max() < 1e-5


def test_every_attention_and_gelu_is_fused(graphs: Graphs) -> None:
    """Nothing is left of the exported patterns in these families."""
    found = operators(graphs.optimised)
    assert [found.count(name) for name in ("Attention", "Gelu", "Softmax", "Erf")] == [LAYERS, LAYERS, 0, 0]


def test_last_layer_computes_one_token(graphs: Graphs) -> None:
    """The last layer's output and feed-forward have one row a text: the head reads no other."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(graphs.optimised)).graph
    shapes = {info.name: info.type.tensor_type.shape.dim for info in graph.value_info}
    tokens = [shapes[node.output[0]][1].dim_value for node in graph.node if node.op_type == "Gelu"]
    assert tokens == [0, 1]  # 0: not known before the text is


def test_score_is_the_same_alone_and_in_any_batch(graphs: Graphs, texts: list[IntArray]) -> None:
    """Integers are exactly equal; what remains is fp32 rounding in the head."""
    alone = np.concatenate([graphs.scores(graphs.int8, [text]) for text in texts])
    order = np.random.default_rng(1).permutation(len(texts))
    for chosen in np.array_split(order, 4):
        batched = graphs.scores(graphs.int8, [texts[index] for index in chosen])
        assert np.abs(batched - alone[chosen]).max() < 1e-6


def test_last_norm_is_bitwise_the_same_in_any_padding(graphs: Graphs, texts: list[IntArray]) -> None:
    """Up to the head no float may differ, the last layer's single query included."""
    model = onnx.load(graphs.int8)
    last = [node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"][-1]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(last, TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for text in texts[5:]:
        rows = []
        for tokens in (len(text), 103, 126):
            ids, mask = np.full((1, tokens), graphs.pad, np.int64), np.zeros((1, tokens), np.int64)
            ids[0, : len(text)], mask[0, : len(text)] = text, 1
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            rows.append(session.run([last], {node.name: feed[node.name] for node in session.get_inputs()})[0])
        assert all((row == rows[0]).all() for row in rows)


def test_int8_scores_are_close_to_fp32(graphs: Graphs, texts: list[IntArray]) -> None:
    """Random weights are far less kind than trained ones, but noise must stay noise."""
    differences = np.abs(graphs.scores(graphs.int8, texts) - graphs.scores(graphs.exported, texts))
    assert differences.mean() < 0.05


def test_every_linear_layer_of_the_encoder_is_quantised(graphs: Graphs) -> None:
    """Six a layer; no product with constant float weights is left."""
    assert graphs.facts["linear_layers"] == LINEAR_LAYERS
    assert operators(graphs.int8).count("MatMulIntegerToFloat") == LINEAR_LAYERS
    assert "MatMul" not in operators(graphs.int8)


def test_scale_and_residual_are_one_node(graphs: Graphs) -> None:
    """Neither a product's scale nor GELU's bias takes a pass of its own."""
    found = operators(graphs.int8)
    assert [found.count(name) for name in ("GatedAdd", "FastGelu", "Gelu")] == [2 * LAYERS, LAYERS, 0]


@pytest.mark.parametrize("family", ["DistilBert", "Bert", "Roberta"])
def test_pruned_heads_leave_the_scores_as_they_are(tmp_path: Path, texts: list[IntArray], family: str) -> None:
    """Each layer has a number of heads of its own: here one in the first, two in the second."""
    graphs = Graphs(family, tmp_path, pruned_heads={0: [1]})
    attentions = [node for node in onnx.load(graphs.optimised).graph.node if node.op_type == "Attention"]
    heads = [{entry.name: entry.i for entry in node.attribute} for node in attentions]
    assert heads == [{"q_num_heads": count, "kv_num_heads": count} for count in (1, 2)]
    expected = graphs.scores(graphs.exported, texts)
    assert np.abs(graphs.scores(graphs.optimised, texts) - expected).max() < 1e-5


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # transformers uses it here
def test_relative_positions_have_zero_points_of_their_own(tmp_path: Path, texts: list[IntArray]) -> None:
    """DeBERTa's table of them goes through linear layers, too, and has another number of rows than a batch."""
    graphs = Graphs("DebertaV2", tmp_path, **DEBERTA)
    differences = np.abs(graphs.scores(graphs.int8, texts) - graphs.scores(graphs.exported, texts))
    assert differences.mean() < 0.05
    assert graphs.facts["linear_layers"] == LINEAR_LAYERS + 4  # keys and queries of the relative positions


def test_padding_may_hold_anything(graphs: Graphs, texts: list[IntArray]) -> None:
    """Only the number of tokens counts: ids behind them change no bit."""
    shape = (2, 30)
    ids, mask = np.full(shape, 7, np.int64), np.ones(shape, np.int64)
    mask[0, 11:] = 0
    session = ort.InferenceSession(graphs.int8, providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int64)}
    names = [node.name for node in session.get_inputs()]
    before = session.run(["logits"], {name: feed[name] for name in names})[0]
    ids[0, 11:] = texts[-1][0]
    after = session.run(["logits"], {name: feed[name] for name in names})[0]
    assert (before == after).all()


def test_weights_fit_cpus_without_vnni(graphs: Graphs) -> None:
    """Two products of uint8 and weight must fit int16: vpmaddubsw saturates."""
    graph = onnx.load(graphs.int8).graph
    integers = {tensor.name: numpy_helper.to_array(tensor).astype(int) for tensor in graph.initializer}
    weights = [integers[node.input[1]] for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    largest = max(np.abs(weight).max() for weight in weights)
    assert 2 * 255 * largest <= np.iinfo(np.int16).max


def test_large_float_weights_are_gone(graphs: Graphs) -> None:
    """What stays float32 are biases, norms, scales and the head."""
    graph = onnx.load(graphs.int8).graph
    kept = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT]
    head = {name for node in graph.node if node.op_type == "Gemm" for name in node.input}
    assert not [
        tensor.name for tensor in kept if len(tensor.dims) == 2 and min(tensor.dims) > 2 and tensor.name not in head
    ]


def test_inputs_and_outputs_stay(graphs: Graphs) -> None:
    """Any server that takes the exported file takes this one."""
    before, after = onnx.load(graphs.exported).graph, onnx.load(graphs.int8).graph
    assert list(after.input) == list(before.input)
    assert list(after.output) == list(before.output)


def test_rows_of_zeros_stay_zero(tmp_path: Path) -> None:
    """A token vector of zeros has no scale; it must not become NaN, nor touch its neighbours."""
    weights = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    path = one_layer(tmp_path, weights)
    quantise(path, tmp_path / "int8.onnx")
    x = np.zeros((1, 3, 8), np.float32)
    x[0, 1] = np.arange(8)
    session = ort.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    assert not y[0, [0, 2]].any()
    assert np.abs(y[0, 1] - x[0, 1] @ weights).max() < 0.3


def test_graph_without_linear_layers_is_refused(tmp_path: Path) -> None:
    """One clear line, and no file."""
    path = one_layer(tmp_path, None)
    with pytest.raises(ExportError, match=r"float\.onnx has no linear layer"):
        quantise(path, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_integers_times_scales_are_within_half_a_step() -> None:
    """Rounding is the only loss, and a column of zeros is no division by zero."""
    weights = np.random.default_rng(0).standard_normal((16, 5)).astype(np.float32)
    weights[:, 2] = 0
    integers, scales = to_int8(weights, 64, axis=0)
    assert scales.shape == (1, 5)
    assert (np.abs(integers * scales - weights) <= scales * 0.501).all()


def one_layer(folder: Path, weights: FloatArray | None) -> Path:
    """A graph that is one linear layer, or one addition."""
    operand = np.ones(4, np.float32) if weights is None else weights
    node = helper.make_node("Identity" if weights is None else "Abs", ["x"], ["tokens"])
    last = helper.make_node("Add" if weights is None else "MatMul", ["tokens", "operand"], ["y"])
    graph = helper.make_graph(
        [node, last],
        "one layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", len(operand)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(operand, "operand")],
    )
    path = folder / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)
    return path
