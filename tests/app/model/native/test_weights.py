"""What the kernel takes of a package, and what it leaves to ONNX Runtime."""

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import PackageError
from app.model.classifier import Classifier, open_engine
from app.model.native.transformer import Transformer
from app.model.native.weights import Unsupported, Weights
from app.model.package import Package
from app.settings import BUNDLED_MODEL
from tests.app.model.native.random_weights import Tensors, describe, random_tensors, write_weights


@pytest.fixture
def package_folder(tmp_path: Path) -> Path:
    """A copy of the bundled package, to be changed."""
    return Path(shutil.copytree(BUNDLED_MODEL, tmp_path / "package"))


def change_manifest(folder: Path, **fields: Any) -> None:
    """Change fields of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def list_weights(folder: Path) -> None:
    """Let the manifest name the weights as they are now."""
    content = (folder / "weights.safetensors").read_bytes()
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    files = json.loads((folder / "manifest.json").read_text())["files"]
    change_manifest(folder, files=files | {"weights.safetensors": facts})


@pytest.fixture(scope="module")
def _kernel() -> None:
    """Skips where the kernel does not run."""
    try:
        Transformer.of(Package(BUNDLED_MODEL))
    except Unsupported as exc:
        pytest.skip(str(exc))


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"architecture": "bert"}, "architecture: Input should be 'distilbert'"),
        ({"scheme": "int8, static"}, "scheme: Input should be 'int8, dynamic per token'"),
        ({"gelu": "relu"}, "gelu: Input should be 'erf' or 'tanh'"),
        ({"epsilon": 0}, "epsilon: Input should be greater than 0"),
        ({"layers": 0}, "layers: Input should be greater than 0"),
        ({"layers": 3}, r"layers\.2\.query\.weight can't be read: .*does not contain"),
        ({"layers": 10**12}, r"layers\.2\.query\.weight can't be read"),
        ({"heads": 4}, "64 and 128 with 4 heads"),
        ({"hidden": 96, "heads": 3}, "96 and 128 with 3 heads"),
        ({"inner": 100}, "64 and 100 with 2 heads"),
        ({"inner": 64}, r"layers\.0\.up\.weight should be I8\[64, 64\], found I8\[64, 128\]"),
        ({"vocabulary": 51}, r"embeddings\.words\.weight should be I8\[51, 64\], found I8\[50, 64\]"),
        ({"positions": 2**40}, r"embeddings\.positions\.weight should be I8\[1099511627776, 64\]"),
        ({"labels": 2}, r"classifier\.weight should be F32\[2, 64\], found F32\[3, 64\]"),
    ],
)
def test_another_network_is_not_for_the_kernel(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    """What the metadata says must be what the file holds, and what the kernel can compute."""
    path = write_weights(tmp_path, describe(**fields), random_tensors(describe()))
    with pytest.raises(Unsupported, match=reason):
        Transformer(Weights(path))


def spoilt(role: str, values: object, dtype: type[np.generic]) -> Tensors:
    """Tensors of which one is another."""
    return random_tensors(describe()) | {role: np.array(values, dtype)}


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (
            spoilt("layers.1.key.weight", np.zeros((64, 64)), np.float32),
            r"key\.weight should be I8\[64, 64\], found F32",
        ),
        (spoilt("layers.1.key.weight", np.zeros((64, 64)), np.uint8), r"key\.weight should be I8\[64, 64\], found U8"),
        (spoilt("layers.0.down.bias", np.zeros(64), np.float64), r"down\.bias should be F32\[64\], found F64\[64\]"),
        (
            spoilt("layers.0.down.bias", np.zeros((64, 1)), np.float32),
            r"down\.bias should be F32\[64\], found F32\[64, 1\]",
        ),
        (spoilt("layers.0.down.bias", [], np.float32), r"down\.bias should be F32\[64\], found F32\[0\]"),
        (spoilt("layers.0.down.bias", [np.nan] * 64, np.float32), r"down\.bias holds values that are not finite"),
        (spoilt("classifier.bias", [0, np.inf, 0], np.float32), r"classifier\.bias holds values that are not finite"),
    ],
)
def test_tensors_of_another_kind_are_not_for_the_kernel(tmp_path: Path, tensors: Tensors, reason: str) -> None:
    """The first that differs is named, with what it should be."""
    with pytest.raises(Unsupported, match=reason):
        Transformer(Weights(write_weights(tmp_path, describe(), tensors)))


@pytest.mark.usefixtures("_kernel")
def test_every_tensor_is_needed(tmp_path: Path) -> None:
    """None has a default that would hide its loss."""
    whole = random_tensors(describe())
    for role in whole:
        path = write_weights(tmp_path, describe(), {name: array for name, array in whole.items() if name != role})
        with pytest.raises(Unsupported, match=rf"{role} can't be read"):
            Transformer(Weights(path))


def with_header(header: bytes) -> bytes:
    """A file with this header and 64 bytes behind it."""
    return struct.pack("<Q", len(header)) + header + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 40,
        bytes(range(256)),
        with_header(b"not JSON"),
        with_header(b"[]"),
        with_header(b'{"x":{"dtype":"F32","shape":[16],"data_offsets":[0,65]}}'),
        with_header(b'{"x":{"dtype":"F32","shape":[17],"data_offsets":[0,64]}}'),
        with_header(b'{"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,64]}}'),
        with_header(b'{"x":{"dtype":"F32","shape":[-16],"data_offsets":[0,64]}}'),
        with_header(b'{"x":{"dtype":"F32","shape":[16],"data_offsets":[64,0]}}'),
        with_header(b'{"x":{"dtype":"F99","shape":[16],"data_offsets":[0,64]}}'),
        with_header(b'{"__metadata__":{"network":[]}}'),
    ],
)
def test_a_file_of_another_kind_is_not_for_the_kernel(tmp_path: Path, content: bytes) -> None:
    """Whatever its bytes would mean."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(Unsupported, match=r"weights\.safetensors can't be read"):
        Weights(path)


