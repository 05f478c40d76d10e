"""A body becomes files while it comes in, so that it is read beside the download and by several.

Each file, a piece, is a JSON array of its own, of events that follow each other. A long body is cut
between two events: where a comma stands between a closing and an opening brace, and the key behind
it is the one that the body's first event begins with. Within a text there is no such place, its
quotes would be escaped; but there can be one in a list within an event. Then the piece before it is
no JSON, because what is open there is never closed: DuckDB refuses it, and ``join`` gives the body
back to be read as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..events.json_file import NUL_ESCAPE

SMALLEST = 1024 * 1024
"""Bytes of the first piece: the sooner one is read, the sooner the shapes of events are known."""
LARGEST = 16 * 1024 * 1024
"""Bytes from which on a piece is cut at the next event; those after the first grow up to it."""
_GROWTH = 4

_HEAD = 256
_BLANK = rb"[ \t\r\n]*"
_BEGINNING = re.compile(
    rb"(?:\xef\xbb\xbf)?%b\[%b\{%b(\"[^\"\\]{1,100}\")%b:" % (_BLANK, _BLANK, _BLANK, _BLANK)
)


@dataclass(frozen=True)
class Piece:
    """A file with events of an answer, as a JSON array.

    Attributes:
        file: The file. Whoever takes the piece deletes it.
        has_nul: Whether it holds escapes of the NUL character.
    """

    file: Path
    has_nul: bool


class PieceWriter:
    """Writes a body to pieces. What is short is one piece, byte by byte as it came."""

    def __init__(self, folder: Path, name: str, take: Callable[[Piece], None]) -> None:
        """Opens the first file.

        Args:
            folder: Folder for the files.
            name: Distinguishes this body's files.
            take: Called with each piece as soon as it is complete.

        Raises:
            OSError: The file cannot be made.
        """
        self._folder = folder
        self._name = name
        self._take = take
        self._count = 0
        self._goal = SMALLEST
        self._head = b""
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
            # A place that two chunks share is passed over; there is another in the next.
            cut = self._between.search(chunk, max(0, self._goal - self._size))
            if cut is None:
                break
            self._append(chunk[: cut.start() + 1])
            self._target.write(b"]")
            self._complete()
            self._goal = min(self._goal * _GROWTH, LARGEST)
            self._open()
            self._append(b"[")
            chunk = chunk[cut.end() :]
        self._append(chunk)

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
        self._target: BinaryIO = self._file.open("wb")
        self._count += 1
        self._size = 0
        self._has_nul = False
        self._tail = b""

    def _append(self, chunk: bytes) -> None:
        edge = self._tail + chunk[: len(NUL_ESCAPE)]
        self._has_nul = self._has_nul or NUL_ESCAPE in chunk or NUL_ESCAPE in edge
        self._tail = (edge if len(chunk) < len(NUL_ESCAPE) else chunk)[-len(NUL_ESCAPE) :]
        self._target.write(chunk)
        self._size += len(chunk)

    def _complete(self) -> None:
        self._target.close()
        self._take(Piece(self._file, self._has_nul))


def _between(head: bytes) -> re.Pattern[bytes] | None:
    """What stands between two events of a body, by its beginning; None: it is not to be cut."""
    beginning = _BEGINNING.match(head)
    if beginning is None:
        return None
    key = re.escape(beginning[1])
    return re.compile(rb"\}%b,%b(?=\{%b%b%b:)" % (_BLANK, _BLANK, _BLANK, key, _BLANK))


def join(pieces: Sequence[Path], whole: Path) -> None:
    """Puts a body together again.

    Args:
        pieces: The files of its pieces, in order; they are removed.
        whole: The file to write.

    Raises:
        OSError: It cannot be written.
    """
    with whole.open("wb") as target:
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
