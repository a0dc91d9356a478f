"""One int8 file for all servers: `python -m bench.rivals.same_file CHECKPOINT OUTPUT`.

Runs in the environment of the export. Optimum quantises (`avx512_vnni`, dynamic, per channel); the folder is a package
to Valence and a checkpoint to the others. The scores of such a graph depend on what shares the batch, so no gate of the
export would let it pass: for measuring only. Its one golden text is scored alone.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from bench.rivals.engine import Engine

GOLDEN = "Neither good nor bad, but I would go again."


def main(checkpoint: Path, output: Path) -> None:
    """Write the folder; whatever it held under the same names is replaced."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        ORTModelForSequenceClassification.from_pretrained(checkpoint, export=True).save_pretrained(scratch)
        config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        ORTQuantizer.from_pretrained(scratch, file_name="model.onnx").quantize(config, scratch)
        shutil.copy(Path(scratch, "model_quantized.onnx"), output / "model.onnx")
    for path in checkpoint.glob("*.json"):
        shutil.copy(path, output)
    labels = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["id2label"]
    manifest = {
        "format": 1,
        "name": f"{checkpoint.name}-optimum-int8",
        "source": {"id": checkpoint.name},
        "activation": "softmax",
        "labels": [labels[str(number)] for number in range(len(labels))],
        "max_tokens": 512,
        "inputs": ["input_ids", "attention_mask"],
        "files": {name: _facts(output / name) for name in ("model.onnx", "tokenizer.json", "config.json")},
    }
    path = output / "manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")  # what the engine reads
    (scores,) = Engine(output, threads=1).scores([GOLDEN])
    path.write_text(json.dumps(manifest | {"golden": [{"text": GOLDEN, "scores": scores}]}, indent=1), encoding="utf-8")


def _facts(path: Path) -> dict[str, object]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
