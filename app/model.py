"""The neural network: a model package and what computes it. Knows neither HTTP nor asyncio."""

import json
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from app.errors import PackageError
from app.native.transformer import Transformer
from app.native.weights import Unsupported
from app.package import Package
from app.settings import EngineChoice
from app.tokenization import Encoder

GOLDEN_TOLERANCE = 0.02
"""Largest score difference to the manifest. Integer arithmetic is exact, but float kernels differ between CPUs and can
tip an activation over a rounding edge; a CPU on which u8s8 products saturate differs by far more."""
WARMUP_TOKENS = (8, 32, 128)


class Prediction(NamedTuple):
    """What the model makes of one text."""

    fragment: bytes
    """JSON list of every label with its score, highest first: ready to be joined into a response."""
    label: int
    """Index of the label with the highest score."""
    score: float
    """That score."""


class Answer(NamedTuple):
    """What a client is told about one text, and what the metrics are told: a Prediction's fields, and these."""

    fragment: bytes
    label: int
    score: float
    tokens: int
    unknown_tokens: int
    truncated: bool


class GoldenMismatch(Exception):
    """The model does not score here as it did at export; names the text, both scores and the difference."""


class Engine(Protocol):
    """Computes the network, in several threads at once if asked to."""

    name: str
    pads: bool
    """Whether a batch costs as much as if all its texts were as long as the longest."""

    def logits(self, rows: list[list[int]]) -> npt.NDArray[np.float32]:
        """Token ids of some texts -> float32 (texts, labels), not yet normalised."""
        ...


class Opened(NamedTuple):
    """What computes a package here."""

    engine: Engine
    reason: str | None
    """Why it is not the native one, if that was not asked for."""


def open_engine(package: Package, choice: EngineChoice = "auto") -> Opened:
    """The fastest engine that can compute this package here, or the one of that name.

    Raises PackageError when that is `native` and it can't.
    """
    reason = None
    if choice != "onnxruntime":
        try:
            return Opened(Transformer.of(package), None)
        except Unsupported as exc:
            reason = str(exc)
            if choice == "native":
                raise PackageError(f"VALENCE_ENGINE=native can't compute {package.folder}: {reason}") from exc
    from app.session import Session  # noqa: PLC0415 - 20 MB and 60 ms that the native engine does without

    return Opened(Session(package), reason)


class Classifier:
    """Token ids -> labelled scores, from several threads at once."""

    def __init__(self, package: Package, choice: EngineChoice = "auto") -> None:
        self.engine, self.engine_reason = open_engine(package, choice)
        self._softmax = package.manifest.activation == "softmax"
        self._labels = package.manifest.labels
        self._prefixes = [f'{{"label":{json.dumps(label)},"score":' for label in self._labels]
        self.package = package
        self.encoder = Encoder(package.tokenizer_path, package.manifest.max_tokens)

    def scores(self, rows: list[list[int]]) -> npt.NDArray[np.float64]:
        """Token ids of some texts -> float64 (texts, labels) between 0 and 1."""
        logits = self.engine.logits(rows).astype(np.float64)
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
            differences = np.nan_to_num(np.abs(found - expected), nan=np.inf)
            text, label = np.unravel_index(int(differences.argmax()), differences.shape)
            worst = max(worst, float(differences[text, label]))
            if worst > GOLDEN_TOLERANCE:
                raise GoldenMismatch(
                    f"golden text {text} scores {found[text, label]:.4f} for {self._labels[label]}, at export "
                    f"{expected[text, label]:.4f}: this CPU computes the model differently"
                )
        return worst

    def warm_up(self) -> None:
        """Run typical lengths once, so that the first request does not pay for first-time allocations."""
        for tokens in WARMUP_TOKENS:
            self.scores([[0] * min(tokens, self.encoder.max_tokens)])
