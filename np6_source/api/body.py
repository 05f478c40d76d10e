"""Writes a response's body to files while it comes in, so that several threads read it meanwhile.

Each file, a piece, is a JSON array of its own with consecutive events. A long body is cut between
two events: at a comma between a closing and an opening brace, where the next key is the one that
the body's first event begins with. This cannot match inside a text, whose quotes are escaped. It
can match in a list within an event; the piece before the cut is then no JSON, because something in
it is never closed. DuckDB refuses it, and ``join`` restores the body, which is read as a whole.

Where a stretch is read again with every run, a body is cut by content: at events whose own bytes
say so, wherever the body begins. The same events then come in the same pieces, and a piece that is
known by its digest need not be read again.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import RequestContext, SpoolFailed

CHUNK = 1024 * 1024
"""Bytes of a body that are in memory at once, before and after inflating."""

NUL_ESCAPE = b"\\u0000"
"""The escape of the NUL character, which many destinations refuse in text."""

GZIP_MAGIC = b"\x1f\x8b"
SMALLEST = 1024 * 1024
"""Bytes of the first piece: the sooner one is read, the sooner the shapes of events are known."""
LARGEST = 16 * 1024 * 1024
"""Bytes from which on a piece is cut at the next event; those after the first grow up to it."""
_GROWTH = 4

SMALLEST_BY_CONTENT = 256 * 1024
"""Bytes of a piece that is cut by content, at least."""
EVENTS_BY_CONTENT = 1_024
"""Of so many events one is cut at, about. A piece that is much larger than the smallest finds back
to the same cuts soon, wherever the body begins."""
_SHOWN = 192
"""Bytes at an event's beginning that decide; its id is among them."""
_DIGEST_BYTES = 12

_HEAD = 256
_BLANK = rb"[ \t\r\n]*"
_BEGINNING = re.compile(
    rb"(?:\xef\xbb\xbf)?%b\[%b\{%b(\"[^\"\\]{1,100}\")%b:" % (_BLANK, _BLANK, _BLANK, _BLANK)
)


@dataclass(frozen=True)
class Piece:
    """A file with events of a body, as a JSON array.

    Attributes:
        file: The file. Whoever takes the piece deletes it.
        has_nul: Whether it holds escapes of the NUL character.
        digest: Of its events' bytes, where the body is cut by content; else empty.
    """

    file: Path
    has_nul: bool
    digest: str = ""