@pytest.mark.parametrize("kept", [1, 8, 1_000, 100_000, -1])
def test_a_file_that_is_cut_off_is_not_for_the_kernel(tmp_path: Path, kept: int) -> None:
    """Wherever it ends."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes((BUNDLED_MODEL / "weights.safetensors").read_bytes()[:kept])
    with pytest.raises(Unsupported, match=r"weights\.safetensors can't be read"):
        Weights(path)


def test_a_file_without_the_network_is_not_for_the_kernel(tmp_path: Path) -> None:
    """As any other safetensors file."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(with_header(b'{"x":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'))
    with pytest.raises(Unsupported, match=r"weights\.safetensors holds no network that the kernel has: network: "):
        Weights(path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"labels": ["A", "B", "C"]}, "2 logits for 3 labels"),
        ({"max_tokens": 513}, "512 positions for 513 tokens"),
    ],
)
def test_weights_must_fit_the_manifest(package_folder: Path, fields: dict[str, Any], reason: str) -> None:
    """The service gives as many tokens, and reads as many logits, as the manifest says."""
    files = json.loads((package_folder / "manifest.json").read_text())["files"]
    del files["profile.json"]  # which counts the labels, too
    change_manifest(package_folder, files=files, **fields)
    with pytest.raises(Unsupported, match=reason):
        Weights.of(Package(package_folder))


def test_weights_that_were_changed_after_the_export_are_not_served(package_folder: Path) -> None:
    """Neither engine gets to see them."""
    with (package_folder / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(PackageError, match=r"weights\.safetensors was changed after its export"):
        Package(package_folder)


@pytest.mark.usefixtures("_kernel")
def test_both_engines_read_the_same_bytes(package_folder: Path) -> None:
    """model.onnx refers to the weights: a bias in that file that is changed moves the logits of both."""
    engines = ("native", "onnxruntime")
    before = [Classifier(Package(BUNDLED_MODEL), name).engine.logits([[101, 2204, 102]]) for name in engines]
    path = package_folder / "weights.safetensors"
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    begin, end = (8 + int.from_bytes(content[:8], "little") + at for at in header["classifier.bias"]["data_offsets"])
    path.write_bytes(content[:begin] + struct.pack("<2f", 10, -10) + content[end:])
    bias = np.frombuffer(content[begin:end], np.float32)
    list_weights(package_folder)
    after = [Classifier(Package(package_folder), name).engine.logits([[101, 2204, 102]]) for name in engines]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new - old, [[10, -10] - bias], atol=1e-5)


@pytest.mark.usefixtures("_kernel")
def test_an_older_package_is_onnx_runtimes(package_folder: Path) -> None:
    """Its graph holds the weights, and its manifest names no other file; a stray one is not read."""
    files = json.loads((package_folder / "manifest.json").read_text())["files"]
    del files["weights.safetensors"]
    change_manifest(package_folder, files=files)
    engine, reason = open_engine(Package(package_folder))
    assert engine.name == "onnxruntime"
    assert reason == "its manifest names no weights.safetensors: it is no DistilBERT, or of an older export"
