"""The sandbox's clock: what is readable, and what the ``Date`` header says."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from .operations import moment as parsed_moment

TMoment = datetime | int | float | str
"""A point in time: a datetime (without offset: UTC), milliseconds since the epoch, ISO text."""


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


def milliseconds(moment: TMoment) -> int:
    """Milliseconds since the epoch, UTC.

    Raises:
        ValueError: It is no moment.
    """
    if isinstance(moment, str):
        return parsed_moment(moment)
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (moment - epoch) // timedelta(milliseconds=1)
    return int(moment)


def _machine_time() -> int:
    return time.time_ns() // 1_000_000
