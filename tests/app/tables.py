"""A tabular package that a test can change: a regression, 2 * acid + 0.5 * count - 1 in float64."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

GRAPH = base64.b64decode(
    "CAo6lAEKGAoIZmVhdHVyZXMKAXcSAXAiBk1hdE11bAoTCgFwCgFiEgZzY29yZXMiA0FkZBIBZyobCAIIARALQgF3ShAAAAAAAAAAQAAAAAAAAOA/"
    "KhEIARALQgFiSggAAAAAAADwv1oYCghmZWF0dXJlcxIMCgoICxIGCgAKAggCYhYKBnNjb3JlcxIMCgoICxIGCgAKAggBQgQKABAV"
)
"""onnx: Add(MatMul(features, [[2], [0.5]]), [-1]), which the service's environment has no library to make."""


def regression(folder: Path, **changes: Any) -> Path:
    """Write it to `folder`; its manifest with these changes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(GRAPH)
    facts = {"sha256": hashlib.sha256(GRAPH).hexdigest(), "bytes": len(GRAPH)}
    manifest = {
        "format": 1,
        "task": "tabular-regression",
        "name": "line",
        "source": {"id": "made.csv"},
        "algorithm": "none",
        "features": [
            {"name": "acid", "type": "number", "minimum": 0.0, "maximum": 10.0, "unit": "g/dm3"},
            {"name": "count", "type": "integer", "minimum": 0.0, "maximum": 4.0, "unit": None},
        ],
        "target": {"name": "price", "unit": "EUR", "minimum": -1.0, "maximum": 21.0},
        "files": {"model.onnx": facts},
        "golden": [{"row": [1.0, 2.0], "scores": {"price": 2.0}}, {"row": [0.0, 0.0], "scores": {"price": -1.0}}],
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
