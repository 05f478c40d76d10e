"""How late events become visible, measured on the overlap that each run reads again.

A run remembers how many events it saw in each short span at its end. The next run reads that
stretch again; where it finds more, events became readable after their timestamp. Pure functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..windows import DAY, SECOND, Window

SHORTEST_BUCKET = 10 * SECOND
"""Milliseconds counted together, at least."""

BUCKETS = 60
"""Buckets that an overlap is cut into, at most."""

EDGE = 0.5
"""Share of the overlap beyond which lateness deserves a warning."""

DELAYS = (
    ("10m", 600 * SECOND),
    ("1h", 3600 * SECOND),
    ("6h", 6 * 3600 * SECOND),
    *((f"{days}d", days * DAY) for days in (1, 2, 4, 8, 16, 32)),
)
"""Names of the buckets of how late an event became visible at most, and their milliseconds."""
BUCKET_DAYS = {**{name: ms / DAY for name, ms in DELAYS}, "more": 64.0}
"""The same in days; what is later than all is in ``more``."""
NONE = "none"
"""In place of a bucket: no event was late."""


@dataclass(frozen=True)
class Histogram:
    """Which events of a response are counted per bucket of time.

    Attributes:
        spans: Spans of time to count in.
        width: Milliseconds per bucket.
    """

    spans: tuple[Window, ...]
    width: int

    def counts(self, timestamps: pa.ChunkedArray) -> Counter[int]:
        """Events per bucket number (timestamp divided by the width).

        Args:
            timestamps: Milliseconds since the epoch, none NULL.
        """
        buckets: Counter[int] = Counter()
        for span in self.spans:
            inside = timestamps.filter(inside_of(timestamps, span))
            for entry in pc.divide(inside, self.width).value_counts().to_pylist():
                buckets[entry["values"]] += entry["counts"]
        return buckets


def inside_of(timestamps: pa.ChunkedArray, window: Window) -> pa.ChunkedArray:
    """Whether each timestamp lies in a window."""
    return pc.and_(pc.greater_equal(timestamps, window.start), pc.less(timestamps, window.end))


@dataclass(frozen=True)
class Lateness:
    """What the overlap of one run showed.

    Attributes:
        late_events: Events that were not there when their window was first read.
        latest_ms: The longest time, at most, between such an event's timestamp and that first
            reading; the event became visible later than that.
    """

    late_events: int = 0
    latest_ms: int = 0

    def joined(self, other: Lateness) -> Lateness:
        """Both together."""
        return Lateness(self.late_events + other.late_events, max(self.latest_ms, other.latest_ms))


def bucket_width(overlap_ms: int) -> int:
    """Milliseconds counted together for an overlap."""
    return max(SHORTEST_BUCKET, -(-overlap_ms // BUCKETS))


def measured(
    before: Mapping[int, int],
    now: Mapping[int, int],
    width: int,
    read_again: Window,
    first_read_at: int,
) -> Lateness:
    """Compares two readings of the same stretch.

    Args:
        before: Events per bucket number (timestamp divided by the width) at the first reading.
        now: The same at the second.
        width: Milliseconds per bucket.
        read_again: The stretch that both readings cover; buckets on its edges are left out.
        first_read_at: When it was first read, milliseconds since the epoch.
    """
    late = {
        bucket: count - before.get(bucket, 0)
        for bucket, count in now.items()
        if count > before.get(bucket, 0)
        and bucket * width >= read_again.start
        and (bucket + 1) * width <= read_again.end
    }
    if not late:
        return Lateness()
    return Lateness(sum(late.values()), max(0, first_read_at - min(late) * width))


def advice(lateness: Lateness, overlap_ms: int) -> str | None:
    """A warning where an event came near the overlap's edge, with the overlap to set."""
    if not lateness.late_events or lateness.latest_ms < EDGE * overlap_ms:
        return None
    seconds = -(-2 * lateness.latest_ms // (60 * SECOND)) * 60
    return (
        f"{lateness.late_events} events became visible up to {lateness.latest_ms // SECOND} s"
        f" after their timestamp or later; the overlap of {overlap_ms // SECOND} s may miss some:"
        f" set overlap={seconds}"
    )


def delay_bucket(delay_ms: int) -> str:
    """The bucket of a delay.

    >>> delay_bucket(60_000), delay_bucket(9 * 86_400_000), delay_bucket(40 * 86_400_000)
    ('10m', '16d', 'more')
    """
    return next((name for name, most in DELAYS if delay_ms <= most), "more")
