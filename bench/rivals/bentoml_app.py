"""BentoML with ONNX Runtime: `bentoml serve bench.rivals.bentoml_app:Classify`, batching as it does by itself."""

import bentoml

from bench.rivals.engine import Engine, model_folder

WORKERS, BATCH, LATENCY_MS = 2, 8, 60_000
"""The latency is the time within which an answer must come, beyond which BentoML refuses: as long as for all others."""


@bentoml.service(workers=WORKERS, traffic={"timeout": 120})
class Classify:
    """{"text": [TEXT]} -> its scores by label."""

    def __init__(self) -> None:
        self.engine = Engine(model_folder(), threads=1)

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=LATENCY_MS)
    def predict(self, text: list[str]) -> list[dict[str, float]]:
        """Score a batch."""
        return self.engine.scores(text)
