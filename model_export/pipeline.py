"""The steps from a checkpoint to a model package, in order."""

from dataclasses import dataclass
from pathlib import Path

from model_export import accuracy, checkpoint, export, golden, manifest, verify
from model_export.checkpoint import Checkpoint
from model_export.labelled import Example
from model_export.licence import read_licence
from model_export.optimise import optimise
from model_export.package import CONFIG, MODEL, TOKENIZER, publish
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
    progress = Progress(6 if request.examples else 5)
    facts = _write_files(loaded, work, package, progress)
    results = _measure(loaded, package, request, progress)
    with progress.step("writing the package"):
        manifest.write(package, description | manifest.inspect(package) | {"quantisation": facts} | results)
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


def _measure(loaded: Checkpoint, package: Path, request: Request, progress: Progress) -> dict[str, object]:
    """The gates, and what they measured, as the manifest's fields."""
    reference = CheckpointScorer(loaded)
    scorer = PackageScorer(package, activation=loaded.activation, max_tokens=loaded.max_tokens)
    texts = verification_texts()
    with progress.step(f"verifying {len(texts)} texts against PyTorch"):
        verification = verify.verify(reference, scorer, texts, tolerance=request.tolerance)
    measured = None
    if request.data and request.examples:
        with progress.step(f"measuring accuracy on {len(request.examples)} texts"):
            measured = accuracy.measure(reference, scorer, request.examples, request.data)
    return manifest.results(verification, measured, golden.choose(scorer, texts, loaded.labels))
