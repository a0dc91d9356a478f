"""OpenVINO's statically calibrated int8 of a graph.

python -m bench.rivals.openvino_int8 FP32.onnx TOKENIZER.json OUT.xml

In an environment with openvino, nncf and tokenizers; calibrated on the texts that the load generators send.
"""

import sys

import nncf
import numpy as np
import openvino
from tokenizers import Tokenizer

from load.texts import load_texts

CALIBRATION_TEXTS = 200


def main(graph: str, tokenizer_json: str, target: str) -> None:
    """Write OUT.xml and OUT.bin."""
    tokenizer = Tokenizer.from_file(tokenizer_json)
    model = openvino.Core().read_model(graph)
    names = [port.any_name for port in model.inputs]

    def feed(text: str) -> dict[str, np.ndarray]:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return {name: known[name] for name in names}

    texts = load_texts()["cold"][:CALIBRATION_TEXTS]
    quantised = nncf.quantize(
        model, nncf.Dataset(texts, feed), model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION_TEXTS
    )
    openvino.save_model(quantised, target, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
