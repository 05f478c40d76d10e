"""How long to wait after 429, or another status that says "not now": what the API asks for.

The rule, and where each part of it is:

- ``seconds_to_wait`` reads the wait from ``Retry-After``, else from ``X-RateLimit-Reset``; of
  other statuses than 429 the latter counts only where ``X-RateLimit-Remaining`` is 0.
- A wait longer than the setting ``longest_wait`` ends the run: ``responses`` makes the failure that
  says when to come back.
- Any other wait, ``Client._wait`` takes before the request is sent again: what the API asks for, or
  what the setting ``backoff`` has grown to, whichever is longer, but no more than ``longest_wait``.
- After 429, ``Throttle.slow_down`` also holds all other requests of the run, for what the API asks
  for, or for ``backoff`` where it does not say; and fewer run at once. ``Throttle.slot`` gives up
  what would have to wait longer than ``longest_wait``.
- ``Throttle.went_well`` holds them before there is a 429, where ``X-RateLimit-Remaining`` is 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from ..windows import DAY, SECOND, to_ms

DEFAULT_RETRY_AFTER = 60.0
"""Seconds after which the run may be tried again where the API answers 429 and does not say."""

LONGEST_RETRY_AFTER = 366 * DAY // SECOND
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


def seconds_to_wait(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Seconds the API asks to wait, by ``Retry-After`` or ``X-RateLimit-Reset``; None: it does not.

    ``Retry-After`` is seconds or a date. The format of ``X-RateLimit-Reset`` is not documented: see
    ``EPOCH_SECONDS``. Each is read in every form. More than ``LONGEST_RETRY_AFTER`` counts as not
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
        return float(max(0, number)) if number <= LONGEST_RETRY_AFTER else None
    now = now_ms / SECOND
    ahead = min((number / ticks - before - now for ticks, before in _CLOCKS), key=abs)
    return max(0.0, round(ahead, 3)) if abs(ahead) <= LONGEST_RETRY_AFTER else None


def _seconds_to_date(text: str, now_ms: int) -> float | None:
    try:
        ahead = (to_ms(parsedate_to_datetime(text)) - now_ms) / SECOND
    except (ValueError, OverflowError):
        return None
    return max(0.0, ahead) if ahead <= LONGEST_RETRY_AFTER else None


def whole_number(text: str | None) -> int | None:
    """The number in a header, without its fraction; None: there is none, or an unlikely long one.

    Numbers of more than 20 digits are not looked at: to calculate with them may take for ever.
    """
    found = re.fullmatch(r"\s*([-+]?[0-9]{1,20})(?:\.[0-9]*)?\s*", text or "")
    return int(found[1]) if found else None
