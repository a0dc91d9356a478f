"""python -m model_export, run as a user runs it."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from model_export.__main__ import main
from model_export.checkpoint import load
from model_export.reference import CheckpointScorer
from model_export.scores import THRESHOLD
from tests.model_export.command import error_line, run, start
from tests.model_export.hub import COMMIT, HUB_ID, Hub, closed_endpoint
from tests.model_export.tiny import TOLERANCE, write_checkpoint


def test_hub_model_becomes_a_package(hub: Hub, tmp_path: Path) -> None:
    """From the hub to the folder: the revision is resolved, printed and written, and every step is announced."""
    output = tmp_path / "package"
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    options = ["--labels", "bad, good", "--tolerance", str(TOLERANCE)]
    status, _, errors = run("--model", HUB_ID, *options, "--output", output, **environment)
    assert status == 0, errors
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["source"]["id"], manifest["source"]["revision"]) == (HUB_ID, COMMIT)
    assert (manifest["labels"], manifest["accuracy"]) == (["bad", "good"], None)
    first, _, without, *steps, last = errors.splitlines()
    assert first == f"fetching {HUB_ID} at revision {COMMIT}"
    assert without == "no profile for drift: it takes 500 different texts, --data gives 0"
    assert [line.split(" ")[0] for line in steps] == [f"[{step}/6]" for step in range(1, 7)]
    assert all(line.endswith(" s") for line in steps)
    assert last == f"wrote {output}"


@pytest.mark.parametrize("architecture", ["BertForSequenceClassification", "RobertaForSequenceClassification"])
def test_other_encoders_become_packages(tmp_path: Path, architecture: str) -> None:
    """Models with token types, and models that count positions from the pad token, pass the same gate."""
    folder = write_checkpoint(tmp_path / "model", architecture, num_labels=3)
    assert main(["--model", str(folder), "--tolerance", str(TOLERANCE), "--output", str(tmp_path / "package")]) == 0
    manifest = json.loads((tmp_path / "package" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["architecture"] == architecture
    assert manifest["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert ("token_type_ids" in manifest["inputs"]) == architecture.startswith("Bert")


@pytest.mark.parametrize(
    ("model", "revision", "reason"),
    [
        ("someone/unknown", "main", "neither a folder nor a model on"),
        (HUB_ID, "v9", "has no revision 'v9'"),
    ],
)
def test_unknown_model_or_revision_is_one_line(
    hub: Hub, tmp_path: Path, model: str, revision: str, reason: str
) -> None:
    """A mistyped name is not a traceback."""
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    arguments = ["--model", model, "--revision", revision, "--output", tmp_path / "package"]
    assert reason in error_line(*arguments, **environment)
    assert not (tmp_path / "package").exists()


def test_refused_hub_model_is_called_by_its_name(hub: Hub, tmp_path: Path) -> None:
    """Not by the commit, which is what the folder of a download is called."""
    hub.folder = write_checkpoint(tmp_path / "model")
    config = json.loads((hub.folder / "config.json").read_text()) | {"id2label": {"0": None, "1": "good"}}
    (hub.folder / "config.json").write_text(json.dumps(config))
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    status, _, errors = run("--model", HUB_ID, "--output", tmp_path / "package", **environment)
    assert status == 1
    assert errors.splitlines()[-1].startswith(
        f"error: {HUB_ID}: labels must be distinct and not empty, got ['', 'good']"
    )


def test_unexpected_fault_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    """A broken library, here torch, is named without its traceback; Python's developer mode shows that."""
    (tmp_path / "torch.py").write_text("raise ZeroDivisionError('broken\\nhere')")
    line = error_line("--model", checkpoint, "--output", tmp_path / "package", PYTHONPATH=str(tmp_path))
    assert line.startswith(f"{checkpoint} can't be exported: ZeroDivisionError: broken here (`python -X dev")
    _, _, errors = run("--model", checkpoint, "--output", tmp_path / "p", PYTHONPATH=str(tmp_path), PYTHONDEVMODE="1")
    assert "Traceback" in errors


def test_no_network_is_one_line(tmp_path: Path) -> None:
    """The default model, without a hub."""
    environment = {"HF_ENDPOINT": closed_endpoint(), "HF_HOME": str(tmp_path / "home")}
    assert f"from {environment['HF_ENDPOINT']}: " in error_line("--output", tmp_path / "package", **environment)


def test_unwritable_output_is_one_line(checkpoint: Path) -> None:
    """Found before the first step."""
    assert "cannot write to /proc" in error_line("--model", checkpoint, "--output", "/proc/package")


def test_foreign_output_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    """Somebody's folder stays as it is."""
    (tmp_path / "thesis.txt").touch()
    assert "not a model package" in error_line("--model", checkpoint, "--output", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("label\tsentence\n1\tgood\nx\tbad\n", "line 3: "),
        ("label\tsentence\n1 good\n", "line 2: "),
        ("good\t1\n", "line 1: "),
        ("label\tsentence\n", "no labelled text"),
    ],
)
def test_bad_data_is_one_line(checkpoint: Path, tmp_path: Path, content: str | None, reason: str) -> None:
    """A missing or malformed file is named, with the line."""
    data = tmp_path / "dev.tsv"
    if content is not None:
        data.write_text(content)
    line = error_line("--model", checkpoint, "--data", data, "--output", tmp_path / "package")
    assert "dev.tsv" in line
    assert reason in line


