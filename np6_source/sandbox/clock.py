"""Moments in time, and the sandbox's clock: what is readable, what the ``Date`` header says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

TMoment = datetime | int | float | str
"""A point in time: a datetime (without offset: UTC), milliseconds since the epoch, ISO text."""

ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:T(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.IGNORECASE,
)


class SandboxClock:
    """A clock that can be set, moved and replaced."""

    def __init__(self) -> None:
        """Starts with the machine's time."""
        self._read: Callable[[], int] = _machine_time

    def set(self, now: TMoment | timedelta | Callable[[], TMoment] | None) -> None:
        """Sets the clock.

        Args:
            now: A moment stops the clock there; a timedelta lets it run so far ahead of the
                machine's time (negative: behind); a callable is asked each time; None: the
                machine's time.

        Raises:
            ValueError: It is no moment.
        """
        if now is None:
            self._read = _machine_time
        elif isinstance(now, timedelta):
            shift = now // timedelta(milliseconds=1)
            self._read = lambda: _machine_time() + shift
        elif callable(now):
            ask = now
            self._read = lambda: milliseconds(ask())
        else:
            fixed = milliseconds(now)
            self._read = lambda: fixed

    def milliseconds(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return self._read()


def moment(text: str) -> int:
    """Milliseconds since the epoch, UTC, of a date as the API takes it.

    An ISO date (without offset: UTC) or a number of milliseconds since the epoch. A fraction of a
    millisecond is rounded up, which keeps inclusive starts and exclusive ends exact on whole
    milliseconds.

    Raises:
        ValueError: It is neither.
    """
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    found = ISO.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is neither an ISO date nor milliseconds since the epoch")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    nanoseconds = int((found.group(7) or "").ljust(9, "0"))
    offset = (found.group(8) or "Z").upper()
    try:
        whole = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    if offset != "Z":
        digits = offset[1:].replace(":", "").ljust(4, "0")
        shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        try:
            whole += shift if offset[0] == "-" else -shift
        except OverflowError:
            raise ValueError(f"{text!r} is out of range") from None
    seconds = (whole - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(seconds=1)
    return seconds * 1000 - (-nanoseconds // 1_000_000)


def milliseconds(value: TMoment) -> int:
    """Milliseconds since the epoch, UTC.

    Raises:
        ValueError: It is no moment.
    """
    if isinstance(value, str):
        return moment(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=timezone.utc)
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (value - epoch) // timedelta(milliseconds=1)
    return int(value)


def _machine_time() -> int:
    return time.time_ns() // 1_000_000
