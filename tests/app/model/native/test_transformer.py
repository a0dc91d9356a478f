"""The kernel: the arithmetic of the export, the same bits in any batch, and no step beside its memory."""

import ctypes
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.model.classifier import Classifier
from app.model.native import transformer
from app.model.native.transformer import LIBRARY, VERSION, Transformer
from app.model.native.weights import Unsupported
from app.model.package import Package
from app.settings import BUNDLED_MODEL
from load.texts import load_texts
from tests.app.model.native.random_weights import expected_logits, random_weights
from tests.conftest import ROOT

GCC = shutil.which("gcc")
SOURCE = LIBRARY.with_name("transformer.c")
EMULATED_TILES = Path(__file__).with_name("emulated_tiles.h")
TILES_IN_C = (f'-DEMULATED_TILES="{EMULATED_TILES}"',)
LENGTHS = [*range(1, 15), 31, 32, 33, 60, 64, 65]
"""Blocks of 1 to 6 rows, one to eleven of them; full and broken registers of keys."""


@pytest.fixture(scope="module")
def bundled() -> Transformer:
    """The bundled model's; skips where the kernel does not run."""
    try:
        return Transformer.of(Package(BUNDLED_MODEL))
    except Unsupported as exc:
        pytest.skip(str(exc))


def texts(vocabulary: int, lengths: list[int]) -> list[list[int]]:
    """Random token ids, the same for every run."""
    rng = random.Random(3)
    return [rng.choices(range(vocabulary), k=length) for length in lengths]


@pytest.mark.parametrize("gelu", ["erf", "tanh"])
@pytest.mark.parametrize(("hidden", "heads"), [(64, 2), (192, 6), (64, 1), (192, 3)])
@pytest.mark.usefixtures("bundled")
def test_logits_are_those_of_plain_arithmetic(tmp_path: Path, hidden: int, heads: int, gelu: str) -> None:
    """Heads of 32 and of 64 columns, both kinds of GELU, every number of rows: within what rounding explains."""
    weights = random_weights(tmp_path, hidden=hidden, inner=2 * hidden, heads=heads, layers=3, gelu=gelu)
    rows = texts(50, LENGTHS)
    found = np.concatenate([Transformer(weights).logits([row]) for row in rows])
    expected = np.array([expected_logits(weights, row) for row in rows])
    differences = np.abs(found - expected).max(axis=1)
    # An integer that is rounded the other way moves a logit by some hundredths; most texts have none.
    assert np.median(differences) < 1e-3
    assert differences.max() < 0.1 * expected.std()


@pytest.mark.usefixtures("bundled")
def test_scores_are_those_of_onnx_runtime() -> None:
    """The bundled model in both engines: most texts score the same, the rest differ by rounding."""
    package = Package(BUNDLED_MODEL)
    native, other = Classifier(package, "native"), Classifier(package, "onnxruntime")
    rows = [native.encoder.encode(text).ids for text in load_texts()["cold"][:200]]
    mine, theirs = (np.concatenate([one.scores([row]) for row in rows]) for one in (native, other))
    differences = np.abs(mine - theirs).max(axis=1)
    assert np.median(differences) < 1e-3
    assert differences.mean() < 0.003
    assert (mine.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.97


def test_a_batch_gives_the_same_bits(bundled: Transformer) -> None:
    """Alone, or with any others before and behind it."""
    rows = texts(30_522, [*LENGTHS, 200, 512])
    alone = np.concatenate([bundled.logits([row]) for row in rows])
    order = random.Random(1).sample(range(len(rows)), len(rows))
    for size in (2, 5, len(rows)):
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            assert (bundled.logits([rows[index] for index in batch]) == alone[batch]).all()


def test_threads_do_not_disturb_each_other(bundled: Transformer) -> None:
    """Runs at the same time give what they give one after the other."""
    rows = texts(30_522, LENGTHS * 3)
    one_by_one = [bundled.logits([row]).tolist() for row in rows]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda row: bundled.logits([row]).tolist(), rows)) == one_by_one


@pytest.mark.parametrize(
    "row", [[], [5] * 513, [30_522], [5, -1]], ids=["no tokens", "too many", "unknown id", "negative id"]
)
def test_what_is_out_of_bounds_is_refused(bundled: Transformer, row: list[int]) -> None:
    """Nothing is read or written; the error names what came and the limits."""
    with pytest.raises(ValueError, match=r"512 positions and 30522 ids"):
        bundled.logits([[5, 6], row])


