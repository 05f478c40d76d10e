"""Which days to read again, and in which windows. Pure: a ledger's rows and a time in, days out.

Events become visible late, most of them by minutes, some by days. A UTC day is read again when it
is 1, 2, 4, 8 … N days old: that finds what reading all N days every day finds, with a third of the
requests. Once a week a day of up to four times that age tells whether N is enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..settings import SPOT_CHECKS_TO
from ..windows import DAY, SECOND, Window, gaps, iso

TReason = Literal["step", "spot check", "asked for"]
"""Why a day is read again."""

WEEK = 7 * DAY
STAYS_DUE = 2
"""How many times N days old a day may be that was missed."""

TARGET_BYTES = 64 * 1024 * 1024
"""Size of a response to aim at, uncompressed."""
WAITS = 3_600 * SECOND
"""By how much later than a day a daily run may be."""
MARGIN = 1.25
"""By how much more a day may have become since its size was last seen."""


@dataclass(frozen=True)
class Reading:
    """What a row of the ledger says of a span.

    Attributes:
        window: The span, milliseconds since the epoch.
        requested_at: When it was requested.
        events: Its events.
        distinct: Different ids among them; None where that was not counted.
        byte_count: Size of the response, where the row has it.
    """

    window: Window
    requested_at: int
    events: int
    distinct: int | None = None
    byte_count: int = 0


@dataclass(frozen=True)
class DayAgain:
    """A day to read again.

    Attributes:
        day: The UTC day; the part of it that was loaded, where it was asked for by hand.
        windows: The windows to request, in order, without a gap.
        reason: Why it is read again.
        age: Whole days since it ended.
        before: Its events at the last reading; None where the ledger's rows do not add up to it.
        distinct_before: Different ids among them, likewise.
        byte_count: Size of the responses, as it was last seen.
        read_at: When each span of it was last read.
        was_read_in_time: Whether each moment of it was read within a day: events that came later
            than that show when it is read again. A day that a backfill has read first hides them.
    """

    day: Window
    windows: tuple[Window, ...]
    reason: TReason
    age: int
    before: int | None
    distinct_before: int | None
    byte_count: int
    read_at: tuple[tuple[Window, int], ...] = ()
    was_read_in_time: bool = False

    @property
    def date(self) -> str:
        """The day as ISO 8601 text."""
        return iso(self.day.start)[:10]


def steps(days: int) -> tuple[int, ...]:
    """The ages in days at which a day is read again.

    >>> steps(14), steps(8), steps(1)
    ((1, 2, 4, 8, 14), (1, 2, 4, 8), (1,))
    """
    found = [1]
    while found[-1] * 2 < days:
        found.append(found[-1] * 2)
    return tuple(dict.fromkeys((*found, days)))


def due(
    covered: Sequence[Window], readings: Sequence[Reading], now: int, days: int
) -> list[DayAgain]:
    """The days that are due, oldest first.

    A complete day is due unless every moment of it was read after the last step that it has
    reached; one that was missed stays due until it is twice N days old.

    Args:
        covered: What the ledger covers of the scope.
        readings: Its rows of the last ``looks_back`` milliseconds.
        now: Milliseconds since the epoch.
        days: N.
    """
    today = now // DAY * DAY
    ages = [age for age in range(STAYS_DUE * days, 0, -1) if now - today + age * DAY >= DAY]
    found = []
    for age in ages:
        day = Window(today - (age + 1) * DAY, today - age * DAY)
        reached = max((step for step in steps(days) if step <= age), default=None)
        if reached is None or gaps(day, covered):
            continue
        if gaps(day, _since(readings, day, day.end + reached * DAY)):
            found.append(again(day, readings, "step", age))
    return found


def spot_check(
    name: str, covered: Sequence[Window], readings: Sequence[Reading], now: int, days: int
) -> DayAgain | None:
    """The day of this week's spot check; None: it is done, or no day is old enough.

    Which one follows from the week and the scope's name alone, so that asking again gives the same.

    Args:
        name: A name of the scope.
        covered: As for ``due``.
        readings: Likewise.
        now: Likewise.
        days: N.
    """
    monday = now // WEEK * WEEK
    ages = range(days + 1, SPOT_CHECKS_TO * days + 1)
    candidates = [
        day
        for age in ages
        if not gaps(
            day := Window(monday - (age + 1) * DAY, monday - age * DAY),
            covered,
        )
    ]
    if not candidates:
        return None
    chance = int.from_bytes(hashlib.sha256(f"{name} {monday}".encode()).digest()[:8], "big")
    day = candidates[chance % len(candidates)]
    if not gaps(day, _since(readings, day, monday)):
        return None
    return again(day, readings, "spot check", (now - day.end) // DAY)


def asked_for(
    span: Window, covered: Sequence[Window], readings: Sequence[Reading], now: int
) -> list[DayAgain]:
    """The days of a span, as far as they are loaded.

    Args:
        span: The span.
        covered: As for ``due``.
        readings: Likewise.
        now: Likewise.
    """
    found = []
    for start in range(span.start // DAY * DAY, span.end, DAY):
        first, after = max(start, span.start), min(start + DAY, span.end)
        for loaded in covered:
            begin, end = max(first, loaded.start), min(after, loaded.end)
            if begin < end:
                part = Window(begin, end)
                found.append(again(part, readings, "asked for", max(0, now - end) // DAY))
    return found


def again(day: Window, readings: Sequence[Reading], reason: TReason, age: int) -> DayAgain:
    """A day to read again, with what is known of it."""
    latest = tile(day, readings)
    byte_count = _bytes_of(day, readings)
    counts = [one.distinct for one in latest or ()]
    return DayAgain(
        day,
        tuple(_windows(day, byte_count)),
        reason,
        age,
        None if latest is None else sum(one.events for one in latest),
        sum(c or 0 for c in counts) if latest is not None and None not in counts else None,
        byte_count,
        tuple((one.window, one.requested_at) for one in latest or ()),
        not gaps(day, [one.window for one in readings if one.requested_at <= _in_time(one, day)]),
    )


def _in_time(reading: Reading, day: Window) -> int:
    """Up to when a reading is in time for all of its moments that lie in a day."""
    return max(reading.window.start, day.start) + DAY + WAITS


def tile(day: Window, readings: Sequence[Reading]) -> list[Reading] | None:
    """The latest readings that lie side by side and are the day; None: none do.

    What the overlap has read again is left out: its counts are in another reading.
    """
    by_start: dict[int, list[Reading]] = {}
    for reading in readings:
        if day.start <= reading.window.start and reading.window.end <= day.end:
            by_start.setdefault(reading.window.start, []).append(reading)
    leads_on: dict[int, Reading] = {}
    for start in sorted(by_start, reverse=True):
        ways = [r for r in by_start[start] if r.window.end == day.end or r.window.end in leads_on]
        if ways:
            # A whole day read again counts before the many that were read first.
            leads_on[start] = max(ways, key=lambda r: (r.requested_at, r.window.width))
    found, position = [], day.start
    while position < day.end:
        if position not in leads_on:
            return None
        found.append(leads_on[position])
        position = found[-1].window.end
    return found


def _bytes_of(day: Window, readings: Sequence[Reading]) -> int:
    """The size of a day's responses, about: the first row of a response has that of all."""
    responses: dict[int, list[Reading]] = {}
    for reading in readings:
        responses.setdefault(reading.requested_at, []).append(reading)
    found = 0.0
    for rows in responses.values():
        inside = sum(r.events for r in rows if day.start <= r.window.start < day.end)
        total = sum(r.events for r in rows)
        found += sum(r.byte_count for r in rows) * (inside / total if total else 0)
    repeated = sum(r.events for r in readings if day.start <= r.window.start < day.end)
    tiled = tile(day, readings)
    if tiled is None or not repeated:
        return round(found)
    return round(found * sum(r.events for r in tiled) / repeated)


