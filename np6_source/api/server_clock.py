"""The API's time, not this machine's.

A window may only be called complete up to a moment that has passed on the server. Its ``Date``
header tells how far the local clock is off; a clock that is an hour wrong in either direction
then loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

from ..windows import SECOND, to_datetime, to_ms

NOISE_MS = 2 * SECOND
"""Differences up to this are the header's resolution and the way of the response."""


class ServerClock:
    """Tells the API's time from the local clock and the ``Date`` headers seen so far.

    Attributes:
        offset_ms: Milliseconds by which the server is ahead of the local clock.
        is_known: Whether a response had a usable ``Date`` header.
    """

    def __init__(self, local: Callable[[], float] = time.time) -> None:
        """Starts from the local clock.

        Args:
            local: Seconds since the epoch.
        """
        self._local = local
        self.offset_ms = 0
        self.is_known = False

    def now(self) -> int:
        """Milliseconds since the epoch, on the server."""
        return int(self._local() * SECOND) + self.offset_ms

    def earlier(self) -> int:
        """The earlier of the server's time and this machine's, milliseconds since the epoch.

        What is requested by a clock that is ahead would else be of the future once it is set right.
        """
        return int(self._local() * SECOND) + min(0, self.offset_ms)

    def observe(self, date_header: str | None) -> None:
        """Takes note of a response's ``Date`` header; an unreadable one is left aside."""
        if not date_header:
            return
        try:
            date = to_ms(parsedate_to_datetime(date_header))
        except (ValueError, OverflowError):
            return
        self.is_known = True
        difference = date - int(self._local() * SECOND)
        self.offset_ms = difference if abs(difference) > NOISE_MS else 0


def as_utc(ms: int) -> datetime:
    """The UTC datetime of milliseconds since the epoch, to the second."""
    return to_datetime(ms // SECOND * SECOND)
