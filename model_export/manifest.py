"""manifest.json: where a package comes from, what it holds, and how it measured up."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from model_export.accuracy import Accuracy
from model_export.checkpoint import Checkpoint
from model_export.golden import Golden
from model_export.package import FILES, MODEL, OPTIONAL_FILES, digest, fingerprint
from model_export.source import Source, weight_files
from model_export.verify import Verification
from model_export.versions import tool_versions

FORMAT = 1
_TOOLS = ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime", "tokenizers")


def describe(name: str, source: Source, licence: str | None, checkpoint: Checkpoint, *, pairs: bool) -> dict[str, Any]:
    """Say what is known before anything is exported."""
    return {
        "format": FORMAT,
        "name": name,
        "source": {
            "id": source.id,
            "revision": source.revision,
            "sha256": {path.name: digest(path) for path in weight_files(source.folder)},
        },
        "licence": licence,
        "architecture": checkpoint.architecture,
        "task": "text-classification",
        "activation": checkpoint.activation,
        "labels": list(checkpoint.labels),
        "max_tokens": checkpoint.max_tokens,
        **({"pairs": True} if pairs else {}),
        "vocabulary_size": checkpoint.model.config.vocab_size,
    }


def inspect(package: Path) -> dict[str, Any]:
    """Read off the finished files: the graph's inputs and opset, every file's digest, and the tools that made them."""
    model = onnx.load(package / MODEL, load_external_data=False)
    return {
        "inputs": [value.name for value in model.graph.input],
        "opset": next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "files": {file: fingerprint(package / file) for file in (*FILES, *OPTIONAL_FILES) if (package / file).exists()},
        "tools": tool_versions(_TOOLS),
    }


def results(verification: Verification, accuracy: Accuracy | None, golden: list[Golden]) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "verification": asdict(verification),
        "accuracy": None if accuracy is None else asdict(accuracy),
        "golden": [asdict(text) for text in golden],
    }
