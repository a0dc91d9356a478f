"""fp32 ONNX as optimum exports it -> the same network with fewer and faster operators.

Every rewrite is exact but for fp32 rounding, and what does not match is left as it is. The gains: docs/quantisation.md.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, version_converter
from onnxruntime.transformers.onnx_model import OnnxModel

OPSET = 24
"""The first opset whose Attention takes lengths instead of a mask."""

_LENGTHS = "optimise/lengths"  # int64 (batch,)
_FIRST = "optimise/first"  # the index [0]
_HEADS = -2  # where the number of heads stands in (batch, tokens, heads, width)
_TOKEN_WISE = {"Add", "Sum", "Mul", "Div", "Erf", "Gelu", "Tanh", "MatMul", "LayerNormalization"}


def optimise(source: Path, target: Path) -> None:
    """Write `source` to `target` with fused attention and GELU, and a last layer that computes what is read of it.

    Inputs and outputs stay: int64 (batch, tokens) -> float32 logits (batch, labels). Padding must be at the
    end of a row: of `attention_mask` only the number of tokens is read.
    """
    model = OnnxModel(version_converter.convert_version(onnx.load(source), OPSET))
    _inline_identities(model)
    _fuse_gelu(model)
    _fuse_attention(model)
    _sum_residuals(model)
    _narrow_last_layer(model)
    model.prune_graph()
    model.topological_sort()
    onnx.save(model.model, target)


def _inline_identities(model: OnnxModel) -> None:
    """Resolve the Identity with which torch exports each further use of equal weights: patterns look for weights."""
    for identity in model.get_nodes_by_op_type("Identity"):
        if model.get_initializer(identity.input[0]) is not None:
            model.replace_input_of_all_nodes(identity.output[0], identity.input[0])


def _fuse_gelu(model: OnnxModel) -> None:
    """Replace x/sqrt(2) -> Erf -> +1 -> *x -> /2 by Gelu(x)."""
    producers, consumers = model.output_name_to_node(), model.input_name_to_nodes()
    for erf in model.get_nodes_by_op_type("Erf"):
        chain = _only_chain(consumers, erf, ["Add", "Mul", "Mul"])
        scaled = producers.get(erf.input[0])
        if chain is not None and scaled is not None and scaled.op_type == "Div":
            model.remove_node(chain[-1])
            model.add_node(helper.make_node("Gelu", [scaled.input[0]], [chain[-1].output[0]], f"{erf.name}/fused"))


def _fuse_attention(model: OnnxModel) -> None:
    """Replace softmax(q k^T / sqrt(d) + mask) v, a dozen transposes and reshapes included, by one Attention.

    A mask that holds weights (relative positions) is more than padding: such attention stays. So does one whose number
    of heads can't be read off the graph; layers may differ in it, since heads can be pruned.
    """
    producers, consumers = model.output_name_to_node(), model.input_name_to_nodes()
    fused = False
    for softmax in model.get_nodes_by_op_type("Softmax"):
        parents = model.match_parent_path(softmax, ["Add", "MatMul"], [0, 0])
        children = _only_chain(consumers, softmax, ["MatMul", "Transpose", "Reshape"])
        if parents is None or children is None or _has_weights(model, producers, parents[0].input[1]):
            continue
        splits = [_split_into_heads(producers, name) for name in (*parents[1].input, children[0].input[1])]
        heads = {None if split is None else _number_of_heads(model, producers, split) for split in splits}
        if None in heads or len(heads) != 1:
            continue
        query, key, value = (split.input[0] for split in splits if split is not None)
        key_bias = producers.get(key)
        if key_bias is not None and key_bias.op_type == "Add" and model.get_initializer(key_bias.input[0]) is not None:
            key = key_bias.input[1]  # the bias adds the same to all scores of a query, which softmax takes out again
        model.remove_node(children[-1])
        inputs, outputs = [query, key, value, "", "", "", _LENGTHS], [children[-1].output[0]]
        attributes = dict.fromkeys(("q_num_heads", "kv_num_heads"), heads.pop())
        model.add_node(helper.make_node("Attention", inputs, outputs, f"{softmax.name}/fused", **attributes))
        fused = True
    if fused:
        model.add_initializer(numpy_helper.from_array(np.array([1]), f"{_LENGTHS}/axes"))
        inputs = ["attention_mask", f"{_LENGTHS}/axes"]
        model.add_node(helper.make_node("ReduceSum", inputs, [_LENGTHS], keepdims=0))


def _only_chain(consumers: dict[str, list[NodeProto]], node: NodeProto, op_types: list[str]) -> list[NodeProto] | None:
    """The nodes after `node`, if they have these types and each is the only reader of the one before."""
    chain: list[NodeProto] = []
    for op_type in op_types:
        readers = consumers.get(node.output[0], [])
        if len(readers) != 1 or readers[0].op_type != op_type:
            return None
        node = readers[0]
        chain.append(node)
    return chain


def _split_into_heads(producers: dict[str, NodeProto], name: str) -> NodeProto | None:
    """The Reshape that split a (batch, tokens, hidden) tensor into heads, before it was transposed and scaled."""
    node = producers.get(name)
    while node is not None and node.op_type in {"Transpose", "Mul", "Div"}:
        node = producers.get(node.input[0])
    return node if node is not None and node.op_type == "Reshape" else None


def _number_of_heads(model: OnnxModel, producers: dict[str, NodeProto], split: NodeProto) -> int | None:
    """The third of (batch, tokens, heads, width of a head), to which `split` reshapes; None where it is not known."""
    shape = producers.get(split.input[1])
    sizes: list[int] = []
    for name in reversed(shape.input if shape is not None and shape.op_type == "Concat" else split.input[1:]):
        part = model.get_constant_value(name)
        if part is None:
            break
        sizes = [*part.ravel().tolist(), *sizes]
    heads = sizes[_HEADS] if len(sizes) >= -_HEADS else 0
    return heads if heads > 0 else None


def _has_weights(model: OnnxModel, producers: dict[str, NodeProto], name: str) -> bool:
    """Whether a float tensor with more than one element goes into `name`."""
    todo, seen = [name], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        tensor = model.get_initializer(name)
        if tensor is not None and tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 1:
            return True
        todo.extend(producers[name].input if name in producers else [])
    return False


def _sum_residuals(model: OnnxModel) -> None:
    """Write x @ weights + bias + residual before a LayerNormalization as the Sum of the product and (residual + bias).

    Then quantisation can scale the product and add it in one node. Sum also keeps ONNX Runtime from fusing addition
    and norm into its SkipLayerNormalization, whose CPU kernel is scalar code: 195 us at (128, 384) for 25 us in two.
    """
    producers = model.output_name_to_node()
    for norm in model.get_nodes_by_op_type("LayerNormalization"):
        total = producers.get(norm.input[0])
        if total is None or total.op_type != "Add":
            continue
        total.op_type = "Sum"
        biased = producers.get(total.input[0])
        if biased is not None and biased.op_type == "Add" and model.get_initializer(biased.input[0]) is not None:
            shifted = f"{total.input[1]}/plus/{biased.input[0]}"
            model.add_node(helper.make_node("Add", [total.input[1], biased.input[0]], [shifted], shifted))
            total.input[:] = [biased.input[1], shifted]


def _narrow_last_layer(model: OnnxModel) -> None:
    """Compute the last layer's query, output and feed-forward for the first token only: the head reads no other.

    Of the last layer only keys and values need every token. This saves 5/6 of one layer.
    """
    producers, consumers = model.output_name_to_node(), model.input_name_to_nodes()
    attentions = model.get_nodes_by_op_type("Attention")
    reads = [node for node in model.get_nodes_by_op_type("Gather") if _reads_first_token(model, producers, node)]
    if not attentions or len(reads) != 1:
        return
    last = attentions[-1]
    wide = _ancestors(producers, last.input[1:3])
    if reads[0].input[0] in wide or len(consumers[reads[0].input[0]]) != 1:
        return
    model.add_initializer(numpy_helper.from_array(np.array([0]), _FIRST))
    narrowed: dict[str, str] = {}

    def narrow(name: str) -> str:
        if name in narrowed or model.get_initializer(name) is not None:
            return narrowed.get(name, name)
        node = producers[name]
        narrowed[name] = name
        if node is last:
            # Twice: with one query ONNX Runtime sums the values in an order that depends on the padding.
            query = narrow(node.input[0])
            node.input[0], narrowed[name] = f"{name}/twice", f"{name}/first"
            model.add_node(helper.make_node("Concat", [query, query], [node.input[0]], axis=1))
            model.add_node(helper.make_node("Gather", [name, _FIRST], [narrowed[name]], axis=1))
        elif name not in wide and node.op_type in _TOKEN_WISE:
            node.input[:] = [narrow(operand) for operand in node.input]
        elif node.op_type != "Constant":
            narrowed[name] = f"{name}/first"
            model.add_node(helper.make_node("Gather", [name, _FIRST], [narrowed[name]], axis=1))
        return narrowed[name]

    narrow(reads[0].input[0])


def _reads_first_token(model: OnnxModel, producers: dict[str, NodeProto], gather: NodeProto) -> bool:
    axis = next((attribute.i for attribute in gather.attribute if attribute.name == "axis"), 0)
    index = model.get_constant_value(gather.input[1])
    return axis == 1 and index is not None and index.ndim == 0 and index == 0 and gather.input[0] in producers


def _ancestors(producers: dict[str, NodeProto], names: list[str]) -> set[str]:
    todo, seen = list(names), set[str]()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(producers[name].input if name in producers else [])
    return seen