class PieceWriter:
    """Writes a body to pieces. What is short is one piece, byte by byte as it came."""

    def __init__(
        self, folder: Path, name: str, take: Callable[[Piece], None], by_content: bool = False
    ) -> None:
        """Opens the first file.

        Args:
            folder: Folder for the files.
            name: Distinguishes this body's files.
            take: Called with each piece as soon as it is complete.
            by_content: Cut where the events say so, in place of at the next one of a size.

        Raises:
            OSError: The file cannot be made.
        """
        self._folder = folder
        self._name = name
        self._take = take
        self._count = 0
        self._by_content = by_content
        self._goal = SMALLEST_BY_CONTENT if by_content else SMALLEST
        self._head = b""
        self._size = 0
        self._between: re.Pattern[bytes] | None = None
        self._open()

    def write(self, chunk: bytes) -> None:
        """Adds to the body.

        Raises:
            OSError: It cannot be written.
        """
        if len(self._head) < _HEAD:
            self._head += chunk[: _HEAD - len(self._head)]
            if len(self._head) == _HEAD:
                self._between = _between(self._head)
        while self._between and self._size + len(chunk) >= self._goal:
            # A cut that two chunks share is passed over; there is another in the next.
            cut = self._cut(self._between, chunk)
            if cut is None:
                break
            self._append(chunk[: cut.start() + 1])
            self._target.write(b"]")
            self._complete()
            if not self._by_content:
                self._goal = min(self._goal * _GROWTH, LARGEST)
            self._open()
            self._target.write(b"[")
            self._size = 1
            chunk = chunk[cut.end() :]
        self._append(chunk)

    def _cut(self, between: re.Pattern[bytes], chunk: bytes) -> re.Match[bytes] | None:
        """Where to cut a chunk; None: not in this one."""
        first = max(0, self._goal - self._size)
        if not self._by_content:
            return between.search(chunk, first)
        for cut in between.finditer(chunk, first):
            beginning = chunk[cut.end() : cut.end() + _SHOWN]
            is_marked = zlib.crc32(beginning) % EVENTS_BY_CONTENT == 0
            if is_marked or self._size + cut.start() >= LARGEST:
                return cut
        return None

    def finish(self) -> None:
        """Completes the last piece.

        Raises:
            OSError: It cannot be written.
        """
        self._complete()

    def discard(self) -> None:
        """Removes the piece that is not complete."""
        try:
            self._target.close()
        finally:
            self._file.unlink(missing_ok=True)

    def _open(self) -> None:
        self._file = self._folder / f"{self._name}-{self._count}.json"
        self._target: BinaryIO = private(self._file).open("wb")
        self._count += 1
        self._size = 0
        self._has_nul = False
        self._tail = b""
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES) if self._by_content else None

    def _append(self, chunk: bytes) -> None:
        edge = self._tail + chunk[: len(NUL_ESCAPE)]
        self._has_nul = self._has_nul or NUL_ESCAPE in chunk or NUL_ESCAPE in edge
        self._tail = (edge if len(chunk) < len(NUL_ESCAPE) else chunk)[-len(NUL_ESCAPE) :]
        self._target.write(chunk)
        self._size += len(chunk)
        if self._hash is not None:
            self._hash.update(chunk)

    def _complete(self) -> None:
        self._target.close()
        digest = self._hash.hexdigest() if self._hash is not None else ""
        self._take(Piece(self._file, self._has_nul, digest))


def _between(head: bytes) -> re.Pattern[bytes] | None:
    """A pattern of what is between two events, from the body's beginning; None: do not cut it."""
    beginning = _BEGINNING.match(head)
    if beginning is None:
        return None
    key = re.escape(beginning[1])
    return re.compile(rb"\}%b,%b(?=\{%b%b%b:)" % (_BLANK, _BLANK, _BLANK, key, _BLANK))


class BodySink(Protocol):
    """Takes a body while it comes in."""

    def start(self, requested_at: int, context: RequestContext) -> None:
        """A body begins; what came of an earlier attempt, if any, is void.

        Args:
            requested_at: When the request was sent, milliseconds since the epoch on the server.
            context: What the body is for, for messages.

        Raises:
            RequestFailed: The body is not wanted.
        """

    def add(self, chunk: bytes) -> None:
        """The next bytes of the body, inflated, in UTF-8."""

    def finish(self) -> None:
        """The body is complete."""

    def discard(self) -> None:
        """The body will not be complete."""


class BodyInMemory:
    """A sink for short bodies.

    Attributes:
        content: The body so far.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self.content = bytearray()

    def start(self, requested_at: int, context: RequestContext) -> None:
        """See ``BodySink``."""
        self.content = bytearray()

    def add(self, chunk: bytes) -> None:
        """See ``BodySink``."""
        self.content += chunk

    def finish(self) -> None:
        """See ``BodySink``."""

    def discard(self) -> None:
        """See ``BodySink``."""
        self.content = bytearray()


class BodyInFile:
    """A sink that writes a body to one file.

    Attributes:
        context: What the response is for, for messages.
        file: The file.
    """

    def __init__(self, file: Path, advice: str) -> None:
        """Prepares for a body.

        Args:
            file: The file to write.
            advice: What a failure to write means for the tables, for messages.
        """
        self.file = file
        self.context = RequestContext("", "", "")
        self._advice = advice
        self._target: BinaryIO | None = None

    def start(self, requested_at: int, context: RequestContext) -> None:
        """See ``BodySink``.

        Raises:
            SpoolFailed: The file cannot be made.
        """
        self.context = context
        with self._writing():
            self._target = private(self.file).open("wb")

    def add(self, chunk: bytes) -> None:
        """See ``BodySink``.

        Raises:
            SpoolFailed: It cannot be written.
        """
        assert self._target is not None
        with self._writing():
            self._target.write(chunk)

    def finish(self) -> None:
        """See ``BodySink``.

        Raises:
            SpoolFailed: It cannot be written.
        """
        with self._writing():
            self._close()

    def discard(self) -> None:
        """See ``BodySink``: removes the file."""
        with self._writing():
            self._close()
            self.file.unlink(missing_ok=True)

    def _close(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.close()

    def _writing(self) -> AbstractContextManager[None]:
        return _writing(self.context, "the response could not be written", self._advice)


class PieceReader(Protocol):
    """Takes the pieces of a body as they are complete."""

    def start(self, requested_at: int, context: RequestContext) -> None:
        """See ``BodySink``."""

    def add(self, piece: Piece) -> None:
        """A piece of the body; its file is the reader's to delete."""


