"""What a response holds, span by span, so that the counts of several responses add up.

A response is counted apart before and after the moment up to which an earlier one has read, and on
either side of every UTC midnight: what is read again can then be compared with what was read first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from ..windows import DAY, Window
from .drift import count_paths
from .lateness import inside_of


@dataclass
class SpanCounts:
    """What of a span is in a response.

    Attributes:
        events: Its events.
        distinct: Different ids among them. They are counted batch by batch; a response is in order
            of time, so that events of one id stand side by side.
        types: Events by type; unknown types included, and ``""`` for none.
        unmapped: Events with a value that has no column, by payload path.
    """

    events: int = 0
    distinct: int = 0
    types: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)

    def add(self, other: SpanCounts) -> None:
        """Adds what another part of the response has."""
        self.events += other.events
        self.distinct += other.distinct
        self.types.update(other.types)
        count_paths(self.unmapped, other.unmapped)


def cut(window: Window, read_until: int | None, midnights_from: int) -> tuple[Window, ...]:
    """The spans of a window that are counted each.

    Args:
        window: The window, milliseconds since the epoch.
        read_until: Up to where an earlier request has read, if one has.
        midnights_from: UTC midnights before it are no cuts.

    >>> [str(span) for span in cut(Window(DAY - 5000, DAY + 5000), DAY + 1000, 0)]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['[1970-01-01T23:59:55Z, 1970-01-02T00:00:00Z)', '[1970-01-02T00:00:00Z, 1970-01-02T00:00:01Z)',
     '[1970-01-02T00:00:01Z, 1970-01-02T00:00:05Z)']
    """
    first = max(window.start // DAY + 1, -(-midnights_from // DAY)) * DAY
    cuts = set(range(first, window.end, DAY))
    if read_until is not None and window.start < read_until < window.end:
        cuts.add(read_until)
    bounds = [window.start, *sorted(cuts), window.end]
    return tuple(Window(start, end) for start, end in pairwise(bounds))


def count_by_span(
    spans: Sequence[Window],
    timestamps: pa.ChunkedArray,
    ids: pa.ChunkedArray,
    types: pa.ChunkedArray,
) -> Iterator[tuple[int, SpanCounts]]:
    """Counts a batch of events.

    Args:
        spans: In order, without a gap. Events outside are not counted.
        timestamps: Milliseconds since the epoch, none NULL.
        ids: Their ids.
        types: Their types.

    Yields:
        The number of each span that has events, and what it has.
    """
    ends = pc.min_max(timestamps).as_py()
    if ends["min"] is None:
        return
    first, last = span_of(spans, ends["min"]), span_of(spans, ends["max"])
    if first == last and spans[first].start <= ends["min"] and ends["max"] < spans[first].end:
        yield first, _counted(ids, types)
        return
    for number in range(first, last + 1):
        inside = inside_of(timestamps, spans[number])
        found = _counted(ids.filter(inside), types.filter(inside))
        if found.events:
            yield number, found


def span_of(spans: Sequence[Window], moment: int | None) -> int:
    """The number of the span that a moment lies in; the nearest of one that lies outside."""
    if moment is None:
        return 0
    return max(0, bisect_right(spans, moment, key=lambda span: span.start) - 1)


def _counted(ids: pa.ChunkedArray, types: pa.ChunkedArray) -> SpanCounts:
    return SpanCounts(
        len(ids),
        pc.count_distinct(ids).as_py(),
        Counter({one["values"] or "": one["counts"] for one in types.value_counts().to_pylist()}),
    )


def paths_by_span(
    spans: Sequence[Window], timestamps: pa.ChunkedArray, paths: Mapping[int, Sequence[str]]
) -> Iterator[tuple[int, Counter[str]]]:
    """Counts payload paths without a column.

    Args:
        spans: As for ``count_by_span``.
        timestamps: Those of a batch; NULL where an event has none.
        paths: The paths of events, by their row in the batch.

    Yields:
        The number of a span, and its paths; those of events outside are with the nearest.
    """
    for row, found in paths.items():
        yield span_of(spans, timestamps[row].as_py()), Counter(dict.fromkeys(found, 1))
