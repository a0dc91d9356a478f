"""The steps from labelled texts to a checkpoint with its record and report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_export.calibrate import MIN_TEXTS, TRAINING, Calibration, scale, targets_of
from model_export.checkpoint import Checkpoint, silence
from model_export.dataset import Dataset, LabelledText, load, load_treebank
from model_export.errors import ExportError
from model_export.finetune import report
from model_export.finetune.fit import Fit, chosen_of, logits, train
from model_export.finetune.measures import constant, figures, judged_by
from model_export.finetune.outcome import Outcome, by_label
from model_export.finetune.recipe import Recipe
from model_export.finetune.resume import Asked, State, keeper, stoppable
from model_export.finetune.start import Start, begin
from model_export.package import digest, publish, staging
from model_export.precision import has_bfloat16
from model_export.progress import note
from model_export.scores import Activation, activate
from model_export.text_table import Columns
from model_export.tracking import flat
from model_export.versions import tool_versions

DEV_SHARE = 0.1
"""Of texts that come without a validation set."""
SAVED = "saved"
"""The stage of what was written: the better candidate, its temperature folded in."""


@dataclass(frozen=True)
class Request:
    """What the user asked for. Without `columns` the files are SST-2 as GLUE has it, without `model` it is MiniLM."""

    data: Path
    output: Path
    recipe: Recipe
    dev: Path | None = None
    columns: Columns | None = None
    model: str | None = None
    revision: str | None = None


def run(request: Request) -> None:
    """Read, train, measure, and write the checkpoint with training.json and the folder `report`.

    Raises ExportError for what can't be read or learned, and Interrupted when asked to stop.
    """
    if request.output.exists():  # said before minutes of work, not after
        raise ExportError(f"{request.output} exists; name a new folder")
    silence()
    data, recipe = read(request), request.recipe
    activation: Activation = "sigmoid" if data.multi_label else "softmax"
    with staging(request.output) as stage:
        start = begin(request.model, request.revision, data.labels, activation, recipe)
        sizes = {"training": len(data.training), "held out": len(data.held_out), "dev": len(data.dev)}
        note(f"{sizes['training']} texts to train on, {sizes['held out']} held out, {sizes['dev']} for validation")
        fit = Fit(start.checkpoint, data.training, recipe)
        record = given_by(request, start) | {"texts": sizes}
        state = State(request.output, {name: str(value) for name, value in flat(record)})
        with stoppable() as asked:  # which comes too late once it is trained: the rest takes seconds
            saved, checkpoint = trained(fit, data, state, asked)
            record |= {"labels": list(data.labels), "saved": saved}
            finish(stage / "checkpoint", fit, checkpoint, data, record)
            publish(stage / "checkpoint", request.output)
    state.remove()


def read(request: Request) -> Dataset:
    """The texts in the named columns, or those of SST-2. Raises ExportError for what is wrong with them."""
    recipe = request.recipe
    if request.columns:
        return load(request.data, request.dev, request.columns, DEV_SHARE, recipe.seed)
    if request.dev is None:
        raise ExportError("without --text-column, --dev is needed too")
    return load_treebank(request.data, request.dev, recipe.held_out_share, recipe.seed)


def given_by(request: Request, start: Start) -> dict[str, Any]:
    """All that decides what comes out: a run with anything else is another one, and does not go on from its state."""
    files = {"training": request.data, "dev": request.dev}
    return {
        "start": start.facts,
        "data": {use: {"file": path.name, "sha256": digest(path)} for use, path in files.items() if path},
        "columns": request.columns and asdict(request.columns),
        "recipe": asdict(request.recipe),
        "precision": "bfloat16" if has_bfloat16() else "float32",
        "tools": tool_versions(("torch", "transformers", "tokenizers")),
    }


def trained(fit: Fit, data: Dataset, state: State, asked: Asked) -> tuple[str, Checkpoint]:
    """Name and weights of the better candidate, from the beginning or from where an interrupted run stood."""
    checks: dict[str, Sequence[LabelledText]] = {"dev": data.dev}
    if data.held_out:
        checks["held out"] = data.held_out
    if state.restore(fit):
        note(f"going on after step {fit.step} of {fit.steps}, as {state.path} has it")
    candidates = train(fit, checks, keeper(state, fit, asked))
    try:
        name = chosen_of(fit, data.dev, candidates)
    except ExportError:
        state.remove()  # it would come to the same end again
        raise
    return name, candidates[name]


def finish(folder: Path, fit: Fit, checkpoint: Checkpoint, data: Dataset, record: dict[str, Any]) -> None:
    """Fold a temperature in, measure what is saved, and write it all into the new folder `folder`."""
    texts, activation = [one.text for one in data.dev], checkpoint.activation
    targets = targets_of(data.dev, len(data.labels))
    before = logits(checkpoint, data.dev, fit.recipe)
    calibration = None
    if len(texts) < MIN_TEXTS:
        note(f"scores are not calibrated: a temperature takes {MIN_TEXTS} texts for validation, there are {len(texts)}")
    else:
        calibration = calibrated(checkpoint, before, targets, record)
    after = logits(checkpoint, data.dev, fit.recipe)
    fit.figures[SAVED] = {"dev": figures(after, targets, activation)}
    measure = judged_by(activation, fit.recipe.class_weights)
    record |= {
        "measure": measure,
        "constant_answer": constant(measure, targets),
        "calibration": calibration and asdict(calibration),
        "measures": list(fit.figures[SAVED]["dev"]),
    }
    record |= by_measure(fit.figures)
    scores = activate(before, activation), activate(after, activation)
    outcome = Outcome(data.labels, activation, texts, targets, *scores, record)
    record["by_label"] = {row.label: row._asdict() for row in by_label(outcome)}
    checkpoint.model.save_pretrained(folder)
    checkpoint.tokenizer.save_pretrained(folder)
    (folder / TRAINING).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report.write(folder / "report", outcome)


def calibrated(checkpoint: Checkpoint, before: Any, targets: Any, record: dict[str, Any]) -> Calibration:
    """Fold the temperature in that the dev set asks for."""
    name = record["data"]["dev" if "dev" in record["data"] else "training"]["file"]
    found = scale(checkpoint, before, targets, name)
    note(
        f"temperature {found.temperature:g}: calibration error {found.error_before:.2f} % before, "
        f"{found.error_after:.2f} % after"
    )
    return found


def by_measure(stages: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Stage -> set -> measure -> value as measure -> stage -> set -> value."""
    turned: dict[str, dict[str, dict[str, float]]] = {}
    for stage, sets in stages.items():
        for name, values in sets.items():
            for measure, value in values.items():
                turned.setdefault(measure, {}).setdefault(stage, {})[name] = value
    return turned