class BodyInPieces:
    """A sink that writes a body to pieces and hands each to a reader as soon as it is complete."""

    def __init__(
        self,
        folder: Path,
        name: str,
        reader: PieceReader,
        by_content: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepares for a body.

        Args:
            folder: Folder for the files.
            name: Distinguishes this body's files from those of others.
            reader: Takes the pieces.
            by_content: Whether to cut the body by content; asked once the reader has started.
        """
        self._folder = folder
        self._name = name
        self._reader = reader
        self._by_content = by_content
        self._attempt = 0
        self._context = RequestContext("", "", "")
        self._writer: PieceWriter | None = None

    def start(self, requested_at: int, context: RequestContext) -> None:
        """See ``BodySink``.

        Raises:
            SpoolFailed: The first file cannot be made.
        """
        self._context = context
        self._reader.start(requested_at, context)
        self._attempt += 1
        with self._writing():
            name = f"{self._name}-{self._attempt}"
            self._writer = PieceWriter(self._folder, name, self._reader.add, self._by_content())

    def add(self, chunk: bytes) -> None:
        """See ``BodySink``.

        Raises:
            SpoolFailed: It cannot be written.
        """
        assert self._writer is not None
        with self._writing():
            self._writer.write(chunk)

    def finish(self) -> None:
        """See ``BodySink``.

        Raises:
            SpoolFailed: It cannot be written.
        """
        assert self._writer is not None
        with self._writing():
            self._writer.finish()
        self._writer = None

    def discard(self) -> None:
        """See ``BodySink``: removes the piece that is not complete."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._writing():
                writer.discard()

    def _writing(self) -> AbstractContextManager[None]:
        return _writing(
            self._context,
            f"the response could not be written to {self._folder}",
            "Nothing of it was loaded; make room and run again.",
        )


@contextmanager
def _writing(context: RequestContext, problem: str, advice: str) -> Iterator[None]:
    """Turns an error of the disk into the request's failure, which does not hold it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror
    else:
        return
    raise SpoolFailed(context, f"{problem}: {reason}", advice)


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


_NO_CHARSETS = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7")
"""Codecs of Python for text that no HTTP body is declared to be in."""


def private(file: Path) -> Path:
    """The file, made for its owner alone: bodies say who got which message.

    Raises:
        OSError: It cannot be made.
    """
    file.touch(mode=0o600)
    return file


def join(pieces: Sequence[Path], whole: Path) -> None:
    """Puts a body together again.

    Args:
        pieces: The files of its pieces, in order; they are removed.
        whole: The file to write.

    Raises:
        OSError: It cannot be written.
    """
    with private(whole).open("wb") as target:
        for number, file in enumerate(pieces):
            with file.open("rb") as source:
                if number:
                    source.read(1)
                    target.write(b",")
                left = file.stat().st_size - (number > 0) - (number < len(pieces) - 1)
                while left and (chunk := source.read(min(left, SMALLEST))):
                    target.write(chunk)
                    left -= len(chunk)
            file.unlink()
