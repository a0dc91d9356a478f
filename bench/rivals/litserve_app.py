"""LitServe with ONNX Runtime: OTHER_MODEL is the folder of the model, OTHER_PORT the port."""

import os
from typing import Any

import litserve as ls

from bench.rivals.engine import Engine, model_folder

WORKERS, BATCH, WAIT_SECONDS = 2, 8, 0.002
"""Two processes of one thread each on two cores. With 64 clients batches of 4 and 16 measured a fifth slower, with 10
clients batches of 4 a twentieth faster; without any wait a third slower."""


class Classify(ls.LitAPI):
    """{"text": [TEXT]} -> its scores by label."""

    def setup(self, device: str) -> None:
        """In each worker."""
        del device
        self.engine = Engine(model_folder(), threads=1)

    def decode_request(self, request: dict[str, Any]) -> str:
        return str(request["text"][0])

    def predict(self, texts: list[str]) -> list[dict[str, float]]:
        return self.engine.scores(texts)

    def encode_response(self, output: dict[str, float]) -> dict[str, Any]:
        return {"predictions": [output]}


if __name__ == "__main__":
    api = Classify(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, timeout=120)
    server.run(host="127.0.0.1", port=int(os.environ["OTHER_PORT"]), log_level="warning", generate_client_file=False)
