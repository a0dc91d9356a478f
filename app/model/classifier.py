"""A model package and what computes it: token ids -> labels and scores. Knows neither HTTP nor asyncio."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from app.errors import PackageError, one_line
from app.model.native.transformer import Transformer
from app.model.native.weights import Unsupported
from app.model.package import Package
from app.model.tokenizer import Encoder, Pair, Tokens, Truncation
from app.settings import EngineChoice

GOLDEN_TOLERANCE = 0.02
"""Largest score difference to the manifest. Integer arithmetic is exact, but float kernels differ between CPUs and can
tip an activation over a rounding edge; a CPU on which u8s8 products saturate differs by far more."""
WARMUP_WORDS = (8, 32, 128)
SCORE_DIGITS = 7
"""Digits behind the point that a float32 score has."""


FloatArray = npt.NDArray[np.float64]


class Prediction(NamedTuple):
    """What the model says of one text."""

    labels: tuple[int, ...]
    """Indices of all labels, the one with the highest score first."""
    scores: tuple[float, ...]
    """Their scores, in the same order."""
    logits: bytes
    """What the network said of them, in the same order, as packed float32."""


class GoldenMismatch(Exception):
    """The model does not score here as it did at export, or not at all; names the text and scores, or the reason."""


class ItemEncoder(Protocol):
    """Makes of one item what the model takes; its cost in the queue is that many tokens, at most `max_tokens`."""

    max_tokens: int

    def encode(self, item: Any, truncation: Truncation, /) -> Tokens:
        """In any thread."""


class Engine(Protocol):
    """Computes the network, in several threads at once if asked to."""

    name: str
    pads: bool
    """Whether a batch costs as much as if all its texts were as long as the longest."""

    def logits(self, rows: list[list[int]]) -> npt.NDArray[np.float32]:
        """Token ids of some texts -> float32 (texts, labels), not yet normalised."""
        ...


def open_engine(package: Package, choice: EngineChoice = "auto") -> tuple[Engine, str | None]:
    """The fastest engine that can compute this package here, or the one of that name.

    Also says why it is not the native one, if that was not asked for. Raises PackageError when `native` was asked for
    and can't compute it.
    """
    reason = None
    if choice != "onnxruntime":
        try:
            return Transformer.of(package), None
        except Unsupported as exc:
            reason = str(exc)
            if choice == "native":
                raise PackageError(f"VALENCE_ENGINE=native can't compute {package.folder}: {reason}") from exc
    from app.model.onnxruntime import Session  # noqa: PLC0415 - 20 MB and 60 ms that the native engine does without

    return Session(package), reason


class Classifier:
    """Token ids -> labels and scores, from several threads at once."""

    def __init__(self, package: Package, choice: EngineChoice = "auto") -> None:
        self.engine, self.engine_reason = open_engine(package, choice)
        self.native_differs: str | None = None
        """Why the native engine, which could compute this package, was given up (`checked_classifier`)."""
        self._softmax = package.manifest.activation == "softmax"
        self.package = package
        windows = package.manifest.windows
        self.window_tokens = windows.tokens
        self.encoder = Encoder(
            package.tokenizer_path, windows.tokens, overlap=windows.overlap, max_windows=windows.most
        )

    def scores(self, rows: list[list[int]]) -> FloatArray:
        """Token ids of some texts -> float64 (texts, labels) between 0 and 1."""
        return self._computed(rows)[0]

    def _computed(self, rows: list[list[int]]) -> tuple[FloatArray, npt.NDArray[np.float32]]:
        """Token ids of some texts -> scores and logits, both (texts, labels)."""
        if max(map(len, rows)) <= self.window_tokens:
            logits = self.engine.logits(rows)
        else:
            logits = np.array([self._mean_logits(row) for row in rows], np.float32)
        wide = logits.astype(np.float64)
        if not self._softmax:
            return 1.0 / (1.0 + np.exp(-wide)), logits
        exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True), logits

    def _mean_logits(self, row: list[int]) -> FloatArray:
        """Token ids of one text, window after window -> the mean of the windows' logits (labels,), by their tokens.

        One window a call: nothing is padded, a text takes no more memory than a window, and to compute them together
        would save 3 % of the time at most.
        """
        windows = [row[begin : begin + self.window_tokens] for begin in range(0, len(row), self.window_tokens)]
        logits = [self.engine.logits([window])[0] for window in windows]
        mean: FloatArray = np.average(logits, axis=0, weights=[len(window) for window in windows])
        return mean

    def predict(self, rows: list[list[int]]) -> list[Prediction]:
        """Token ids of some texts -> what the model says of each; scores are rounded to `SCORE_DIGITS`."""
        return ranked(*self._computed(rows))

    def check_golden(self) -> float:
        """Score the manifest's golden texts, alone and as one batch; return the largest difference.

        Raises GoldenMismatch when one differs by more than `GOLDEN_TOLERANCE`: wrong scores must not be served.
        """
        golden, labels = self.package.manifest.golden, self.package.manifest.labels
        try:
            rows = [self.encoder.encode(item.text).ids for item in golden]
            expected = np.array([[item.scores[label] for label in labels] for item in golden])
            alone = np.concatenate([self.scores([row]) for row in rows]).reshape(expected.shape)
            together = alone.copy()  # a text in windows runs alone, and so would all that stand beside it
            if short := [index for index, row in enumerate(rows) if len(row) <= self.window_tokens]:
                together[short] = self.scores([rows[index] for index in short])
        except Exception as exc:  # whatever a graph, a tokenizer and a manifest that do not fit each other come to
            raise GoldenMismatch(f"the golden texts can't be scored: {one_line(exc)}") from exc
        return golden_difference(
            expected, (alone, together), labels, tolerance=GOLDEN_TOLERANCE, item="text {} scores", digits=".4f"
        )

    def warm_up(self) -> None:
        """Run typical lengths once, so that the first request does not pay for first-time allocations."""
        for words in WARMUP_WORDS:
            text = "good " * words
            self.scores([self.encoder.encode(Pair(text, text) if self.package.manifest.pairs else text).ids])


def golden_difference(
    expected: FloatArray,
    found: Sequence[FloatArray],
    labels: Sequence[str],
    *,
    tolerance: float,
    scale: FloatArray | float = 1.0,
    item: str,
    digits: str,
) -> float:
    """The largest difference of golden answers from those at export, as a share of `scale`; all are (items, labels).

    Raises GoldenMismatch when it exceeds the tolerance, in the words of `item` and with so many `digits`.
    """
    worst = 0.0
    for answers in found:
        differences = np.nan_to_num(np.abs(answers - expected) / scale, nan=np.inf)
        place = np.unravel_index(int(differences.argmax()), differences.shape)
        worst = max(worst, float(differences[place]))
        if worst > tolerance:
            raise GoldenMismatch(
                f"golden {item.format(place[0])} {answers[place]:{digits}} for {labels[int(place[1])]}, at export "
                f"{expected[place]:{digits}}: this CPU computes the model differently"
            )
    return worst


def ranked(scores: FloatArray, logits: npt.NDArray[np.float32]) -> list[Prediction]:
    """Scores and logits, both (texts, labels) -> a prediction for each text, its scores rounded to `SCORE_DIGITS`."""
    order = np.argsort(-scores, axis=1, kind="stable")
    sorted_scores = np.take_along_axis(scores, order, axis=1).round(SCORE_DIGITS).tolist()
    sorted_logits = np.take_along_axis(logits, order, axis=1)
    return [
        Prediction(tuple(labels), tuple(row), values.tobytes())
        for labels, row, values in zip(order.tolist(), sorted_scores, sorted_logits, strict=True)
    ]


def checked_classifier(package: Package, choice: EngineChoice = "auto") -> tuple[Classifier, float]:
    """A classifier that scores the golden texts as at export, and by how much it differs at most.

    Of a free choice it is ONNX Runtime's if the native engine does not. Raises GoldenMismatch when there is none.
    """
    classifier = Classifier(package, choice)
    try:
        return classifier, classifier.check_golden()
    except Exception as exc:
        if choice != "auto" or classifier.engine.name == "onnxruntime":
            raise
        # Rounding goes another way now and then, and one golden text in hundreds moves too far by it.
        reason = str(exc)
    classifier, difference = checked_classifier(package, "onnxruntime")
    classifier.engine_reason = classifier.native_differs = reason
    return classifier, difference
