"""What measurements of lateness say, and that what they say is true."""

from __future__ import annotations

from dataclasses import astuple
from random import Random

import pytest

from np6_source.events.lateness import NONE, delay_bucket
from np6_source.recheck.lateness import Measurement, summary, upper_share
from np6_source.windows import DAY

SCOPE = ("actions_events", "")


def readings(
    days: int, late: dict[int, tuple[str, int]] | None = None, upto: int = 14
) -> list[Measurement]:
    """Days of which each was read at every step; ``late``: day → bucket and age of the finding."""
    found = []
    for number in range(days):
        for age in (1, 2, 4, 8, upto):
            bucket, at_age = (late or {}).get(number, (NONE, 0))
            is_found = at_age == age
            found.append(
                Measurement(SCOPE, number * DAY, age, bucket if is_found else NONE, 5 * is_found)
            )
    return found


def test_without_late_events_the_bound_follows_from_the_days() -> None:
    found = summary(readings(30), 14)
    assert str(found) == (
        "in 30 days read again none had an event later than 1 day: at 95 %, at most 1 day in 10 has"
        " one within 14 days"
    )
    assert (found.late_events, found.recommended) == (0, 1)
    assert summary(readings(10), 14).recommended is None
    assert summary([], 14).recommended is None
    assert str(summary([], 14)) == (
        "no day was read again yet that had first been read within a day"
    )


def test_a_day_that_several_resources_have_counts_once() -> None:
    also = [
        Measurement(("actions_reactivities", ""), *row[1:]) for row in map(astuple, readings(30))
    ]
    assert str(summary([*readings(30), *also], 14)) == str(summary(readings(30), 14))
    # One of them was read young only: it may have later ones.
    young = [one for one in also if one.age == 1]
    assert summary([*readings(30), *young], 14).days_that_tell == 0


def test_parts_of_a_day_are_no_days() -> None:
    hours = [Measurement(SCOPE, DAY + n * DAY // 24, 14, NONE, 0) for n in range(1, 24)]
    assert summary(hours, 14).days == 0
    late = Measurement(SCOPE, DAY + DAY // 2, 14, "16d", 3)
    assert summary([*hours, late], 14).by_bucket == {"16d": 3}
    whole = [Measurement(SCOPE, DAY, 14, NONE, 0)]
    found = summary([*hours, late, *whole], 14)
    assert (found.days, found.late_events, found.none_later_than) == (1, 3, 16)


def test_a_late_event_that_several_resources_return_counts_once() -> None:
    def late(resource: str, id_: str, count: int, bucket: str = "1h", age: int = 1) -> Measurement:
        return Measurement((resource, id_), 0, age, bucket, count)

    wide = [late("actions_events", "", 5), late("actions_reactivities", "", 3)]
    assert summary(wide, 14).by_bucket == {"1h": 5}
    assert summary(wide, 14).late_events == 5
    # Ids have events of their own; so have readings: each counts what the tables lacked.
    of_ids = [late("action_reactivities", "000PE4", 4), late("action_reactivities", "000PE5", 2)]
    assert summary([*wide, *of_ids], 14).late_events == 6
    later = late("actions_events", "", 2, "4d", age=8)
    assert summary([*wide, *of_ids, later], 14).by_bucket == {"1h": 6, "4d": 2}


def test_a_day_tells_nothing_of_events_that_come_when_it_was_read_last() -> None:
    # Of 30 days, one had an event 9 to 16 days late; all were read for the last time at 14 days.
    found = summary(readings(30, {3: ("16d", 14)}), 14)
    assert str(found) == "no event came later than 16 days; no day is old enough to tell"
    assert (found.days_that_tell, found.bound, found.told_within) == (0, 1.0, None)
    checked = [Measurement(SCOPE, n * DAY, 20 + n, NONE, 0) for n in range(10)]
    assert str(summary([*readings(30, {3: ("16d", 14)}), *checked], 14)) == (
        "in 10 days read again none had an event later than 16 days: at 95 %, at most 1 day in 3"
        " has one within 20 days"
    )


def test_late_events_widen_what_is_said_and_recommended() -> None:
    found = summary(readings(40, {3: ("4d", 4), 9: ("2d", 2)}), 14)
    assert found.none_later_than == 4
    assert found.by_bucket == {"2d": 5, "4d": 5}
    assert found.recommended == 8


def test_an_overlap_is_recommended_that_finds_nearly_all_late_events() -> None:
    def recommended(**late: int) -> int | None:
        rows = [Measurement(SCOPE, 0, 1, name[1:], count) for name, count in late.items()]
        return summary(rows, 14).overlap

    assert recommended(_10m=1) == 600
    assert recommended(_10m=990, _6h=10) == 6 * 3600
    assert recommended(_1h=9_995, _4d=5) == 3600  # A recheck finds the five.
    assert recommended(_1h=995, _4d=5) is None
    assert recommended(_none=0) is None


def test_a_finding_at_the_last_step_doubles_the_recommendation() -> None:
    assert summary(readings(40, {3: ("16d", 14)}), 14).recommended == 64
    assert summary(readings(40, {3: ("8d", 8)}), 14).recommended == 16
    assert summary(readings(40, {3: ("more", 14)}), 14).recommended == 90


def test_days_that_are_too_young_tell_nothing_of_later_events() -> None:
    young = [Measurement(SCOPE, n * DAY, 1, NONE, 0) for n in range(50)]
    found = summary(young, 14)
    assert found.days_that_tell == 0
    assert found.recommended is None
    assert "no day is old enough to tell" in str(found)


@pytest.mark.parametrize("share", [0.02, 0.08, 0.2])
def test_the_bound_holds_in_95_of_100_accounts(share: float) -> None:
    """Late events come in batches: on a share of the days, many at once."""
    held = 0
    for seed in range(300):
        random = Random(seed)
        late = sum(random.random() < share for _ in range(40))
        held += share <= upper_share(late, 40)
    assert held >= 0.95 * 300 - 8  # Three standard deviations.


def test_each_delay_has_a_bucket() -> None:
    hours = [delay_bucket(round(hour * DAY / 24)) for hour in (0.1, 1, 5, 24, 25, 200, 1000)]
    assert hours == ["10m", "1h", "6h", "1d", "2d", "16d", "more"]
