"""The C library's allocator, told to give memory back; glibc keeps much of it for later.

Elsewhere (musl, macOS) there is nothing to set, and both functions do nothing.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BYTES = 1 << 20
"""What a request takes is smaller as a rule, and kept for the next one; what the model takes comes in larger blocks."""


def return_large_blocks() -> bool:
    """From now on blocks of `LARGE_BYTES` and more go back to the system once they are free; False where it can't be.

    By itself glibc raises that limit up to 32 MiB with the first such block that is freed, and then keeps them, apart
    for each thread.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Either setting ends glibc's own adjusting of both; twice the size is what it would make of the other.
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BYTES))


def return_free_pages() -> None:
    """Give every page back on which nothing is in use; takes some milliseconds."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
