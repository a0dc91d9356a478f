"""Ways to break the graph of a package, so that the gates have something to find."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper


def change_graph(folder: Path, change: Callable[[onnx.GraphProto], None]) -> None:
    """Doctor the graph of a package in place."""
    model = onnx.load(folder / "model.onnx")
    change(model.graph)
    onnx.save(model, folder / "model.onnx")


def append(op: str, *constants: list[float]) -> Callable[[onnx.GraphProto], None]:
    """Pass the logits through one more operator."""

    def change(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            node.output[:] = ["before" if name == "logits" else name for name in node.output]
        names = [f"constant_{index}" for index, _ in enumerate(constants)]
        for name, values in zip(names, constants, strict=True):
            graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), name))
        graph.node.append(helper.make_node(op, ["before", *names], ["logits"]))

    return change


def zero_largest_table(graph: onnx.GraphProto) -> None:
    """Lose the integers of the largest weight, as a broken quantisation might."""
    largest = max(graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    largest.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(largest)), largest.name))
