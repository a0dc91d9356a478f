"""model_export/served.py: the service's own code has the last word on a package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_export import served
from model_export.errors import ExportError
from model_export.package import digest
from tests.model_export.doctor import append, change_graph


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    """A package that a test may doctor."""
    return Path(shutil.copytree(package, tmp_path / "package"))


def write_module(root: Path, code: str) -> Path:
    """Put other code in the place of the service's, and return the folder in which it lies."""
    module = root / "app" / "model" / "check.py"
    module.parent.mkdir(parents=True)
    module.write_text(code)
    return root


def test_sound_package_passes(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is said of it."""
    served.check(package, "tiny")
    assert capsys.readouterr().err == ""


def test_wrong_digest_is_refused(copy: Path) -> None:
    """A file that the manifest does not describe would keep every pod from its start."""
    change_graph(copy, append("Mul", [1.0, 1.0]))
    with pytest.raises(ExportError, match=r"^tiny can't be served: .*model.onnx was changed after its export"):
        served.check(copy, "tiny")


def test_other_golden_scores_are_refused(copy: Path) -> None:
    """The service would never be ready."""
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["golden"][0]["scores"] = {"NEGATIVE": 1.5, "POSITIVE": -0.5}
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ExportError, match="tiny can't be served: golden text 0 scores"):
        served.check(copy, "tiny")


def test_scores_that_depend_on_batchmates_are_refused(copy: Path) -> None:
    """Here by a hundredth of the batch's mean logits, which the golden texts alone would not show."""

    def change(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            node.output[:] = ["before" if name == "logits" else name for name in node.output]
        graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch"))
        graph.initializer.append(numpy_helper.from_array(np.array(0.01, np.float32), "hundredth"))
        graph.node.append(helper.make_node("ReduceMean", ["before", "batch"], ["mean"], keepdims=1))
        graph.node.append(helper.make_node("Mul", ["mean", "hundredth"], ["share"]))
        graph.node.append(helper.make_node("Add", ["before", "share"], ["logits"]))

    change_graph(copy, change)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["model.onnx"]["sha256"] = digest(copy / "model.onnx")
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(
        ExportError, match=r"tiny can't be served: a batch in which one text is '.*' changes a score by 0\.0"
    ):
        served.check(copy, "tiny")


def test_service_runs_without_pytorch() -> None:
    """What it would borrow from the export's environment, the image has not."""
    names = "{'torch', 'transformers', 'onnx', 'optimum', 'model_export'}"
    code = f"import sys, {served.MODULE}; print(sorted({names} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], cwd=served.ROOT, capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import os; os.kill(os.getpid(), 11)",
            "the service's code was killed by SIGSEGV, as when memory is short for texts of so many tokens",
        ),
        ("import no_such_module", "the service's code failed: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(1)", "the service's code failed: without a word"),
        ("print('a reason'); raise SystemExit(1)", "a reason"),
    ],
)
def test_crash_is_a_refusal(package: Path, tmp_path: Path, code: str, reason: str) -> None:
    """No verdict is no good verdict."""
    with pytest.raises(ExportError) as caught:
        served.check(package, "tiny", write_module(tmp_path, code))
    assert str(caught.value).startswith(f"tiny can't be served: {reason}; export an encoder")


def test_missing_service_is_said(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An export from a part of the checkout is not stopped, but nobody should take it for a tried one."""
    served.check(package, "tiny", tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"not tried in the service: app.model.check is not at {tmp_path}; ")


def test_image_tries_what_it_exports(package: Path, tmp_path: Path) -> None:
    """The Dockerfile's export stage holds all that the verdict takes, and no more of the service."""
    stage = (
        (served.ROOT / "Dockerfile").read_text(encoding="utf-8").partition(" AS export\n")[2].partition("\nFROM ")[0]
    )
    copies = [line.split()[1:] for line in stage.splitlines() if line.startswith("COPY app")]
    for *names, target in copies:
        for name in names:
            source, place = served.ROOT / name, tmp_path / target
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)
    assert (tmp_path / "app" / "model" / "check.py").exists()
    served.check(package, "tiny", tmp_path)