def test_data_may_be_a_table_with_names_for_labels(checkpoint: Path, tmp_path: Path) -> None:
    """The accuracy is that of the same texts with numbers for labels."""
    told = "review,mood\na good film,bad\na bad film,bad\n"
    numbers = "label\tsentence\n0\ta good film\n0\ta bad film\n"
    (tmp_path / "dev.csv").write_text(told)
    (tmp_path / "dev.tsv").write_text(numbers)
    columns = ["--text-column", "review", "--label-column", "mood"]
    measured = []
    for file, options in (("dev.csv", columns), ("dev.tsv", [])):
        output = tmp_path / f"package-{file}"
        data = ["--model", str(checkpoint), "--labels", "bad,good", "--data", str(tmp_path / file), *options]
        assert main([*data, "--tolerance", str(TOLERANCE), "--output", str(output)]) == 0
        measured.append(json.loads((output / "manifest.json").read_text(encoding="utf-8"))["accuracy"])
    assert measured[0]["rows"] == 2
    assert measured[0]["onnx"] == measured[1]["onnx"]


def test_data_may_have_several_labels_a_text(tmp_path: Path) -> None:
    """A checkpoint that gives several is measured, calibrated and profiled by a table with `;` between them.

    Each text is said to have the labels that the checkpoint does not give it, so that no rounding makes one right.
    """
    checkpoint = write_checkpoint(tmp_path / "model", num_labels=3, problem_type="multi_label_classification")
    texts = [f"film {number} is {number % 7} good" for number in range(500)]
    others = CheckpointScorer(load(checkpoint)).scores(texts) <= THRESHOLD
    labels = [";".join(np.array(["sad", "glad", "odd"])[row]) for row in others]
    rows = [f"{text},{names}\n" for text, names in zip(texts, labels, strict=True)]
    (tmp_path / "dev.csv").write_text("review,mood\n" + "".join(rows))
    told = ["--model", str(checkpoint), "--labels", "sad,glad,odd", "--data", str(tmp_path / "dev.csv")]
    told += ["--text-column", "review", "--label-column", "mood", "--tolerance", str(TOLERANCE)]
    assert main([*told, "--output", str(tmp_path / "package")]) == 0
    manifest = json.loads((tmp_path / "package" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["activation"] == "sigmoid"
    assert manifest["accuracy"]["rows"] == manifest["calibration"]["rows"] == 500
    assert manifest["accuracy"]["onnx"] == 0.0
    assert manifest["calibration"]["temperature"] > 1
    assert "profile.json" in manifest["files"]


def test_wrong_task_is_one_line(tmp_path: Path) -> None:
    """A language model has no labels, and transformers' advice about it is not shown."""
    folder = write_checkpoint(tmp_path / "lm", "DistilBertForMaskedLM")
    assert "is a DistilBertForMaskedLM" in error_line("--model", folder, "--output", tmp_path / "package")


def test_missing_head_is_one_line(tmp_path: Path) -> None:
    """Weights that would be made up are named, without transformers' warning beside it."""
    folder = write_checkpoint(tmp_path / "lm", "DistilBertForMaskedLM")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": None}
    (folder / "config.json").write_text(json.dumps(config))
    line = error_line("--model", folder, "--output", tmp_path / "package")
    assert "lacks 4 of the classifier's weights" in line


def test_slow_tokenizer_is_one_line(tmp_path: Path) -> None:
    """A tokenizer that exists only in Python can't be served."""
    folder = write_checkpoint(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    assert "no fast tokenizer" in error_line("--model", folder, "--output", tmp_path / "package")


def test_wrong_number_of_labels_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    """Names are counted before anything is exported."""
    line = error_line("--model", checkpoint, "--labels", "A,B,C", "--output", tmp_path / "package")
    assert line == "tiny-distilbert: --labels names 3 labels, the model has 2"


def test_failed_gate_keeps_the_older_package(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    """With a tolerance that no int8 model meets the older package stays, and nothing lies beside it."""
    output = Path(shutil.copytree(package, tmp_path / "package"))
    before = (output / "manifest.json").read_bytes()
    status, _, errors = run("--model", checkpoint, "--tolerance", "1e-9", "--output", output)
    assert status == 1
    assert errors.splitlines()[-1].startswith("error: tiny-distilbert: scores differ from PyTorch's by up to ")
    assert "Traceback" not in errors
    assert (output / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_interrupt_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    """Ctrl-C during a step ends with one line, the status that shells expect, and an empty folder."""
    with start("--model", checkpoint, "--output", tmp_path / "package") as process:
        assert process.stderr is not None
        seen = ""
        while "[1/6]" not in seen:
            character = process.stderr.read(1)
            assert character, seen
            seen += character
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert rest.splitlines()[-1] == "error: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_exit_with_two() -> None:
    """Argparse's own errors keep their usual status."""
    status, _, _ = run("--model", "x")
    assert status == 2