def _windows(day: Window, byte_count: int) -> Iterable[Window]:
    """Windows of one length in whole seconds, whose responses are not too large."""
    count = max(1, -(-round(byte_count * MARGIN) // TARGET_BYTES))
    width = max(SECOND, -(-day.width // count // SECOND) * SECOND)
    return [
        Window(start, min(start + width, day.end)) for start in range(day.start, day.end, width)
    ]


def _since(readings: Iterable[Reading], day: Window, moment: int) -> list[Window]:
    return [
        reading.window
        for reading in readings
        if reading.requested_at >= moment
        and reading.window.start < day.end
        and day.start < reading.window.end
    ]


def looks_back(days: int) -> int:
    """Milliseconds of the ledger that ``due`` and ``spot_check`` need."""
    return (SPOT_CHECKS_TO * days + 9) * DAY


def is_time(last: int | None, now: int, every: int) -> bool:
    """Whether a schedule that rechecks every so often does so now.

    A tenth earlier is in time: the runs of a schedule are not equally far apart.

    Args:
        last: When days were last read again, milliseconds since the epoch; None: never.
        now: The time.
        every: Milliseconds.
    """
    return last is None or now - last >= every - every // 10


TReadings = Mapping[tuple[str, str], Sequence[Reading]]
"""Rows of the ledger by resource and ``ledger.scope_key``."""
