"""A model package: the folder that `python -m model_export` writes, and what its manifest says.

The two sides share files, not code: this reads only what the service needs, and checks that the files are those that
were verified at export.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from app.errors import PackageError
from app.model.files import PROFILE, FileFacts, check_file, check_files, digest, read_json
from app.model.tokenizer import Pair, Truncation

WEIGHTS = "weights.safetensors"
"""Where the graph's large constants lie in packages that the native engine computes; model.onnx refers to it."""
TEXT_FEATURES = frozenset({"label", "score", "tokens", "unknown_tokens"})
"""What is watched of texts."""


def text_or_pair(value: Any, text: ValidatorFunctionWrapHandler) -> str:
    """A text, or the pair that a list of two texts is."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value):  # noqa: PLR2004
        return Pair.of(value)
    return str(text(value))


class Golden(BaseModel):
    """A text, or a pair, and its scores by label as they were at export, on the machine of the export."""

    text: Annotated[str, WrapValidator(text_or_pair)]
    scores: dict[str, float]


class Source(BaseModel):
    """Where the checkpoint came from."""

    model_config = ConfigDict(extra="allow")

    id: str
    revision: str | None = None


class Windows(NamedTuple):
    """What is read of a text: so many windows at most, each with the last `overlap` tokens of the one before."""

    tokens: int
    """Of one window, special tokens included."""
    overlap: int
    most: int


class Manifest(BaseModel):
    """`manifest.json`; facts that the service only passes on stay untyped."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal[1]
    task: Literal["text-classification"] = "text-classification"
    name: str
    source: Source
    activation: Literal["softmax", "sigmoid"]
    labels: list[str] = Field(min_length=2)
    """Label of each logit column."""
    max_tokens: int = Field(ge=3)
    window_tokens: int | None = Field(default=None, ge=16)
    """A text of more tokens is scored in windows of so many, special tokens included; None: it is cut at max_tokens."""
    window_overlap: int = Field(default=0, ge=0)
    """Tokens that a window has in common with the one before."""
    max_windows: int = Field(default=8, ge=1, le=64)
    """A text is cut behind so many windows, which bounds what it costs."""
    pairs: bool = False
    """Whether the network reads pairs of texts, and nothing else."""
    inputs: list[str]
    files: dict[str, FileFacts]
    golden: list[Golden] = Field(min_length=1)
    quantisation: dict[str, Any] = {}
    accuracy: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    unclear_below: float | None = Field(default=None, gt=0, lt=1)
    """A text whose highest score is lower has no clear label."""
    intended_use: str | None = None
    licence: str | None = None

    @property
    def windows(self) -> Windows:
        """How a text is read; by a package without windows in one of `max_tokens`."""
        if self.window_tokens is None:
            return Windows(self.max_tokens, 0, 1)
        return Windows(self.window_tokens, self.window_overlap, self.max_windows)

    @property
    def requests(self) -> str:
        """What requests are made of: models that differ in it can't take each other's place in one process."""
        return "pairs of texts" if self.pairs else "texts"

    @property
    def truncations(self) -> tuple[Truncation, ...]:
        """What callers may choose for texts that are too long; the first is the default."""
        if self.pairs:
            return "end", "error"
        return ("end", "start", "error") if self.window_tokens is None else ("window", "end", "start", "error")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pairs and self.window_tokens is not None:
            raise ValueError("pairs of texts are not read in windows: window_tokens should not be there")
        if any(isinstance(golden.text, Pair) != self.pairs for golden in self.golden):
            raise ValueError(
                f"golden texts should {'all' if self.pairs else 'not'} be pairs, since pairs is {self.pairs}"
            )
        if self.window_tokens is not None and self.window_tokens > self.max_tokens:
            raise ValueError(f"window_tokens {self.window_tokens} exceeds max_tokens {self.max_tokens}")
        if self.window_overlap > (self.window_tokens or 0) // 2:
            raise ValueError(f"window_overlap {self.window_overlap} exceeds half of window_tokens {self.window_tokens}")
        return self


class Histogram(BaseModel):
    """How often a feature fell into each bin: bin i counts the values v with edges[i - 1] < v <= edges[i]."""

    edges: list[FiniteFloat]
    counts: list[NonNegativeInt]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges should rise")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges make {len(self.edges) + 1} bins, got {len(self.counts)} counts")
        return self


class Profile(BaseModel):
    """`profile.json`: the texts or rows that the model is made for, as histograms; what traffic is compared with."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal[1]
    data: str
    """Name of the file that held the texts."""
    texts: int = Field(ge=1, validation_alias=AliasChoices("texts", "rows"))
    features: dict[str, Histogram] = Field(min_length=1)
    """An absent feature is not watched: byte-level tokenizers know every token."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, histogram in self.features.items():
            if sum(histogram.counts) != self.texts:
                raise ValueError(f"{name} counts {sum(histogram.counts)} texts, the profile {self.texts}")
        return self


class Package:
    """A checked package folder. `digest` names what scores depend on, but for the engine's rounding.

    `weights_path` is None for a package without weights by role, which only ONNX Runtime computes; `profile` is None
    for one whose traffic can't be watched for drift.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_json(Manifest, folder / "manifest.json", f"no model package at {folder}")
        files, windows = self.manifest.files, self.manifest.windows
        self.model_path, self.tokenizer_path = folder / "model.onnx", folder / "tokenizer.json"
        self.weights_path = folder / WEIGHTS if WEIGHTS in files else None
        optional = (WEIGHTS,) if self.weights_path else ()
        check_files(folder, files, ("model.onnx", "tokenizer.json", *optional))
        # Of all that the manifest says itself, windows and pairs alone change scores.
        said = "windows:{}:{}:{}\n".format(*windows) if self.manifest.window_tokens is not None else ""
        self.digest = digest(files, said + "pairs\n" * self.manifest.pairs)
        self.profile = read_profile(folder, files, TEXT_FEATURES, self.manifest.labels)


def read_profile(
    folder: Path, files: Mapping[str, FileFacts], features: Collection[str], labels: Sequence[str]
) -> Profile | None:
    """The package's profile, if it has one. Raises PackageError for one of other features or labels than these."""
    if PROFILE not in files:
        return None
    path = folder / PROFILE
    check_file(path, files[PROFILE])
    profile = read_json(Profile, path, f"no profile at {path}")
    if unknown := profile.features.keys() - features:
        raise PackageError(f"{path} is not a profile of this model, which has no features.{min(unknown)[:64]}")
    label = profile.features.get("label")
    if label is not None and "label" in features and len(label.counts) != len(labels):
        raise PackageError(f"{path} counts {len(label.counts)} labels, the model has {len(labels)}")
    return profile