def compile_kernel(library: Path, *flags: str) -> Path:
    """transformer.c with other options, or skip."""
    if GCC is None:
        pytest.skip("gcc is not installed")
    subprocess.run([GCC, "-shared", "-fPIC", *flags, "-o", library, SOURCE], check=True)
    return library


@pytest.mark.usefixtures("bundled")
def test_tiles_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AMX, in plain C where the CPU has none: every number of rows, all kinds of what becomes of a product."""
    library = compile_kernel(tmp_path / "tiles.so", "-O2", *TILES_IN_C)
    assert ctypes.CDLL(str(library)).transformer_tiles() == 1
    monkeypatch.setattr(transformer, "LIBRARY", library)
    by_tiles = Transformer.of(Package(BUNDLED_MODEL))
    by_vnni = Transformer.of(Package(BUNDLED_MODEL))
    by_vnni._struct.tiles = 0
    rows = texts(30_522, [*range(1, 8), *range(14, 19), 31, 32, 33, 34, 63, 64, 65, 97])
    batches = [[row] for row in rows] + [rows[:12], rows]
    for batch in batches:
        assert (by_tiles.logits(batch) == by_vnni.logits(batch)).all()


@pytest.mark.usefixtures("bundled")
def test_tiles_that_compute_something_else_are_not_used(tmp_path: Path) -> None:
    """They are tried before they are trusted: here a CPU whose weights are unsigned."""
    header = EMULATED_TILES.read_text()
    (tmp_path / "wrong.h").write_text(header.replace("(int8_t)b->data", "b->data"))
    library = compile_kernel(tmp_path / "wrong.so", "-O2", f'-DEMULATED_TILES="{tmp_path / "wrong.h"}"')
    assert ctypes.CDLL(str(library)).transformer_tiles() == 0


SANITIZED = """
import random, sys
from pathlib import Path
import numpy as np
from app.model.native import transformer
from tests.app.model.native.random_weights import random_weights
transformer.LIBRARY = Path(sys.argv[1])
rng, BATCHES = random.Random(int(sys.argv[4])), int(sys.argv[3])
for hidden, inner, heads, gelu in ((64, 64, 2, "erf"), (64, 256, 1, "tanh"), (128, 192, 4, "erf")):
    sizes = {"hidden": hidden, "inner": inner, "heads": heads, "vocabulary": 40, "positions": 300, "labels": 2}
    model = transformer.Transformer(random_weights(Path(sys.argv[2]), gelu=gelu, **sizes))
    batches = ([rng.randint(1, 70) for _ in range(rng.randint(1, 9))] for _ in range(BATCHES))
    for lengths in ([1], [300], [257, 1], *batches):
        assert np.isfinite(model.logits([rng.choices(range(40), k=length) for length in lengths])).all()
print("clean")
"""


@pytest.mark.usefixtures("bundled")
@pytest.mark.parametrize("tiles", [False, True], ids=["vnni", "tiles"])
def test_no_byte_beside_its_memory_is_touched(tmp_path: Path, *, tiles: bool) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer find nothing over batches of all kinds (more: `make fuzz`)."""
    seed = os.environ.get("KERNEL_SEED", "2")
    batches = os.environ.get("KERNEL_BATCHES", "10" if tiles else "30")  # tiles in C are slow
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    library = compile_kernel(tmp_path / "sanitized.so", *flags, *(TILES_IN_C if tiles else ()))
    wanted = (
        subprocess.check_output([str(GCC), f"-print-file-name={name}"], text=True)
        for name in ("libasan.so", "libubsan.so")
    )
    # Python itself is not built with it: the library must be there first, and what Python leaves behind is no leak.
    env = {**os.environ, "LD_PRELOAD": " ".join(map(str.strip, wanted)), "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED, library, tmp_path, batches, seed],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("clean\n"), done.stderr


def test_a_library_that_is_missing_or_of_another_version_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither stops the service; the reason says what to do."""
    monkeypatch.setattr(transformer, "LIBRARY", tmp_path / "missing.so")
    with pytest.raises(Unsupported, match=r"missing\.so can't be loaded; .*make"):
        Transformer.of(Package(BUNDLED_MODEL))
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "old.c").write_text("int transformer_version(void) { return 99; }")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "old.so", tmp_path / "old.c"], check=True)
    monkeypatch.setattr(transformer, "LIBRARY", tmp_path / "old.so")
    with pytest.raises(Unsupported, match=rf"old\.so is of version 99, not {VERSION}"):
        Transformer.of(Package(BUNDLED_MODEL))
