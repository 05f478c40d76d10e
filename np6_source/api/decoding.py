"""Decodes a response's body while it comes in: gzip, charset, and the limit of its size."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterable, Iterator

CHUNK = 1024 * 1024
"""Bytes of a body that are in memory at once, before and after inflating."""

GZIP_MAGIC = b"\x1f\x8b"

_NO_CHARSETS = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7")
"""Codecs of Python for text that no HTTP body is declared to be in."""


class BodyTooLarge(Exception):
    """A body passes the size limit."""


class CountedBytes:
    """Counts the bytes of a body, up to a limit.

    Attributes:
        byte_count: Bytes so far.
    """

    def __init__(self, limit: int) -> None:
        """Starts at nothing."""
        self.byte_count = 0
        self._limit = limit

    def chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Passes the chunks of a body on.

        Raises:
            BodyTooLarge: They are more than the limit.
        """
        for chunk in chunks:
            self.byte_count += len(chunk)
            if self.byte_count > self._limit:
                raise BodyTooLarge(
                    f"the response is larger than {self._limit} bytes (largest_answer)"
                )
            yield chunk


def inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Inflates a body that is gzip, whatever its headers say; others pass as they are.

    Inflates piece by piece, so that a small body that inflates to a huge one is stopped by the
    size limit before it fills memory.

    Raises:
        zlib.error: The gzip is broken or breaks off.
    """
    first = next(chunks, b"")
    while len(first) < len(GZIP_MAGIC) and (more := next(chunks, b"")):
        first += more
    if not first.startswith(GZIP_MAGIC):
        if first:
            yield first
        yield from chunks
        return
    inflate = zlib.decompressobj(wbits=31)
    pending = first
    while True:
        piece = inflate.decompress(pending, CHUNK)
        yield piece
        if inflate.eof:
            pending = inflate.unused_data or next(chunks, b"")
            if not pending:
                return
            inflate = zlib.decompressobj(wbits=31)
            continue
        pending = inflate.unconsumed_tail
        if not pending and len(piece) < CHUNK and not (pending := next(chunks, b"")):
            raise zlib.error("incomplete gzip")


def in_utf8(chunks: Iterable[bytes], charset: str | None) -> Iterator[bytes]:
    """A body in UTF-8, decoded by the charset that its header names.

    What is UTF-8 by its header, or by the lack of one, passes byte by byte as it is.

    Raises:
        LookupError: There is no such charset for text.
        UnicodeError: The body is not in that charset.
    """
    if charset is None or codecs.lookup(charset).name in ("utf-8", "ascii", "utf-8-sig"):
        yield from chunks
        return
    if codecs.lookup(charset).name in _NO_CHARSETS:
        raise LookupError(charset)
    "".encode(charset)  # Refuses codecs that are not between text and bytes.
    decoder = codecs.getincrementaldecoder(charset)(errors="strict")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8")
    yield decoder.decode(b"", final=True).encode("utf-8")
