"""The command: what it writes, that it goes on after Ctrl-C, and that what is wrong gets one line."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import httpx
import numpy as np
import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
pytest.importorskip("matplotlib", reason="the export group is not installed: make test-export")
from transformers import AutoModelForSequenceClassification

from model_export.__main__ import main as export
from model_export.checkpoint import load
from model_export.finetune.__main__ import main
from model_export.finetune.recipe import Recipe
from model_export.labelled import read_labelled
from model_export.package import digest
from model_export.reference import CheckpointScorer
from model_export.text_table import Columns, read_rows
from tests.conftest import ROOT, StartService
from tests.model_export.finetune.tables import mixed_moods, moods, options


def percent_right(checkpoint: Path, texts: list[str], labels: list[str]) -> float:
    """By the checkpoint as the export loads it."""
    loaded = load(checkpoint)
    given = CheckpointScorer(loaded).scores(texts).argmax(axis=1)
    return 100.0 * float(np.mean([loaded.labels[one] == label for one, label in zip(given, labels, strict=True)]))


def write_treebank(path: Path, rows: int, seed: int) -> Path:
    """Labelled texts that a few steps tell apart, and whose sentences share no phrases."""
    words = ("awful dull rude", "great lovely kind")
    lines = (f"{n % 2}\t{words[n % 2]} text number{n}x{seed} of{n} many{n}\n" for n in range(rows))
    path.write_text("label\tsentence\n" + "".join(lines))
    return path


def test_bundled_start_learns_the_treebank(tmp_path: Path) -> None:
    """A run too short for a snapshot saves the last epoch, calibrated and measured, with the figures beside it."""
    data, dev = write_treebank(tmp_path / "data.tsv", 512, 0), write_treebank(tmp_path / "dev.tsv", 200, 1)
    output = tmp_path / "checkpoint"
    assert main(["--data", str(data), "--dev", str(dev), "--output", str(output), "--epochs", "1"]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(output)
    assert model.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    record = json.loads((output / "training.json").read_text())
    assert (record["recipe"]["epochs"], record["saved"], record["measure"]) == (1, "epoch 1", "accuracy")
    assert set(record["accuracy"]) == {"epoch 1", "saved"}
    assert set(record["accuracy"]["epoch 1"]) == {"dev", "held out"}
    assert record["texts"]["training"] + record["texts"]["held out"] <= 512
    assert record["calibration"]["rows"] == 200
    examples = read_labelled(dev)
    names = [("NEGATIVE", "POSITIVE")[example.label] for example in examples]
    assert percent_right(output, [example.text for example in examples], names) == record["accuracy"]["saved"]["dev"]


def test_table_without_a_dev_set(tmp_path: Path, checkpoint: Path) -> None:
    """The checkpoint has the labels of the file, both splits come from it, and the record tells which file it was."""
    data, output = moods(tmp_path / "data.csv", 300), tmp_path / "checkpoint"
    assert main(options(data, checkpoint, output, "--epochs", "8", "--class-weights", "balanced")) == 0
    assert load(output).labels == ("calm", "glad", "sad")
    record = json.loads((output / "training.json").read_text())
    assert record["texts"] == {"training": 270, "held out": 0, "dev": 30}
    assert record["data"] == {"training": {"file": "data.csv", "sha256": digest(data)}}
    assert (record["measure"], record["calibration"]) == ("balanced accuracy", None)
    assert record["constant_answer"] == pytest.approx(100 / 3)
    figures = {path.name for path in (output / "report").iterdir()}
    assert figures == {"report.html", *(f"{name}.png" for name in ("confusion", "labels", "calibration", "epochs"))}
    assert [path.name for path in tmp_path.iterdir() if "resume" in path.name] == []


def test_several_labels_a_text_are_learned_exported_and_served(
    tmp_path: Path, checkpoint: Path, start_service: StartService
) -> None:
    """Each label has a score of its own; the package has the temperature that fine-tuning folded in."""
    data, dev = mixed_moods(tmp_path / "data.csv", 480), mixed_moods(tmp_path / "dev.csv", 200, seed=1)
    tuned, package = tmp_path / "tuned", tmp_path / "package"
    more = ["--dev", str(dev), "--multi-label", "--epochs", "16"]
    assert main(options(data, checkpoint, tuned, *more)) == 0
    record = json.loads((tuned / "training.json").read_text())
    assert record["measure"] == "micro F1"
    assert record["micro F1"]["saved"]["dev"] > record["constant_answer"] + 20
    assert export(["--model", str(tuned), "--output", str(package)]) == 0
    manifest = json.loads((package / "manifest.json").read_text())
    assert (manifest["activation"], manifest["calibration"]) == ("sigmoid", record["calibration"])
    service = start_service(VALENCE_MODEL_DIR=str(package)).wait_ready()
    rows = read_rows(dev, Columns("review", "mood", multi_label=True))[:8]
    answer = httpx.post(f"{service.url}/predict", json={"text": [row.text for row in rows]}).json()["predictions"]
    given = [{item["label"] for item in items if item["score"] > 0.5} for items in answer]
    assert sum(names == set(row.names) for names, row in zip(given, rows, strict=True)) >= 6
    assert {len(items) for items in answer} == {3}


def test_ctrl_c_saves_and_the_same_command_goes_on(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On a terminal there is a bar with loss and time left; the result is to the bit that of a run without a break."""
    data, broken, whole = moods(tmp_path / "data.csv", 300), tmp_path / "broken", tmp_path / "whole"
    arguments = options(data, checkpoint, broken, "--epochs", "40")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # without a width the bar leaves the loss out
    command = [sys.executable, "-m", "model_export.finetune", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while b"loss=" not in said:
            said += os.read(ours, 1000)
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(ours, 1000):
                said += chunk
        except OSError:  # how a terminal's other end learns that the program has ended
            pass
        assert process.wait() == 130, said
    os.close(ours)
    assert b"step/s" in said or b"s/step" in said
    assert b"the same command goes on from there" in said
    assert (tmp_path / "broken.resume").exists()
    assert not broken.exists()
    assert main([*arguments, "--seed", "1"]) == 1
    assert "is of a run with another recipe.seed (0, now 1)" in capfd.readouterr().err
    assert main(arguments) == 0
    assert "going on after step" in capfd.readouterr().err
    assert main(options(data, checkpoint, whole, "--epochs", "40")) == 0
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (broken / "training.json").read_text() == (whole / "training.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "data.csv", "whole"]


def test_a_run_that_learns_nothing_writes_nothing(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text with either label ends in a reason, not in a checkpoint."""
    data, dev, output = moods(tmp_path / "data.csv", 60), tmp_path / "dev.csv", tmp_path / "checkpoint"
    dev.write_text("mood,review\nglad,the same text\nsad,the same text\n")
    assert main(options(data, checkpoint, output, "--dev", str(dev), "--epochs", "1")) == 1
    assert "error: nothing was learned: accuracy " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "dev.csv"]


def test_existing_output_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half an hour of work is not to be lost to a repeated command."""
    assert main(["--data", "x", "--dev", "x", "--output", str(tmp_path)]) == 1
    assert "exists; name a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--multi-label"], "--multi-label are for tables: name the text's column"),
        (["--revision", "main"], "--revision is of the hub id that --model names"),
        ([], "without --text-column, --dev is needed too"),
        (["--dev", "y"], "cannot read x: "),
    ],
)
def test_options_that_do_not_fit_get_one_line(
    tmp_path: Path, more: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names them."""
    assert main(["--data", "x", "--output", str(tmp_path / "y"), *more]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert reason in line


def test_default_recipe_is_the_shipped_one() -> None:
    """The numbers in the model card; a change of one needs a new model."""
    assert (Recipe.epochs, Recipe.batch_size, Recipe.learning_rate, Recipe.seed) == (3, 32, 5e-5, 0)


@pytest.mark.parametrize(
    ("option", "bounds"),
    [
        ("--epochs=0", "above 0 and at most 10000"),
        ("--batch-size=-1", "above 0 and at most 10000"),
        ("--learning-rate=nan", "above 0 and at most 10000"),
        ("--max-tokens=100000", "above 0 and at most 10000"),
        ("--seed=-1", "0 to 4294967295"),
    ],
)
def test_options_have_bounds(option: str, bounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, before anything is read."""
    with pytest.raises(SystemExit):
        main(["--data", "x", "--output", "y", option])
    assert f"should be {bounds}" in capsys.readouterr().err
