"""Pieces of a response that the run before has loaded, and that need not be loaded again.

Every run reads an overlap again, of which nearly everything is as it was. A body that reaches into
it is cut by content, so that the same events come in the same pieces. The progress keeps the
digests of the pieces in the overlap, with what a run tells of them: dlt commits it with the tables.
The next run counts a piece that it knows, in place of parsing, writing and merging it. An event
that is changed, late or gone changes its piece.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..events.lateness import Histogram
from ..events.reader import ResponseContents
from ..events.spans import SpanCounts
from ..windows import Window
from .facts import EventFacts

MOST = 1_000
"""Pieces that are kept of one scope, the newest: 1.3 GB of events, in 70 KB of dlt's state."""

FEWEST = 100
"""Events of a piece that is kept: fewer are loaded again faster than thousands of ids are kept."""


@dataclass(frozen=True)
class KnownPiece:
    """What a run tells of the events of a piece.

    Attributes:
        earliest: Timestamp of its first event, milliseconds since the epoch.
        latest: Timestamp of its last.
        event_count: Its events.
        distinct_count: Different ids among them, as ``SpanCounts`` counts them.
        type_counts: Events by type.
        buckets: Events per bucket of time, see ``lateness``.
    """

    earliest: int
    latest: int
    event_count: int
    distinct_count: int
    type_counts: Mapping[str, int]
    buckets: Mapping[int, int]

    def to_state(self) -> list[Any]:
        """The piece as JSON values."""
        return [
            self.earliest,
            self.latest - self.earliest,
            self.event_count,
            self.distinct_count,
            dict(self.type_counts),
            {str(bucket): count for bucket, count in self.buckets.items()},
        ]

    @classmethod
    def from_state(cls, state: list[Any]) -> KnownPiece:
        """The piece from the JSON values of ``to_state``."""
        earliest, width, events, distinct, types, buckets = state
        counted = {int(bucket): count for bucket, count in buckets.items()}
        return cls(earliest, earliest + width, events, distinct, types, counted)

    def fits(self, window: Window, histogram: Histogram) -> bool:
        """Whether its counts are exact for a window and what is counted in it."""
        return _is_inside(self, window) and any(_is_inside(self, s) for s in histogram.spans)

    def number_in(self, spans: Sequence[Window]) -> int | None:
        """The number of the span that has all of its events; None: none has.

        Args:
            spans: The parts of a window that are counted each.
        """
        return next((n for n, span in enumerate(spans) if _is_inside(self, span)), None)

    def contents(self, number: int = 0) -> ResponseContents:
        """As reading it would find them.

        Args:
            number: The number of their span.
        """
        counts = SpanCounts(self.event_count, self.distinct_count, Counter(self.type_counts))
        return ResponseContents(
            event_count=self.event_count,
            known=self.event_count,
            buckets=Counter(self.buckets),
            by_span={number: counts},
        )

    def facts(self) -> EventFacts:
        """As reading it would find them, but for whose events they are: that was seen before."""
        return EventFacts(earliest=self.earliest, latest=self.latest)


def known_piece(
    contents: ResponseContents, facts: EventFacts, window: Window, histogram: Histogram
) -> KnownPiece | None:
    """What to keep of a piece that was read.

    Args:
        contents: What was found in it.
        facts: What its events have in common.
        window: The window of the response.
        histogram: What was counted in it.

    Returns:
        None: every run has to report something in it, or the counts are of a part of it.
    """
    is_plain = contents.row_count == contents.event_count >= FEWEST
    if not is_plain or contents.repaired or contents.unmapped:
        return None
    if facts.earliest is None or facts.latest is None:
        return None
    counts = SpanCounts()
    for of_span in contents.by_span.values():
        counts.add(of_span)
    piece = KnownPiece(
        facts.earliest,
        facts.latest,
        contents.event_count,
        counts.distinct,
        dict(counts.types),
        dict(contents.buckets),
    )
    return piece if piece.fits(window, histogram) else None


def newest(pieces: Mapping[str, KnownPiece], since: int) -> dict[str, KnownPiece]:
    """The pieces that a next run can meet again, as many as are kept.

    Args:
        pieces: By digest.
        since: Where the next run begins to read, milliseconds since the epoch.
    """
    in_order = sorted(pieces.items(), key=lambda item: item[1].latest)
    return {digest: piece for digest, piece in in_order[-MOST:] if piece.earliest >= since}


def _is_inside(piece: KnownPiece, span: Window) -> bool:
    return span.start <= piece.earliest and piece.latest < span.end
