"""Where the body of a response goes: into memory, into a file, or into pieces for a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import RequestContext, SpoolFailed
from .pieces import Piece, PieceWriter, private


class BodySink(Protocol):
    """Takes a body while it comes in."""

    def start(self, requested_at: int, context: RequestContext) -> None:
        """A body begins; what came of an earlier attempt, if any, is void.

        Args:
            requested_at: When the request was sent, see ``client.ResponseFacts``.
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
