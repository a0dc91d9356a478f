"""MLServer with ONNX Runtime, as a custom runtime with MLServer's own adaptive batching."""

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.rivals.engine import Engine, model_folder


class Classify(MLModel):
    """One input "text" -> the scores of each text, as JSON strings."""

    async def load(self) -> bool:
        """In each of MLServer's workers."""
        self.engine = Engine(model_folder(), threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score a batch, as MLServer's adaptive batching has put it together."""
        scores = self.engine.scores(StringCodec.decode_input(payload.inputs[0]))
        output = StringCodec.encode_output("scores", [str(one) for one in scores])
        return InferenceResponse(model_name=self.name, outputs=[output])
