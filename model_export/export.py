"""Checkpoint -> fp32 ONNX graph, and the two JSON files that stand beside it in a package."""

import warnings
from pathlib import Path

import optimum.utils
from optimum.exporters.onnx import onnx_export_from_model
from tokenizers import Tokenizer

from model_export.checkpoint import Checkpoint
from model_export.errors import ENCODERS, ExportError, one_line

OPSET = 18
"""What optimum recommends for every encoder it knows; pinned, so that an update of it changes nothing by itself."""


def export_graph(checkpoint: Checkpoint, folder: Path) -> Path:
    """Trace the model into `folder` and return the ONNX file: int64 (batch, tokens) in, float32 `logits` out.

    Raises ExportError when optimum doesn't know the architecture.
    """
    optimum.utils.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns about every constant; verify.py checks what came out
            onnx_export_from_model(
                checkpoint.model, folder, opset=OPSET, task="text-classification", do_validation=False
            )
    except (ValueError, KeyError, NotImplementedError) as exc:
        raise ExportError(f"optimum can't export a {checkpoint.architecture}: {one_line(exc)}; {ENCODERS}") from exc
    return folder / "model.onnx"


def write_tokenizer(checkpoint: Checkpoint, target: Path) -> None:
    """Write tokenizer.json with truncation and padding off: who reads it sets its own limits."""
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(target))


def write_config(checkpoint: Checkpoint, target: Path) -> None:
    """Write config.json with the labels of this export."""
    target.write_text(checkpoint.model.config.to_json_string(), encoding="utf-8")
