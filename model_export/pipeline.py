"""The steps from a checkpoint to a model package, in order."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from model_export import (
    accuracy,
    calibrate,
    checkpoint,
    emoji,
    export,
    golden,
    manifest,
    preconditions,
    profile,
    served,
    verify,
    weights,
)
from model_export.checkpoint import Checkpoint
from model_export.dataset import LabelledText, read_named
from model_export.labelled import Example
from model_export.licence import read_licence
from model_export.optimise import optimise
from model_export.package import CONFIG, MANIFEST, MODEL, PROFILE, TOKENIZER, publish, write_json
from model_export.pairs import Text, paired
from model_export.progress import Progress, note
from model_export.quantise import quantise
from model_export.reference import CheckpointScorer
from model_export.scores import PackageScorer
from model_export.source import Source
from model_export.text_table import Columns
from model_export.texts import verification_texts
from model_export.windows import Windows


@dataclass(frozen=True)
class Request:
    """What the user asked for. None stands for what the checkpoint itself says, or for no labelled texts."""

    output: Path
    tolerance: float
    name: str | None = None
    labels: list[str] | None = None
    licence: str | None = None
    data: Path | None = None
    columns: Columns | None = None
    """Those of `data`, where it is a table with names for labels; otherwise it was read into `examples`."""
    examples: Sequence[Example | LabelledText] | None = None
    emoji_names: bool = False
    unclear_below: float | None = None
    intended_use: str | None = None
    windows: Windows | None = None
    pairs: bool = False


def build(source: Source, request: Request, stage: Path) -> None:
    """Make the package in the folder `stage`, then move it to its place. Raises ExportError when it must not ship."""
    checkpoint.silence()
    loaded = checkpoint.load(source.folder, request.labels, name=source.id)
    if request.emoji_names:
        emoji.name_in(loaded.tokenizer.backend_tokenizer)
    if request.windows:
        request.windows.check(loaded.max_tokens)
    preconditions.check(loaded, source.id, pairs=request.pairs)
    if request.data and request.columns:
        columns = replace(request.columns, multi_label=loaded.activation == "sigmoid")
        request = replace(request, examples=read_named(request.data, columns, loaded.labels))
    elif request.data and request.examples:
        accuracy.check(request.examples, loaded, request.data)
    licence = request.licence or read_licence(source.folder)
    note(f"{source.id} is a {loaded.architecture} for {', '.join(loaded.labels)}; at most {loaded.max_tokens} tokens")
    name = request.name or request.output.resolve().name
    description = manifest.describe(name, source, licence, loaded, pairs=request.pairs)
    work, package = stage / "work", stage / "package"
    work.mkdir()
    package.mkdir()
    texts = profile.distinct([example.text for example in request.examples or ()])
    profiled = request.data is not None and len(texts) >= profile.MIN_TEXTS
    if not profiled:
        note(f"no profile for drift: it takes {profile.MIN_TEXTS} different texts, --data gives {len(texts)}")
    progress = Progress(6 + 2 * bool(texts) + profiled)
    calibration = _calibrate(loaded, request, progress) or _recorded(source)
    facts = _write_files(loaded, work, package, progress)
    scorer = PackageScorer(
        package,
        activation=loaded.activation,
        max_tokens=loaded.max_tokens,
        windows=request.windows,
        pairs=request.pairs,
    )
    results = _measure(loaded, scorer, request, progress)
    if request.data and profiled:
        with progress.step(f"profiling {len(texts)} texts"):
            write_json(package / PROFILE, profile.measure(scorer, texts, request.data))
    fields = description | manifest.inspect(package) | {"quantisation": facts, "calibration": calibration} | results
    fields |= {"unclear_below": request.unclear_below, "intended_use": request.intended_use}
    fields |= request.windows.fields() if request.windows else {}
    write_json(package / MANIFEST, fields)
    with progress.step("trying the package in the service"):
        served.check(package, source.id)
    with progress.step("writing the package"):
        publish(package, request.output)


def _calibrate(loaded: Checkpoint, request: Request, progress: Progress) -> dict[str, object] | None:
    """Divide the logits of `loaded` by a temperature fitted on the labelled texts, and say by which."""
    if not request.data or not request.examples:
        return None
    with progress.step(f"fitting a temperature on {len(request.examples)} texts"):
        calibration = calibrate.calibrate(loaded, request.examples, request.data, request.windows)
    if calibration is None:
        note(f"scores stay as the checkpoint gives them: a temperature takes {calibrate.MIN_TEXTS} labelled texts")
        return None
    return asdict(calibration)


def _recorded(source: Source) -> dict[str, object] | None:
    """The temperature that the checkpoint's fine-tuning folded into it."""
    calibration = calibrate.recorded(source.folder)
    return None if calibration is None else asdict(calibration)


def _write_files(loaded: Checkpoint, work: Path, package: Path, progress: Progress) -> dict[str, object]:
    """Write everything but the manifest into `package`, and return the facts of the quantisation."""
    export.write_config(loaded, package / CONFIG)
    export.write_tokenizer(loaded, package / TOKENIZER)
    with progress.step("exporting to ONNX"):
        raw = export.export_graph(loaded, work)
    optimised = work / "optimised.onnx"
    with progress.step("optimising the graph"):
        optimise(raw, optimised)
    with progress.step("quantising to int8"):
        facts = quantise(optimised, package / MODEL)
        if weights.has_roles(loaded.model.config):
            epsilon = loaded.model.distilbert.embeddings.LayerNorm.eps
            weights.store(package / MODEL, weights.by_role(loaded.model), loaded.model.config, epsilon)
    return facts


def _measure(loaded: Checkpoint, scorer: PackageScorer, request: Request, progress: Progress) -> dict[str, object]:
    """The gates, and what they measured, as the manifest's fields."""
    reference = CheckpointScorer(loaded, request.windows, pairs=request.pairs)
    texts: Sequence[Text] = paired(verification_texts()) if request.pairs else verification_texts()
    with progress.step(f"verifying {len(texts)} texts against PyTorch"):
        verification = verify.verify(reference, scorer, texts, tolerance=request.tolerance)
    measured = None
    if request.data and request.examples:
        with progress.step(f"measuring accuracy on {len(request.examples)} texts"):
            measured = accuracy.measure(reference, scorer, request.examples, request.data, loaded.activation)
    return manifest.results(verification, measured, golden.choose(scorer, texts, loaded.labels))
