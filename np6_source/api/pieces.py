"""Cuts a response's body into files while it comes in, so that several threads read it meanwhile.

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

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NUL_ESCAPE = b"\\u0000"
"""The escape of the NUL character, which many destinations refuse in text."""

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
        # Of one byte a search takes a fiftieth of the time, and most bodies have no backslash.
        is_in_chunk = b"\\" in chunk and NUL_ESCAPE in chunk
        self._has_nul = self._has_nul or is_in_chunk or NUL_ESCAPE in edge
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
