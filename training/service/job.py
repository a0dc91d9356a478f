"""One training, from a request in a file to its run in MLflow: `python -m training.service.job REQUEST.json`.

The service starts one such process for each training, and a Kubernetes Job is one. The last line of standard output is
the answer, `{"run_id": ..., "metrics": {...}}`; the last one of standard error says why there is none.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from model_export.errors import ExportError, one_line
from model_export.estimators import fit
from model_export.package import digest
from model_export.progress import note
from model_export.tabular.export import export
from model_export.tabular.table import Table
from model_export.tracking import VARIABLE, Record, Tracker, of_checkpoint, of_package
from training.service.schemas import Invalid, TabularTraining, TextTraining, Training, parse
from training.service.statuses import REFUSED, UNTRACKED


class NotTrained(Exception):
    """The process of a fine-tuning has ended with this status, and has said why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.service.job", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("request", type=Path, help="file with the JSON that POST /train takes")
    request: Path = parser.parse_args(arguments).request
    try:
        training = parse(request.read_bytes())
    except (OSError, Invalid) as exc:
        place = f"{'.'.join(map(str, exc.loc))}: " if isinstance(exc, Invalid) and exc.loc else ""
        note(f"error: {request}: {place}{exc}")
        return REFUSED
    return run(training, request)


def run(training: Training, request: Path) -> int:
    """Train and log; returns the exit status. MLflow is asked first: one that is down costs no training."""
    try:
        tracker = Tracker(os.environ.get(VARIABLE, ""))
    except ExportError as exc:
        note(f"error: {exc}")
        return UNTRACKED
    with TemporaryDirectory(prefix="valence-training-") as folder:
        try:
            record = trained(training, request, Path(folder))
        except ExportError as exc:
            note(f"error: {exc}")
            return REFUSED
        except NotTrained as exc:
            return exc.status
        try:
            run_id = tracker.log(record)
        except ExportError as exc:
            note(f"error: {one_line(exc)}")
            return UNTRACKED
    print(json.dumps({"run_id": run_id, "metrics": latest(record)}))  # noqa: T201 - the answer
    return 0


def trained(training: Training, request: Path, folder: Path) -> Record:
    """What MLflow is told of a training whose files are in `folder`. Raises ExportError, and NotTrained."""
    if isinstance(training, TextTraining):
        return of_texts(training, folder)
    return of_table(training, request, folder / training.algorithm)


def of_table(training: TabularTraining, request: Path, package: Path) -> Record:
    """Fit a table and write its model package; the record has the package and the metrics of the folds.

    Those are there by their plain names, too, `accuracy` and `f1`, beside what the manifest says. Raises ExportError.
    """
    table = Table(training.features(), training.targets(), request.name, digest(request))
    fitted = fit(
        table.features,
        table.target,
        algorithm=training.algorithm,
        hyperparameters=training.hyperparameters,
        task=training.task,
    )
    record = of_package(export(fitted, table, package))
    return replace(record, metrics=[*record.metrics, *((name, value, 0) for name, value in fitted.metrics.items())])


def of_texts(training: TextTraining, folder: Path) -> Record:
    """Fine-tune in a process of its own; the record has the whole checkpoint. Raises ExportError, and NotTrained."""
    rows, checkpoint = folder / "rows.jsonl", folder / "checkpoint"
    with rows.open("w", encoding="utf-8") as file:
        for text, label in zip(training.texts, training.labels, strict=True):
            file.write(json.dumps({"text": text, "label": str(label)}) + "\n")
    command = [sys.executable, "-m", "model_export.finetune", "--data", str(rows), "--output", str(checkpoint)]
    command += ["--text-column", "text", "--label-column", "label"]
    for name, value in training.hyperparameters.model_dump().items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    # It would tell MLflow of a run of its own, without the weights.
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)  # noqa: S603 - our own module
    if done.returncode < 0:
        raise ExportError(f"the fine-tuning was ended by {signal.Signals(-done.returncode).name}: too little memory?")
    if done.returncode:
        raise NotTrained(done.returncode)
    record = of_checkpoint(checkpoint)
    return replace(record, files=sorted({*record.files, *(path for path in checkpoint.iterdir() if path.is_file())}))


def latest(record: Record) -> dict[str, float]:
    """Each metric at its last step, which is what MLflow shows of a run."""
    return {name: value for name, value, _ in sorted(record.metrics, key=lambda metric: metric[2])}


def end_first() -> None:
    """Have the kernel end this process, and no other, when memory is short. Linux only; elsewhere nothing happens."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    end_first()
    sys.exit(main())
