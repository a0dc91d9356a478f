"""The command as its users run it: right scores, no row lost, the same output after Ctrl-C, errors in one line."""

import csv
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.score.__main__ import main
from tests.conftest import ROOT, START_SECONDS, Service, until

WORDS = ["a", "the", "film", "plot", "story", "was", "is", "not", "good", "bad", "boring", "great", "awful", "funny"]


def random_texts(count: int, seed: int = 5) -> list[str]:
    """Different texts of 3 to 20 words, the same in every run."""
    rng = random.Random(seed)
    return [" ".join([*rng.choices(WORDS, k=rng.randrange(3, 20)), str(number)]) for number in range(count)]


def write_csv(path: Path, texts: list[str]) -> Path:
    """A file with an id beside each text."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "review"), *((f"{number:03d}", text) for number, text in enumerate(texts))])
    return path


def command(source: Path, output: Path) -> list[str]:
    """What scores the column `review`."""
    return [sys.executable, "-m", "app.score", str(source), "--text-column", "review", "--output", str(output)]


def test_scores_are_the_service_s_and_no_row_is_lost(
    tmp_path: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts with line breaks, cut ones, duplicates; empty ones get an empty score and are counted."""
    texts = ["I love you.", "", "I hate you.", "two\nlines, both good", " \u200b", "I love you.", "good " * 2_500]
    source, output = write_csv(tmp_path / "in.csv", texts), tmp_path / "out.parquet"
    assert main([str(source), "--text-column", "review", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "7 rows, 2 of them without a text, 1 cut at 1850 tokens; 4 texts scored by" in said
    rows = pq.read_table(output).to_pylist()
    assert [(row["id"], row["review"]) for row in rows] == [(f"{n:03d}", text) for n, text in enumerate(texts)]
    scored = [row for row in rows if row["predicted_label"] is not None]
    assert [row["id"] for row in scored] == ["000", "002", "003", "005", "006"]
    assert [row["text_truncated"] for row in rows] == [False, None, False, False, None, False, True]
    body = {"text": [row["review"] for row in scored]}
    answer = httpx.post(f"{service.url}/predict", json=body, timeout=30).json()
    for row, (top, *_) in zip(scored, answer["predictions"], strict=True):
        assert row["predicted_label"] == top["label"]
        assert row["predicted_score"] == pytest.approx(top["score"], abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.parquet"]


def test_a_stopped_run_goes_on_and_ends_with_the_same_output(tmp_path: Path) -> None:
    """To the last byte, with the engine that pads and although texts come again after the stop."""
    texts = random_texts(2_400)
    source = write_csv(tmp_path / "in.csv", texts + texts[::4])
    environment = os.environ | {"VALENCE_ENGINE": "onnxruntime", "VALENCE_CACHE_MAX_ENTRIES": "1200"}
    at_once, output = tmp_path / "at-once.jsonl", tmp_path / "out.jsonl"
    subprocess.run(command(source, at_once), cwd=ROOT, env=environment, check=True, timeout=START_SECONDS)
    journal = tmp_path / "out.jsonl.scores"
    run = subprocess.Popen(command(source, output), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    until(lambda: journal.exists() and journal.stat().st_size > 5_000, "some rows are scored")
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=START_SECONDS)
    assert run.returncode == 130, said
    assert "the same command goes on where this one was" in said
    assert not output.exists()
    with journal.open("ab") as file:
        file.write(b"half")  # of a record, as a process leaves it that is killed while it writes
    rest = subprocess.run(
        command(source, output), cwd=ROOT, env=environment, check=True, timeout=START_SECONDS, capture_output=True
    )
    assert output.read_bytes() == at_once.read_bytes()
    assert len(output.read_text().splitlines()) == 3_000
    assert b"; 3000 texts scored" not in rest.stdout
    assert not journal.exists()


def test_a_journal_of_another_input_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its scores would be those of other texts."""
    source = write_csv(tmp_path / "in.csv", ["I love you."])
    journal = tmp_path / "in.scored.csv.scores"
    journal.write_text('{"input": []}\n')
    assert main([str(source), "--text-column", "review"]) == 1
    assert capsys.readouterr().err == (
        f"error: {journal} is of another input, column or model: remove it to start over\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv"], "none.csv: No such file or directory"),
        (["in.csv"], "has no column 'text' (--text-column); it has id, review"),
        (["in.csv", "--text-column", "review", "--output", "in.csv"], "in.csv exists already"),
        (["in.csv", "--text-column", "review", "--output", "out.xls"], "out.xls: the name should end in .csv"),
        (["in.csv", "--text-column", "review", "--output", "no/out.csv"], "no/out.csv.scores: No such file"),
        (["numbers.parquet", "--text-column", "n"], "the column 'n' holds int64, not texts"),
        (["numbers.parquet", "--output", "out.csv"], "out.csv: "),
        (["scored.csv"], "has a column 'predicted_label' already"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """And leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    write_csv(Path("in.csv"), ["I love you."])
    pq.write_table(pa.table({"text": ["good"], "n": [1], "tags": [["a"]]}), "numbers.parquet")
    Path("scored.csv").write_text("text,predicted_label\na,b\n")
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "numbers.parquet", "scored.csv"]


def test_a_model_of_a_table_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the input is looked at, whose columns would be those of the table."""
    monkeypatch.setenv("VALENCE_MODEL_DIR", str(ROOT / "models" / "wine-quality"))
    assert main(["none.csv"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "wine-quality takes rows of a table (VALENCE_MODEL_DIR)" in line
