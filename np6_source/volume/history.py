"""How far back events are found, with a few dozen small requests."""

from __future__ import annotations

from collections.abc import Callable

from ..windows import DAY, Window

NARROWEST = DAY // 4
WIDER = 16
"""A window is this part of its age: what was sent long ago need not be dated to the hour."""
OLDEST = 30 * 366 * DAY
EMPTY_IN_A_ROW = 3
"""Ages without events, each twice the one before, that end the search."""
APART = (0, 7 * DAY // 4, -9 * DAY // 4)
"""Where around an age windows are requested before it counts as empty: other hours, other days."""

TFirst = Callable[[Window], int | None]
"""The first timestamp of a window; None: it is empty."""


def found_back_to(now: int, first: TFirst) -> int | None:
    """The timestamp of the oldest event that was found; None: there was none.

    It says nothing of how long the API keeps events: an account may have begun then, or may have
    sent nothing for weeks.

    Args:
        now: The time, milliseconds since the epoch.
        first: Asks for a window.
    """
    oldest, youngest_empty = None, None
    age, empty, with_events = DAY, 0, 0
    while age < OLDEST and empty < EMPTY_IN_A_ROW:
        found = _around(now - age, now, first, tries=1)
        if found is None:
            empty += 1
            youngest_empty = youngest_empty or age
        else:
            empty, youngest_empty = 0, None
            oldest, with_events = found, age
        age *= 2
    if oldest is None:
        return None
    low, high = with_events, youngest_empty or OLDEST
    while high - low > DAY:
        middle = (low + high) // 2
        found = _around(now - middle, now, first, tries=len(APART))
        if found is None:
            high = middle
        else:
            oldest, low = min(oldest, found), middle
    return oldest


def _around(moment: int, now: int, first: TFirst, tries: int) -> int | None:
    for shift in APART[:tries]:
        start = moment + shift
        width = max(NARROWEST, (now - moment) // WIDER)
        if start + width >= now:
            continue
        found = first(Window(start, start + width))
        if found is not None:
            return found
    return None
