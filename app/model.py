"""The neural network: a model package loaded into ONNX Runtime. Knows neither HTTP nor asyncio."""

import json
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from app.package import Package
from app.tokenization import Encoder, IntArray, pad

FloatArray = npt.NDArray[np.float32]

GOLDEN_TOLERANCE = 0.02
"""Largest score difference to the manifest. Integer arithmetic is exact, but float kernels differ between CPUs and can
tip an activation over a rounding edge; a CPU on which u8s8 products saturate differs by far more."""
WARMUP_TOKENS = (8, 32, 128)
LONG_TOKENS = 256
"""A longer text's memory is given back after it: attention takes heads x tokens x tokens x 4 bytes, and two texts
of 512 tokens at once would leave 36 MB behind. To claim it anew costs such a text a tenth more time."""


class Prediction(NamedTuple):
    """What the model makes of one text."""

    fragment: bytes
    """JSON list of every label with its score, highest first: ready to be joined into a response."""
    label: int
    """Index of the label with the highest score."""
    score: float
    """That score."""


class Answer(NamedTuple):
    """What a client is told about one text, and what the metrics are told."""

    prediction: Prediction
    tokens: int
    unknown_tokens: int
    truncated: bool


class GoldenMismatch(Exception):
    """The model does not score here as it did at export; names the text, both scores and the difference."""


class Classifier:
    """Token ids -> labelled scores. One session, whose `run` may be called from several threads at once."""

    def __init__(self, package: Package) -> None:
        ort.disable_telemetry_events()  # a service does not report its use to third parties
        options = ort.SessionOptions()
        # Parallelism comes from texts, not from within one: N threads that each run their own text beat one run on N
        # threads, and leave no pool behind that spins (docs/quantisation.md has the figures).
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # Lengths vary: a memory pattern for each length would grow without end (onnxruntime#11627).
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Fatal errors only: whatever fails raises as well, and ours is a log of JSON lines.
        options.log_severity_level = 4
        self._giving_back = ort.RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session = ort.InferenceSession(package.model_path, options, providers=["CPUExecutionProvider"])
        self._takes_token_types = any(i.name == "token_type_ids" for i in self._session.get_inputs())
        self._softmax = package.manifest.activation == "softmax"
        self._labels = package.manifest.labels
        self._prefixes = [f'{{"label":{json.dumps(label)},"score":' for label in self._labels]
        self.package = package
        self.encoder = Encoder(package.tokenizer_path, package.manifest.max_tokens)

    def logits(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        """Score one padded batch.

        Both inputs are int64 of shape (batch, tokens), tokens <= max_tokens; the result is float32 (batch, labels), not
        yet normalised. Blocks for the whole run, without holding the GIL.
        """
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._takes_token_types:
            feed["token_type_ids"] = np.zeros_like(input_ids)
        how = self._giving_back if input_ids.shape[1] > LONG_TOKENS else None
        logits: FloatArray = self._session.run(["logits"], feed, how)[0]
        return logits

    def scores(self, rows: list[list[int]]) -> npt.NDArray[np.float64]:
        """Token ids of some texts -> float64 (texts, labels) between 0 and 1."""
        logits = self.logits(*pad(rows)).astype(np.float64)
        if not self._softmax:
            return 1.0 / (1.0 + np.exp(-logits))
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        normalised: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return normalised

    def predict(self, rows: list[list[int]]) -> list[Prediction]:
        """Token ids of some texts -> what the model makes of each."""
        return [self._prediction(scores) for scores in self.scores(rows).tolist()]

    def _prediction(self, scores: list[float]) -> Prediction:
        """[0.01, 0.99] -> b'[{"label":"POSITIVE","score":0.99},{"label":"NEGATIVE","score":0.01}]', 1, 0.99."""
        ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
        parts = [f"{self._prefixes[index]}{round(scores[index], 7)}}}" for index in ranked]
        return Prediction(f"[{','.join(parts)}]".encode(), ranked[0], scores[ranked[0]])

    def check_golden(self) -> float:
        """Score the manifest's golden texts, alone and as one batch; return the largest difference.

        Raises GoldenMismatch when one differs by more than `GOLDEN_TOLERANCE`: wrong scores must not be served.
        """
        golden = self.package.manifest.golden
        rows = [self.encoder.encode(item.text).ids for item in golden]
        expected = np.array([[item.scores[label] for label in self._labels] for item in golden])
        worst = 0.0
        for found in (np.concatenate([self.scores([row]) for row in rows]), self.scores(rows)):
            differences = np.abs(found - expected)
            text, label = np.unravel_index(int(np.nanargmax(differences)), differences.shape)
            worst = max(worst, float(differences[text, label]))
            if not worst <= GOLDEN_TOLERANCE or np.isnan(differences).any():
                raise GoldenMismatch(
                    f"golden text {text} scores {found[text, label]:.4f} for {self._labels[label]}, at export "
                    f"{expected[text, label]:.4f}: this CPU computes the model differently"
                )
        return worst

    def warm_up(self) -> None:
        """Run typical lengths once, so that the first request does not pay for first-time allocations."""
        for tokens in WARMUP_TOKENS:
            self.scores([[0] * min(tokens, self.encoder.max_tokens)])
