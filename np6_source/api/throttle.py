"""All requests of a run share one budget: when the API says slow down, they slow down together."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from ..windows import DAY, SECOND, to_ms
from .waits import LOOK_EVERY

logger = logging.getLogger(__name__)

LONGEST_BELIEVED = 366 * DAY // SECOND
"""Seconds: a header that asks to wait longer says nothing that can be followed."""

EPOCH_SECONDS = 1_000_000_000
"""An ``X-RateLimit-Reset`` below this is read as seconds from now; above, as the moment nearest to
now that one of ``_CLOCKS`` makes of it: the reference does not say which it is."""

_CLOCKS = (
    (1.0, 0),
    (1e3, 0),
    (1e6, 0),
    (1e9, 0),
    (1e7, 62_135_596_800),
    (1e7, 11_644_473_600),
)
"""Ticks per second, and seconds before 1970 at which they begin: seconds, milli-, micro- and
nanoseconds since the epoch, ticks of .NET (since the year 1), of Windows (since 1601)."""

WORTH_SAYING = 1.0
"""Seconds from which on a wait is logged."""

RECOVERY = 8
"""Requests that have to go well before one more may run at once."""


class Stop(Exception):
    """The run was asked to stop while a request waited to be sent."""


class WaitTooLong(Exception):
    """The API's limit is used up for longer than the run may wait.

    Attributes:
        seconds: How much longer.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Throttle:
    """Limits how many requests run at once, and when the next may start. Safe for threads.

    Requests start at least ``interval`` seconds apart. On 429 the number is halved and all requests
    wait; it grows again by one after every ``RECOVERY`` requests that succeed.
    """

    def __init__(
        self,
        most: int,
        interval: float = 0.0,
        longest_wait: float = float("inf"),
        should_stop: Callable[[], object] = lambda: False,
    ) -> None:
        """Starts at full speed.

        Args:
            most: Requests that may run at once.
            interval: Seconds from one request's start to the next, at least.
            longest_wait: Seconds that a request may wait because the API asks it to.
            should_stop: Asked while a request waits for a moment to come; anything true ends the
                wait.
        """
        self._interval = interval
        self._longest_wait = longest_wait
        self._should_stop = should_stop
        self._most = most
        self._allowed = most
        self._running = 0
        self._good = 0
        self._not_before = 0.0
        self._next = 0.0
        self._changed = threading.Condition()

    @property
    def allowed(self) -> int:
        """How many requests may run at once now."""
        return self._allowed

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Waits until a request may be sent, and counts it while it runs.

        Raises:
            Stop: The run was asked to stop.
            WaitTooLong: The API asks for a longer wait than the run may take.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                if self._not_before - now > self._longest_wait:
                    raise WaitTooLong(self._not_before - now)
                wait = max(self._not_before, self._next) - now
                if wait <= 0 and self._running < self._allowed:
                    break
                if wait > 0 and self._should_stop():
                    raise Stop
                self._changed.wait(min(wait, LOOK_EVERY) if wait > 0 else None)
            self._running += 1
            self._next = time.monotonic() + self._interval
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def went_well(self, headers: Mapping[str, str], now_ms: int) -> None:
        """Takes note of a response: recovers speed, or slows down before the limit is hit.

        Args:
            headers: The response's headers; ``X-RateLimit-Remaining`` and ``-Reset`` count.
            now_ms: The server's time, milliseconds since the epoch.
        """
        remaining = whole_number(headers.get("X-RateLimit-Remaining"))
        with self._changed:
            self._good += 1
            if remaining is not None and remaining < self._most:
                self._allowed = max(1, min(self._allowed, remaining))
                self._good = 0
                reset = reset_seconds(headers, now_ms)
                if remaining <= 0 and reset:
                    self._hold(reset, "NP6's rate limit is used up")
            elif self._good >= RECOVERY and self._allowed < self._most:
                self._allowed += 1
                self._good = 0
            self._changed.notify_all()

    def slow_down(self, seconds: float) -> None:
        """Halves the speed, and lets no request start before so many seconds have passed."""
        with self._changed:
            self._allowed = max(1, self._allowed // 2)
            self._good = 0
            self._hold(seconds, "NP6 asks to slow down")
            self._changed.notify_all()

    def _hold(self, seconds: float, why: str) -> None:
        until = time.monotonic() + seconds
        if until > self._not_before + WORTH_SAYING and WORTH_SAYING < seconds <= self._longest_wait:
            logger.warning("%s: the next request waits %.0f seconds.", why, seconds)
        self._not_before = max(self._not_before, until)


def reset_seconds(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Seconds the API asks to wait, by ``Retry-After`` or ``X-RateLimit-Reset``; None: it does not.

    ``Retry-After`` is seconds or a date. The format of ``X-RateLimit-Reset`` is not documented: see
    ``EPOCH_SECONDS``. Each is read in every form. More than ``LONGEST_BELIEVED`` counts as not
    said.

    Args:
        headers: The response's headers.
        now_ms: The server's time, milliseconds since the epoch.
    """
    for name in ("Retry-After", "X-RateLimit-Reset"):
        text = headers.get(name)
        seconds = _seconds_from(text, now_ms)
        if seconds is None and text:
            seconds = _seconds_to_date(text, now_ms)
        if seconds is not None:
            return seconds
    return None


def _seconds_from(text: str | None, now_ms: int) -> float | None:
    number = whole_number(text)
    if number is None:
        return None
    if number < EPOCH_SECONDS:
        return float(max(0, number)) if number <= LONGEST_BELIEVED else None
    now = now_ms / SECOND
    ahead = min((number / ticks - before - now for ticks, before in _CLOCKS), key=abs)
    return max(0.0, round(ahead, 3)) if abs(ahead) <= LONGEST_BELIEVED else None


def _seconds_to_date(text: str, now_ms: int) -> float | None:
    try:
        ahead = (to_ms(parsedate_to_datetime(text)) - now_ms) / SECOND
    except (ValueError, OverflowError):
        return None
    return max(0.0, ahead) if ahead <= LONGEST_BELIEVED else None


def whole_number(text: str | None) -> int | None:
    """The number in a header, without its fraction; None: there is none, or an unlikely long one.

    Numbers of more than 20 digits are not looked at: to calculate with them may take for ever.
    """
    found = re.fullmatch(r"\s*([-+]?[0-9]{1,20})(?:\.[0-9]*)?\s*", text or "")
    return int(found[1]) if found else None
