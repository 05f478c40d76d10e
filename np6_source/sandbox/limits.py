"""A rate limit as the API documents it: 429 beyond a number of requests in a span of time."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

SPANS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}


@dataclass(frozen=True)
class RateLimit:
    """So many requests in a span of time, counted over the span before each request.

    The reference names the headers ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` and says
    they "may be provided"; the format of the last is not documented.

    Attributes:
        requests: How many.
        seconds: The span.
        headers: Whether the three headers are sent.
        reset: ``X-RateLimit-Reset`` in seconds from now, or in seconds or milliseconds since the
            epoch.
    """

    requests: int
    seconds: float = 1.0
    headers: bool = True
    reset: Literal["seconds", "epoch", "epoch_ms"] = "seconds"

    @classmethod
    def parse(cls, text: str) -> RateLimit:
        """Reads ``10/second``, ``600/minute`` or ``5000/hour``.

        Raises:
            ValueError: The text cannot be understood.
        """
        count, _, span = text.partition("/")
        if not count.strip().isdigit() or int(count) < 1 or span.strip() not in SPANS:
            raise ValueError(f"Rate limit {text!r}: write it like 10/second or 600/minute")
        return cls(int(count), SPANS[span.strip()])


@dataclass(frozen=True)
class Allowance:
    """What a request finds of a rate limit.

    Attributes:
        granted: Whether it is within the limit.
        remaining: Requests left after it.
        reset_seconds: Seconds until one more is allowed.
    """

    granted: bool
    remaining: int
    reset_seconds: float


class RequestMeter:
    """Counts requests against a limit, by the machine's monotonic clock."""

    def __init__(self, limit: RateLimit) -> None:
        """Starts with the whole allowance."""
        self.limit = limit
        self._granted: deque[float] = deque()
        self._lock = threading.Lock()

    def take(self) -> Allowance:
        """Asks for one request; a refused one does not count."""
        with self._lock:
            now = time.monotonic()
            while self._granted and self._granted[0] <= now - self.limit.seconds:
                self._granted.popleft()
            granted = len(self._granted) < self.limit.requests
            if granted:
                self._granted.append(now)
            return Allowance(
                granted,
                self.limit.requests - len(self._granted),
                self._granted[0] + self.limit.seconds - now,
            )
