"""All requests of a run share one budget: when the API says slow down, they slow down together.

How long a request waits after 429 stands in ``retry_after``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from .pause import LOOK_EVERY
from .retry_after import seconds_to_wait, whole_number

logger = logging.getLogger(__name__)

LOGGED_FROM = 1.0
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
                reset = seconds_to_wait(headers, now_ms)
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
        if until > self._not_before + LOGGED_FROM and LOGGED_FROM < seconds <= self._longest_wait:
            logger.warning("%s: the next request waits %.0f seconds.", why, seconds)
        self._not_before = max(self._not_before, until)
