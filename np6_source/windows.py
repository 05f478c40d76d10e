"""Half-open windows ``[start, end)`` of event time: plan, split, prove coverage.

All instants are whole milliseconds since the epoch, UTC: the unit of the API's timestamps. Pure
functions and values; nothing here knows of HTTP or dlt.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

SECOND = 1_000
DAY = 86_400 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since the epoch, rounded down. A naive value is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    # Not by subtracting: pendulum's datetimes give a duration that timedelta cannot divide.
    return calendar.timegm(moment.utctimetuple()) * SECOND + moment.microsecond // 1_000


def to_datetime(ms: int) -> datetime:
    """The UTC datetime of milliseconds since the epoch, exactly."""
    return _EPOCH + timedelta(milliseconds=ms)


def iso(ms: int) -> str:
    """ISO 8601 text with a ``Z``; fractions only where there are any.

    >>> iso(1566656122000)
    '2019-08-24T14:15:22Z'
    """
    moment = to_datetime(ms)
    timespec = "milliseconds" if ms % SECOND else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


@dataclass(frozen=True, order=True)
class Window:
    """A half-open span of event time.

    Attributes:
        start: First millisecond inside.
        end: First millisecond after it.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"Empty window {self}")

    def __str__(self) -> str:
        return f"[{iso(self.start)}, {iso(self.end)})"

    @property
    def width(self) -> int:
        """Milliseconds from start to end."""
        return self.end - self.start

    def halves(self) -> tuple[Window, Window]:
        """Two windows that cover this one, cut at a whole second.

        Raises:
            ValueError: The window is a second or less, which is not split any further.
        """
        if self.width <= SECOND:
            raise ValueError(f"Window {self} is not split below one second")
        middle = (self.start + self.width // 2) // SECOND * SECOND
        if middle <= self.start:
            middle += SECOND
        return Window(self.start, middle), Window(middle, self.end)


@dataclass(frozen=True)
class Pace:
    """How wide the next window should be, given the responses so far.

    A pace is a value: the methods return the next one, and the same responses in the same order
    lead to the same windows.

    Attributes:
        width: Width of the next window, milliseconds.
        target_bytes: Size of a response to aim at.
        widest: Width not to exceed, milliseconds.
    """

    width: int
    target_bytes: int = 64 * 1024 * 1024
    widest: int = 366 * DAY

    def next_window(self, start: int, end: int) -> Window:
        """The first window of the span ``[start, end)``.

        Taken one after the other, such windows cover the span exactly and never overlap,
        whatever the pace. Cuts fall on whole seconds, so that bounds are sent without fractions.
        """
        cut = start + self.width
        whole = cut // SECOND * SECOND
        return Window(start, min(whole if whole > start else cut, end))

    def answered(self, window: Window, byte_count: int) -> Pace:
        """The pace after a response: wider while responses are small, narrower when they are large.

        Args:
            window: The window that was requested.
            byte_count: Size of its response, uncompressed.
        """
        if byte_count * _WIDENING <= self.target_bytes:
            if window.width > self.width - SECOND:
                return replace(
                    self, width=max(min(self.width * _WIDENING, self.widest), self.width)
                )
        elif byte_count > self.target_bytes and window.width <= self.width:
            return self.refused(window)
        return self

    def refused(self, window: Window) -> Pace:
        """The pace after a window that was too large: half of it, but not below a second."""
        return replace(self, width=max(min(self.width, window.width // 2), SECOND))


_WIDENING = 4


def merged(windows: Iterable[Window]) -> list[Window]:
    """The same coverage in as few windows as possible: sorted; those that touch are joined."""
    result: list[Window] = []
    for window in sorted(windows):
        if result and window.start <= result[-1].end:
            result[-1] = Window(result[-1].start, max(result[-1].end, window.end))
        else:
            result.append(window)
    return result


def gaps(span: Window, covered: Iterable[Window]) -> list[Window]:
    """The parts of ``span`` that no window covers, in order."""
    missing: list[Window] = []
    position = span.start
    for window in merged(covered):
        if window.end <= position:
            continue
        if window.start >= span.end:
            break
        if window.start > position:
            missing.append(Window(position, window.start))
        position = window.end
    if position < span.end:
        missing.append(Window(position, span.end))
    return missing
