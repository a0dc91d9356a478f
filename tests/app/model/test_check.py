"""python -m app.model.check: the bundled package passes, and what can't be served is refused in one line."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, normalizers, processors

from app.model.check import Unservable, check, main
from app.model.classifier import Classifier
from app.model.package import Package
from app.settings import BUNDLED_MODEL
from tests.conftest import ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The bundled package, which a test may doctor."""
    return Path(shutil.copytree(BUNDLED_MODEL, tmp_path / "package"))


def change_manifest(folder: Path, **fields: Any) -> None:
    """Overwrite fields, and let the digests be those of the files."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) | fields
    for name, facts in manifest["files"].items():
        facts["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest), encoding="utf-8")


def change_tokenizer(folder: Path, post_processor: Any) -> None:
    """Let special tokens be added in another way, and no emoji be named."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.post_processor = post_processor
    tokenizer.save(str(path))
    change_manifest(folder)


def golden(folder: Path, text: str) -> dict[str, Any]:
    """A golden text as the package scores it here."""
    classifier = Classifier(Package(folder), "onnxruntime")
    (scores,) = classifier.scores([classifier.encoder.encode(text).ids]).tolist()
    return {"text": text, "scores": dict(zip(classifier.package.manifest.labels, scores, strict=True))}


def test_bundled_package_passes() -> None:
    """As a command, in a process of its own; ONNX Runtime computes it everywhere."""
    process = subprocess.run(
        [sys.executable, "-m", "app.model.check", BUNDLED_MODEL], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout in {"can be served, by onnxruntime\n", "can be served, by native and onnxruntime\n"}


def test_missing_package_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, and the reason on standard output."""
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(f"no model package at {tmp_path}")


def test_command_without_a_folder_says_its_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Another status than a refusal's."""
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_text_without_tokens_is_refused(copy: Path) -> None:
    """A text of one visible character, which the tokenizer drops, would be a batch without columns."""
    change_tokenizer(copy, processors.TemplateProcessing("$A", special_tokens=[]))
    change_manifest(copy, golden=[golden(copy, "good film")])
    with pytest.raises(Unservable, match="the text '\ufffd' has 0 tokens"):
        check(copy)


def test_missing_label_is_refused(copy: Path) -> None:
    """A manifest that names more labels than the network has logits."""
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    (copy / "profile.json").unlink()
    del manifest["files"]["profile.json"]
    texts = [{"text": item["text"], "scores": item["scores"] | {"NEUTRAL": 0.0}} for item in manifest["golden"]]
    change_manifest(copy, files=manifest["files"], labels=[*manifest["labels"], "NEUTRAL"], golden=texts)
    with pytest.raises(Unservable, match="the golden texts can't be scored: "):
        check(copy)


def test_more_tokens_than_positions_are_refused(copy: Path) -> None:
    """Only a long text shows it."""
    golden = [item for item in json.loads((copy / "manifest.json").read_text())["golden"] if len(item["text"]) < 1000]
    change_manifest(copy, max_tokens=600, window_tokens=None, window_overlap=0, golden=golden)
    with pytest.raises(Unservable, match=r"a text of 600 tokens \('good ' repeated\) fails: "):
        check(copy)


def test_ids_beyond_the_table_are_refused(copy: Path) -> None:
    """A token that was added to the tokenizer, but not to the model: only a client's text shows it."""
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.add_tokens(["<new>"])
    tokenizer.save(str(copy / "tokenizer.json"))
    change_manifest(copy)
    with pytest.raises(Unservable, match="the text '<new>' fails: "):
        check(copy)
