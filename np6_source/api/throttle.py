"""All requests of a run share one budget: when the API says slow down, they slow down together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from ..windows import SECOND, to_ms

EPOCH_SECONDS = 1_000_000_000
"""An ``X-RateLimit-Reset`` above this is read as seconds since the epoch, below as seconds from
now, and above 1,000 times this as milliseconds: the reference does not say which it is."""

RECOVERY = 8
"""Requests that have to go well before one more may run at once."""


class Throttle:
    """How many requests may run at once, and not before when. Safe for threads.

    Requests keep a distance in time where one is given. On 429 the number is halved and everybody
    waits; it grows again by one after every few requests that go well.
    """

    def __init__(self, most: int, interval: float = 0.0) -> None:
        """Starts at full speed.

        Args:
            most: Requests that may run at once.
            interval: Seconds from one request's start to the next, at least.
        """
        self._interval = interval
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
        """Waits until a request may be sent, and counts it while it runs."""
        with self._changed:
            while True:
                wait = max(self._not_before, self._next) - time.monotonic()
                if wait <= 0 and self._running < self._allowed:
                    break
                self._changed.wait(wait if wait > 0 else None)
            self._running += 1
            self._next = time.monotonic() + self._interval
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def went_well(self, headers: Mapping[str, str], now_ms: int) -> None:
        """Takes note of an answer: recovers speed, or slows down before the limit is hit.

        Args:
            headers: The answer's headers; ``X-RateLimit-Remaining`` and ``-Reset`` count.
            now_ms: The server's time, milliseconds since the epoch.
        """
        remaining = _integer(headers.get("X-RateLimit-Remaining"))
        with self._changed:
            self._good += 1
            if remaining is not None and remaining < self._most:
                self._allowed = max(1, min(self._allowed, remaining))
                self._good = 0
                reset = reset_seconds(headers, now_ms)
                if remaining == 0 and reset:
                    self._not_before = max(self._not_before, time.monotonic() + reset)
            elif self._good >= RECOVERY and self._allowed < self._most:
                self._allowed += 1
                self._good = 0
            self._changed.notify_all()

    def slow_down(self, seconds: float) -> None:
        """Halves the speed, and lets no request start before so many seconds have passed."""
        with self._changed:
            self._allowed = max(1, self._allowed // 2)
            self._good = 0
            self._not_before = max(self._not_before, time.monotonic() + seconds)
            self._changed.notify_all()


def reset_seconds(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Seconds the API asks to wait, by ``Retry-After`` or ``X-RateLimit-Reset``; None: not said.

    ``Retry-After`` is seconds or a date. The format of ``X-RateLimit-Reset`` is not documented:
    see ``EPOCH_SECONDS``.
    """
    retry_after = headers.get("Retry-After")
    if retry_after:
        seconds = _integer(retry_after)
        if seconds is not None:
            return float(max(0, seconds))
        try:
            return max(0.0, (to_ms(parsedate_to_datetime(retry_after)) - now_ms) / SECOND)
        except ValueError:
            pass
    reset = _integer(headers.get("X-RateLimit-Reset"))
    if reset is None:
        return None
    if reset >= EPOCH_SECONDS * SECOND:
        reset //= SECOND
    if reset >= EPOCH_SECONDS:
        return max(0.0, reset - now_ms / SECOND)
    return float(max(0, reset))


def _integer(text: str | None) -> int | None:
    try:
        return None if text is None else int(float(text))
    except (ValueError, OverflowError):
        return None
