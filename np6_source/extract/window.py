"""One window: requested, read while its response comes in, and kept until it is known complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from ..api.body import BodyInPieces
from ..api.client import ResponseFacts, WindowRequest
from ..api.pieces import Piece, join
from ..api.responses import fewer_than_announced, unreadable
from ..errors import (
    BadAnswer,
    NotSettled,
    RequestContext,
    RequestFailed,
    SpoolFailed,
    WindowTooLarge,
)
from ..events.json_file import ResponseTooLarge, UnreadableResponse, repair
from ..events.lateness import Histogram
from ..events.reader import ResponseContents
from ..events.rows import Origin
from ..events.spans import cut
from ..ledger import of_scope_key
from ..windows import Window, iso
from .facts import EventFacts
from .known_pieces import KnownPiece, known_piece
from .lateness import LatenessProbe
from .session import ExtractSession, Tools
from .spool import Importing, TableStash

logger = logging.getLogger(__name__)

TRead = tuple[ResponseContents, EventFacts]
"""What was found in a body, or in a piece of it."""


@dataclass(frozen=True)
class LoadableWindow:
    """A window whose response was read to its end.

    Attributes:
        window: The span that is complete.
        response: What is known of the response beside its body.
        contents: What was found in it.
        spans: The parts of the window that ``contents`` counts each.
        stash: The tables.
        counted: The spans in which ``contents.buckets`` counts.
        facts: What its events have in common.
        context: What the response is for, for messages.
        pieces: Pieces that the next run may meet again, by digest.
    """

    window: Window
    response: ResponseFacts
    contents: ResponseContents
    spans: tuple[Window, ...]
    stash: TableStash
    counted: tuple[Window, ...]
    facts: EventFacts
    context: RequestContext
    pieces: Mapping[str, KnownPiece] = field(default_factory=dict)

    @property
    def byte_count(self) -> int:
        """Size of the response, uncompressed."""
        return self.response.byte_count

    def discard(self) -> None:
        """Frees the tables."""
        self.stash.discard()


@dataclass(frozen=True)
class LoadableSpan:
    """A span whose responses were all read to their ends: one for each class of robots.

    Attributes:
        parts: What each request returned, by its class of robots, in the order of the requests.
    """

    parts: Mapping[str, LoadableWindow]

    @property
    def window(self) -> Window:
        """The span that is complete."""
        return next(iter(self.parts.values())).window

    @property
    def byte_count(self) -> int:
        """Size of the responses."""
        return sum(part.byte_count for part in self.parts.values())

    @property
    def event_count(self) -> int:
        """Events inside the span, by all responses."""
        return sum(part.contents.event_count for part in self.parts.values())

    def discard(self) -> None:
        """Frees the tables."""
        for part in self.parts.values():
            part.discard()


@dataclass(frozen=True)
class ReadingOptions:
    """How a window's response is read.

    Attributes:
        must_be_whole: Nothing may be cut off, though it has not settled.
        keep_bad_events: Put events that cannot be taken into ``rejected_events``.
        robot_class: The one class of robots whose hits are requested, if any.
        keep_ids: Keep the events' ids in ``LoadableWindow.facts``.
        importing: Which tables may be handed on as files; None: none.
    """

    must_be_whole: bool
    keep_bad_events: bool = False
    robot_class: str | None = None
    keep_ids: bool = False
    importing: Importing | None = None


def load_window(
    session: ExtractSession,
    tools: Tools,
    request: WindowRequest,
    probe: LatenessProbe,
    options: ReadingOptions,
) -> LoadableWindow:
    """Fetches a window and reads its response.

    Args:
        session: Knows up to where windows are settled; what of the window is younger is cut off.
        tools: What is open during the extraction.
        request: What to ask for.
        probe: Says what to count in ``LoadableWindow.contents`` once the response begins, when the
            server's time is known, and up to where an earlier run has read: counted apart.
        options: How to read it.

    Raises:
        RequestFailed: The class says what it means, see ``errors``. No file stays.
    """
    reading = _ResponseReading(session, tools, request, probe, options)
    name = f"{time.monotonic_ns()}-{id(reading)}"
    unfit: RequestFailed | None
    try:
        response = tools.client.fetch(
            request, BodyInPieces(tools.spool, name, reading, reading.meets_overlap)
        )
        contents, facts, stash = reading.finished()
        unfit = fewer_than_announced(
            response.total_count, contents.row_count, reading.context
        ) or _of_another_time(contents, reading.context)
        if unfit is not None:
            stash.discard()
    except RequestFailed:
        raise
    except Exception as error:
        unfit = unreadable(error, reading.context)
    finally:
        reading.clear()
    # Out here, because what DuckDB and Arrow say may quote the body.
    if unfit is not None:
        raise unfit
    window = reading.window
    _warn_of_unusual(request, contents, reading.context)
    counted = tuple(
        Window(max(span.start, window.start), min(span.end, window.end))
        for span in (reading.counting.spans if reading.counting else ())
        if span.start < window.end and window.start < span.end
    )
    return LoadableWindow(
        window,
        response,
        contents,
        reading.spans,
        stash,
        counted,
        facts,
        reading.context,
        reading.pieces,
    )


def _of_another_time(contents: ResponseContents, context: RequestContext) -> BadAnswer | None:
    """The failure of a response that has events, but none of its window."""
    if not contents.is_of_another_time:
        return None
    return BadAnswer(
        context,
        f"none of the {contents.row_count} events lies inside the window",
        "Nothing of the window was loaded; its progress is kept. Either the API does not keep to"
        " the bounds, or it sends timestamps in another unit than milliseconds: ask NP6.",
    )


def _warn_of_unusual(
    request: WindowRequest, contents: ResponseContents, context: RequestContext
) -> None:
    if contents.outside:
        logger.warning(
            "%s: %d events lie outside the window; they are loaded all the same. [%s]",
            request.endpoint.name,
            contents.outside,
            context,
        )
    if contents.repaired:
        logger.warning(
            "%s: %d characters are no Unicode text; the events hold them as U+FFFD with the byte or"
            " the code point in brackets. [%s]",
            request.endpoint.name,
            contents.repaired,
            context,
        )
    if contents.rejected:
        logger.warning(
            "%s: %d events could not be taken; they are in rejected_events. [%s]",
            request.endpoint.name,
            contents.rejected,
            context,
        )


class _ResponseReading:
    """Reads the pieces of a response as they come.

    Attributes:
        window: The span that is complete once the response was read.
        context: What the response is for, for messages.
        spans: The parts of ``window`` that are counted each.
        counting: What is counted in it.
        pieces: What the next run may know of it, by digest.
    """

    def __init__(
        self,
        session: ExtractSession,
        tools: Tools,
        request: WindowRequest,
        probe: LatenessProbe,
        options: ReadingOptions,
    ) -> None:
        self.window = request.window
        self.spans: tuple[Window, ...] = (request.window,)
        self.context = request.context
        self.counting: Histogram | None = None
        self._session = session
        self._tools = tools
        self._request = request
        self._probe = probe
        self._options = options
        self._requested_at = 0
        self.pieces: dict[str, KnownPiece] = {}
        self._files: list[Path] = []
        self._readings: list[tuple[str, Future[TRead]]] = []
        self._stash: TableStash | None = None

    def start(self, requested_at: int, context: RequestContext) -> None:
        """See ``body.PieceReader``.

        Raises:
            NotSettled: The window is not over, by the server's clock.
        """
        self.clear()
        self.pieces.clear()
        self.context, self._requested_at = context, requested_at
        requested = self._request.window
        settled = self._session.settled(requested_at)
        if settled <= requested.start or (settled < requested.end and self._options.must_be_whole):
            raise NotSettled(
                context,
                f"the window is not over: by the earlier of the server's clock and this machine's"
                f" it has settled up to {iso(settled)}",
                "Set this machine's clock, or wait; the window is left to a later run.",
            )
        self.window = Window(requested.start, min(requested.end, settled))
        apart = self._session.kept_apart(self._request.endpoint)
        self.spans = cut(self.window, self._probe.read_until, requested_at - apart)
        self.counting = self._probe.counting(self.window)

    def meets_overlap(self) -> bool:
        """Whether runs read a part of the window more than once, and may know it again."""
        # Ids are compared with those of another response, so that all of them are wanted.
        if self.counting is None or self._options.keep_ids or not self._probe.keeps_pieces:
            return False
        return any(
            span.start < self.window.end and self.window.start < span.end
            for span in self.counting.spans
        )

    def add(self, piece: Piece) -> None:
        """See ``body.PieceReader``."""
        if self._stash is None:
            self._stash = TableStash(self._tools.spool, piece.file.stem, self._options.importing)
        self._files.append(piece.file)
        known = self._probe.known_pieces.get(piece.digest)
        number = known.number_in(self.spans) if known is not None else None
        if (
            known is not None
            and number is not None
            and self.counting
            and known.fits(self.window, self.counting)
        ):
            reading: Future[TRead] = Future()
            reading.set_result((known.contents(number), known.facts()))
        else:
            reading = self._tools.parsers.submit(self._read_piece, piece, self._stash)
        self._readings.append((piece.digest, reading))

    def finished(self) -> tuple[ResponseContents, EventFacts, TableStash]:
        """Waits until everything is read.

        Raises:
            WindowTooLarge: Reading takes too much memory.
            BadAnswer: It is not a JSON array of events.
            SpoolFailed: Temporary files cannot be written or read.
        """
        assert self._stash is not None
        try:
            try:
                contents, facts = ResponseContents(), EventFacts()
                for digest, reading in self._readings:
                    more_contents, more_facts = reading.result()
                    contents.add(more_contents)
                    facts.add(more_facts)
                    self._keep(digest, more_contents, more_facts)
            except ResponseTooLarge:
                raise
            except UnreadableResponse as problem:
                self._stop_reading()
                self.pieces.clear()
                contents, facts = self._read_as_a_whole(problem, self._stash)
            self._stash.complete()
        except ResponseTooLarge as error:
            raise WindowTooLarge(
                self.context, str(error), "Nothing of the window was loaded."
            ) from None
        except UnreadableResponse as error:
            raise BadAnswer(
                self.context, str(error), "Nothing of the window was loaded; its progress is kept."
            ) from None
        except OSError as error:
            raise SpoolFailed(
                self.context,
                f"temporary files could not be written to {self._tools.spool}: {error.strerror}",
                "Nothing of the window was loaded; make room and run again.",
            ) from None
        stash, self._stash = self._stash, None
        return contents, facts, stash

    def clear(self) -> None:
        """Removes what was not handed on."""
        self._stop_reading()
        if self._stash is not None:
            self._stash.discard()
            self._stash = None
        for file in self._files:
            file.unlink(missing_ok=True)
        self._files.clear()

    def _keep(self, digest: str, contents: ResponseContents, facts: EventFacts) -> None:
        if digest and self.counting is not None:
            piece = known_piece(contents, facts, self.window, self.counting)
            if piece is not None:
                self.pieces[digest] = piece

    def _stop_reading(self) -> None:
        for _, reading in self._readings:
            reading.cancel()
        wait([reading for _, reading in self._readings])
        self._readings.clear()

    def _read_as_a_whole(self, problem: UnreadableResponse, stash: TableStash) -> TRead:
        """Reads the body once more, in one piece, and repaired if it has to be."""
        file = self._files[0]
        if len(self._files) > 1:
            file = file.with_name(f"{file.stem}-whole.json")
            pieces, self._files = self._files, [*self._files, file]
            join(pieces, file)
            stash.discard()
            try:
                return self._read(file, stash)
            except ResponseTooLarge:
                raise
            except UnreadableResponse as error:
                problem = error
        repaired = repair(file)
        if not repaired:
            raise problem
        stash.discard()
        contents, facts = self._read(file, stash)
        contents.repaired = repaired
        return contents, facts

    def _read_piece(self, piece: Piece, stash: TableStash) -> TRead:
        repaired = repair(piece.file) if piece.has_nul else 0
        contents, facts = self._read(piece.file, stash)
        contents.repaired = repaired
        return contents, facts

    def _read(self, file: Path, stash: TableStash) -> TRead:
        contents, facts = ResponseContents(), EventFacts()
        endpoint = self._request.endpoint
        is_campaign = endpoint.path.startswith("/campaigns/{id}")
        origin = Origin(
            window=self.window,
            requested=self._request.requested,
            requested_at=self._requested_at,
            resource=endpoint.name,
            scope=of_scope_key(self._request.scope_label)[0],
            event_type=endpoint.event_type,
            campaign_id=self._request.scope if is_campaign else None,
            robot_class=self._options.robot_class,
            spans=self.spans,
        )
        for tables in self._tools.reader.read(
            file, origin, contents, self.counting, self._options.keep_bad_events
        ):
            facts.see(tables, self.window, self._options.keep_ids)
            stash.add(tables)
        return contents, facts
