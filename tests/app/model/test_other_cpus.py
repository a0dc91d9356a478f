"""The bundled model on a CPU with AVX2 but without VNNI, where uint8 x int8 products saturate: emulated by QEMU."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAX_CHARACTERS = 120
PROGRAM = """
import json, sys
from pathlib import Path
from app.model.classifier import Classifier
from app.model.package import Package

classifier = Classifier(Package(Path(sys.argv[1])))
rows = [classifier.encoder.encode(item.text).ids for item in classifier.package.manifest.golden]
print(json.dumps([classifier.engine_reason, classifier.check_golden(), classifier.scores(rows).tolist()]))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates an x86-64 CPU on one")
def test_scores_are_the_same_without_vnni(tmp_path: Path) -> None:
    """On Haswell ONNX Runtime passes the golden check, labels are the same and scores differ by at most 0.005."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-x86_64 is not installed (Debian: qemu-user)")
    package = shutil.copytree(ROOT / "models" / "distilbert-sst2-mini", tmp_path / "package")
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    # Emulation takes hundreds of times as long: what is beyond a sentence or two says nothing more.
    manifest["golden"] = [item for item in manifest["golden"] if len(item["text"]) <= MAX_CHARACTERS]
    (package / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    command = [sys.executable, "-c", PROGRAM, str(package)]
    native = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    # QEMU 7.2 warns about features that it lacks; what the program prints is the last line.
    emulated = subprocess.run(
        [emulator, "-cpu", "Haswell", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    _, _, ours = json.loads(native.stdout)
    reason, golden_difference, theirs = json.loads(emulated.stdout.splitlines()[-1])
    assert reason.startswith(("this CPU has no AVX512-VNNI", "libtransformer.so can't be loaded"))
    assert golden_difference < 0.005
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.index(max(mine)) == other.index(max(other))
        assert mine == pytest.approx(other, abs=0.005)
