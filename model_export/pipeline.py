"""The steps from a checkpoint to a model package, in order."""

from dataclasses import dataclass
from pathlib import Path

from model_export import accuracy, checkpoint, export, golden, manifest, profile, verify
from model_export.checkpoint import Checkpoint
from model_export.labelled import Example
from model_export.licence import read_licence
from model_export.optimise import optimise
from model_export.package import CONFIG, MANIFEST, MODEL, PROFILE, TOKENIZER, publish, write_json
from model_export.progress import Progress, note
from model_export.quantise import quantise
from model_export.reference import CheckpointScorer
from model_export.scores import PackageScorer
from model_export.source import Source
from model_export.texts import verification_texts


@dataclass(frozen=True)
class Request:
    """What the user asked for. None stands for what the checkpoint itself says, or for no labelled texts."""

    output: Path
    tolerance: float
    name: str | None = None
    labels: list[str] | None = None
    licence: str | None = None
    data: Path | None = None
    examples: list[Example] | None = None


def build(source: Source, request: Request, stage: Path) -> None:
    """Make the package in the folder `stage`, then move it to its place. Raises ExportError when it must not ship."""
    checkpoint.silence()
    loaded = checkpoint.load(source.folder, request.labels)
    licence = request.licence or read_licence(source.folder)
    if request.data and request.examples:
        accuracy.check(request.examples, loaded, request.data)
    note(f"{source.id} is a {loaded.architecture} for {', '.join(loaded.labels)}; at most {loaded.max_tokens} tokens")
    name = request.name or request.output.resolve().name
    description = manifest.describe(name, source, licence, loaded)
    work, package = stage / "work", stage / "package"
    work.mkdir()
    package.mkdir()
    texts = profile.distinct([example.text for example in request.examples or ()])
    profiled = request.data is not None and len(texts) >= profile.MIN_TEXTS
    if not profiled:
        note(f"no profile for drift: it takes {profile.MIN_TEXTS} different texts, --data gives {len(texts)}")
    progress = Progress(5 + bool(texts) + profiled)
    facts = _write_files(loaded, work, package, progress)
    scorer = PackageScorer(package, activation=loaded.activation, max_tokens=loaded.max_tokens)
    results = _measure(loaded, scorer, request, progress)
    if request.data and profiled:
        with progress.step(f"profiling {len(texts)} texts"):
            write_json(package / PROFILE, profile.measure(scorer, texts, request.data))
    with progress.step("writing the package"):
        fields = description | manifest.inspect(package) | {"quantisation": facts} | results
        write_json(package / MANIFEST, fields)
        publish(package, request.output)


def _write_files(loaded: Checkpoint, work: Path, package: Path, progress: Progress) -> dict[str, object]:
    """Write everything but the manifest into `package`, and return the facts of the quantisation."""
    export.write_config(loaded, package / CONFIG)
    export.write_tokenizer(loaded, package / TOKENIZER)
    with progress.step("exporting to ONNX"):
        raw = export.export_graph(loaded, work)
    optimised = work / "optimised.onnx"
    with progress.step("optimising the graph"):
        optimise(raw, optimised, num_heads=loaded.model.config.num_attention_heads)
    with progress.step("quantising to int8"):
        return quantise(optimised, package / MODEL)


def _measure(loaded: Checkpoint, scorer: PackageScorer, request: Request, progress: Progress) -> dict[str, object]:
    """The gates, and what they measured, as the manifest's fields."""
    reference = CheckpointScorer(loaded)
    texts = verification_texts()
    with progress.step(f"verifying {len(texts)} texts against PyTorch"):
        verification = verify.verify(reference, scorer, texts, tolerance=request.tolerance)
    measured = None
    if request.data and request.examples:
        with progress.step(f"measuring accuracy on {len(request.examples)} texts"):
            measured = accuracy.measure(reference, scorer, request.examples, request.data)
    return manifest.results(verification, measured, golden.choose(scorer, texts, loaded.labels))
