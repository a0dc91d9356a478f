"""Bodies that are packed by gzip or deflate (RFC 9110, 8.4), to and fro."""

import re
import zlib
from collections.abc import Mapping

from app.errors import InvalidRequest, TooLarge, UnsupportedEncoding

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
PACKED_FROM_BYTES = 4_096
"""Shorter answers are sent as they are: three packets to pack save less than the 50 microseconds that it takes."""
PACKED_HEADERS = [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
ACCEPTS_GZIP = re.compile(rb"(?:^|[\s,])gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[\d.]+\s*)?(?:,|$)")
GZIP, GZIP_OR_ZLIB = 16 + zlib.MAX_WBITS, 32 + zlib.MAX_WBITS


def unpacked(body: bytes, headers: Mapping[bytes, bytes], max_bytes: int) -> bytes:
    """What a body says; itself where its client does not say that it is packed.

    No more than `max_bytes` are ever unpacked. Raises TooLarge beyond them, InvalidRequest for what is not packed as
    its header says, and UnsupportedEncoding for any other encoding.
    """
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding in ("identity", ""):
        return body
    if encoding not in ENCODINGS:
        msg = f"Content-Encoding {encoding!r} is not undone: send gzip, deflate or the JSON itself"
        raise UnsupportedEncoding(msg, loc=["body"], headers={"Accept-Encoding": "gzip, deflate"})
    unpacking = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        text = unpacking.decompress(body, max_bytes + 1)
    except zlib.error as exc:
        raise _not_packed(encoding, str(exc)) from exc
    if len(text) > max_bytes:
        msg = f"the body unpacks to more than the limit of {max_bytes} bytes (VALENCE_MAX_BODY_BYTES)"
        raise TooLarge(msg, loc=["body"])
    if not unpacking.eof or unpacking.unused_data:
        raise _not_packed(encoding, "it is cut off" if not unpacking.eof else "there is more behind its end")
    return text


def _not_packed(encoding: str, why: str) -> InvalidRequest:
    msg = f"the body is not {encoding} as its Content-Encoding says: {why}"
    return InvalidRequest([{"type": "not_compressed", "loc": ["body"], "msg": msg}])


def packed(body: bytes, headers: Mapping[bytes, bytes]) -> bytes | None:
    """The body as gzip, if the client with these headers takes that."""
    accepted = headers.get(b"accept-encoding")
    if accepted is None or not ACCEPTS_GZIP.search(accepted.lower()):
        return None
    packing = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    return packing.compress(body) + packing.flush()
