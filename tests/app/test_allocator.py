"""Memory that was needed for a moment goes back to the system, and all is kept that is still in use."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")

LARGE_BLOCKS = """
import ctypes, sys
from app.allocator import return_large_blocks
from app.cpu import resident_bytes

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def block():
    address = libc.malloc(16_000_000)
    ctypes.memset(address, 1, 16_000_000)
    return address

if sys.argv[1] == "set":
    assert return_large_blocks()
libc.free(block())  # with this glibc learns to keep blocks of the size
lower, upper = block(), block()
before = resident_bytes()
libc.free(lower)  # beneath one in use
print(before - resident_bytes())
"""

LONG_TEXTS = """
import sys
import threading
from app.allocator import return_large_blocks
from app.cpu import resident_bytes
from app.model import Classifier
from app.package import Package
from app.settings import BUNDLED_MODEL

assert return_large_blocks()
classifier = Classifier(Package(BUNDLED_MODEL), sys.argv[1])
classifier.check_golden()
classifier.warm_up()
before = resident_bytes()

def work():
    for tokens in (512, 40, 300, 8, 400, 128, 512):
        classifier.predict([[5] * tokens])

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident_bytes() - before)
"""


def printed(program: str, *arguments: str) -> int:
    """The number that a process of its own prints: what is set holds for a whole process."""
    command = [sys.executable, "-c", program, *arguments]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout)


def test_large_blocks_are_returned() -> None:
    """A free block beneath one in use leaves the process; without the setting it stays."""
    assert printed(LARGE_BLOCKS, "set") > 15 * MB
    assert printed(LARGE_BLOCKS, "unset") < MB


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_long_texts_leave_no_memory_behind(engine: str) -> None:
    """Two threads with texts of up to 512 tokens: in ONNX Runtime 36 MB while they run, little afterwards."""
    assert printed(LONG_TEXTS, engine) < 15 * MB
