"""The time a made-up account covers, in milliseconds since the epoch, UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from ..clock import TMoment, milliseconds

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

DEFAULT_START = datetime(2025, 1, 6, tzinfo=timezone.utc)
DEFAULT_SPAN = timedelta(weeks=8)


def span_of(start: TMoment | None, end: TMoment | None) -> tuple[int, int]:
    """Start and end, with the defaults where they are not given.

    Raises:
        ValueError: The end does not lie behind the start.
    """
    first = milliseconds(DEFAULT_START if start is None else start)
    last = first + DEFAULT_SPAN // timedelta(milliseconds=1) if end is None else milliseconds(end)
    if last <= first:
        raise ValueError("end must lie behind start")
    return first, last
