"""Which days are due, from a ledger's rows alone."""

from __future__ import annotations

from random import Random

import pytest

from np6_source.recheck.ladder import (
    TARGET_BYTES,
    DayAgain,
    Reading,
    asked_for,
    due,
    is_time,
    spot_check,
    steps,
    tile,
)
from np6_source.windows import DAY, Window, gaps, merged

HOUR = DAY // 24
TODAY = 20_000 * DAY


def day(age: int) -> Window:
    """The day that ended so many days before today."""
    return Window(TODAY - (age + 1) * DAY, TODAY - age * DAY)


def hourly(age: int, overlap: int = HOUR // 6) -> list[Reading]:
    """A day as an hourly schedule reads it, its rows cut where readings meet."""
    found = []
    for hour in range(24):
        start = day(age).start + hour * HOUR
        read_at = start + HOUR + 60_000
        again = Window(start - overlap, start)
        found.append(Reading(again, read_at, 2, 2, 500))
        found.append(Reading(Window(start, start + HOUR), read_at, 10, 10, 0))
    return found


def ages(found: list[DayAgain], now: int = TODAY) -> list[int]:
    return [(now // DAY * DAY - one.day.end) // DAY for one in found]


ALL_LOADED = [Window(TODAY - 200 * DAY, TODAY)]
LOADED_HOURLY = [reading for age in range(60) for reading in hourly(age)]


def test_a_day_is_due_once_for_each_step_that_it_has_reached() -> None:
    readings = list(LOADED_HOURLY)
    seen: dict[int, list[int]] = {}
    for today in range(TODAY, TODAY + 40 * DAY, DAY):
        now = today + 3 * HOUR
        covered = [Window(TODAY - 200 * DAY, today)]
        for again in due(covered, readings, now, 14):
            seen.setdefault(again.day.start, []).append(again.age)
            readings.append(Reading(again.day, now, 10, 10, 100))
        readings += [
            Reading(Window(today + n * HOUR, today + (n + 1) * HOUR), today + (n + 1) * HOUR, 1)
            for n in range(24)
        ]
    new = [found for start, found in seen.items() if TODAY <= start < TODAY + 20 * DAY]
    assert len(new) == 20
    assert all(found == [1, 2, 4, 8, 14] for found in new)


@pytest.mark.parametrize("missed", [0.3, 0.6])
def test_days_that_runs_have_missed_are_read_later(missed: float) -> None:
    random = Random(4)
    readings = list(LOADED_HOURLY)
    last: dict[int, int] = {}
    for today in range(TODAY, TODAY + 60 * DAY, DAY):
        if random.random() < missed:
            continue
        now = today + 3 * HOUR
        for again in due([Window(TODAY - 200 * DAY, today)], readings, now, 14):
            if random.random() > 0.1:
                readings.append(Reading(again.day, now, 10))
                last[again.day.start] = again.age
    old = [age for start, age in last.items() if TODAY <= start < TODAY + 30 * DAY]
    assert len(old) == 30
    assert all(age >= 14 for age in old)


def test_only_days_that_are_loaded_whole_are_due() -> None:
    covered = [Window(day(9).start + 1, day(4).end), Window(day(2).start, day(2).end)]
    assert ages(due(covered, [], TODAY, 8)) == [8, 7, 6, 5, 4, 2]


def test_a_day_that_was_loaded_late_is_as_good_as_read_again() -> None:
    history = [Reading(Window(TODAY - 30 * DAY, TODAY - DAY), TODAY, 1000, 1000, 10)]
    found = due([history[0].window], history, TODAY + HOUR, 14)
    assert found == []
    later = TODAY + 13 * DAY
    # Then those that were read at 1 to 13 days have reached the last step.
    assert ages(due([history[0].window], history, later, 14), later) == [*range(26, 13, -1)]


def test_a_day_tells_how_late_events_come_where_it_was_first_read_within_a_day() -> None:
    nightly = [Reading(Window(day(9).start, day(9).end), day(9).end + HOUR // 2, 10, 10, 100)]
    backfilled = [Reading(Window(day(9).start, day(9).end), TODAY, 10, 10, 100)]
    part = [*backfilled, *hourly(9)[:-8]]
    for readings, tells in ((hourly(9), True), (nightly, True), (backfilled, False), (part, False)):
        (one,) = asked_for(day(9), ALL_LOADED, readings, TODAY)
        assert one.was_read_in_time is tells


def test_yesterday_is_not_due_before_it_is_a_day_old() -> None:
    assert ages(due(ALL_LOADED, LOADED_HOURLY, TODAY + 23 * HOUR, 1)) == [2, 1]
    assert ages(due(ALL_LOADED, LOADED_HOURLY, TODAY, 1)) == [2, 1]


def test_the_latest_readings_that_lie_side_by_side_are_what_a_day_had() -> None:
    first = tile(day(3), hourly(3))
    assert first is not None
    assert sum(one.events for one in first) == 240
    again = Reading(day(3), TODAY, 250, 250, 9)
    assert tile(day(3), [*hourly(3), again]) == [again]
    assert tile(day(3), hourly(3)[:-1]) is None
    # Rows of earlier versions have the overlap and what was new together.
    uncut = [Reading(Window(one.window.start - 60_000, one.window.end), 1, 1) for one in hourly(3)]
    assert tile(day(3), uncut) is None


def test_a_day_is_known_by_its_last_reading() -> None:
    (found,) = asked_for(day(3), ALL_LOADED, hourly(3), TODAY)
    assert (found.before, found.distinct_before, found.age) == (240, 240, 3)
    (unknown,) = asked_for(day(3), ALL_LOADED, [], TODAY)
    assert (unknown.before, unknown.distinct_before) == (None, None)


@pytest.mark.parametrize(
    "size", [0, 1000, TARGET_BYTES, TARGET_BYTES * 11 // 10, 40 * TARGET_BYTES + 7]
)
def test_windows_are_the_day_and_their_responses_not_too_large(size: int) -> None:
    (found,) = asked_for(day(3), ALL_LOADED, [Reading(day(3), TODAY, 9, 9, size)], TODAY)
    assert merged(found.windows) == [day(3)]
    assert sum(window.width for window in found.windows) == DAY
    assert size / len(found.windows) <= TARGET_BYTES
    assert len(found.windows) <= 2 + 1.25 * size / TARGET_BYTES


def test_what_is_asked_for_ends_where_the_ledger_does() -> None:
    place = TODAY + 5 * HOUR
    span = Window(TODAY - DAY + HOUR, TODAY + DAY)
    found = asked_for(span, [Window(0, place)], [], TODAY + DAY)
    assert [one.day for one in found] == [Window(span.start, TODAY), Window(TODAY, place)]


class TestSpotChecks:
    def test_one_day_a_week_is_read_that_is_older_than_all_steps(self) -> None:
        days = set()
        for week in range(20):
            now = TODAY + week * 7 * DAY
            covered = [Window(TODAY - 400 * DAY, now)]
            found = spot_check("actions_events ", covered, [], now, 14)
            assert found is not None
            assert 14 < found.age <= 4 * 14 + 7
            assert not gaps(found.day, covered)
            days.add(found.age)
            read = [Reading(found.day, now, 1)]
            assert spot_check("actions_events ", covered, read, now, 14) is None
        assert len(days) > 5

    def test_there_is_none_where_nothing_is_that_old(self) -> None:
        assert spot_check("x", [Window(TODAY - 10 * DAY, TODAY)], [], TODAY, 14) is None


def test_a_schedule_that_comes_a_little_early_is_in_time() -> None:
    assert is_time(None, TODAY, DAY)
    assert is_time(TODAY - DAY + 60_000, TODAY, DAY)
    assert not is_time(TODAY - 20 * HOUR, TODAY, DAY)


def test_the_last_step_is_the_number_of_days() -> None:
    assert [steps(n) for n in (1, 2, 3, 7, 16)] == [
        *((1,), (1, 2), (1, 2, 3), (1, 2, 4, 7), (1, 2, 4, 8, 16)),
    ]
