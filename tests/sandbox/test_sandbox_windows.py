"""Windows, dates and order: inclusive start, exclusive end, unordered unless asked."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from np6_source.sandbox import EventQuery, StoredAccount, account_from_events
from np6_source.sandbox.clock import moment

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [found["id"].removeprefix("event-") for found in answer.json()]


def test_start_is_inclusive_and_end_exclusive(five: StoredAccount, serve: Any, call: Any) -> None:
    sandbox = serve(five)
    assert ids(call(sandbox, "/actions/events", start=2000, end=4000, sort="asc")) == ["2", "3"]
    assert ids(call(sandbox, "/actions/events", start=2001, sort="asc")) == ["3", "4", "5"]
    assert ids(call(sandbox, "/actions/events", end=2001, sort="asc")) == ["1", "2"]
    assert ids(call(sandbox, "/actions/events", start=3000, end=3000)) == []


@pytest.mark.parametrize(
    "start",
    [
        "1970-01-01T00:00:03Z",
        "1970-01-01T00:00:03",
        "1970-01-01T00:00:02.0001Z",
        "1970-01-01T02:00:03.000000+02:00",
        "1969-12-31T21:30:03-0230",
    ],
)
def test_bounds_can_be_iso_dates_of_any_zone_and_precision(
    start: str, five: StoredAccount, serve: Any, call: Any
) -> None:
    assert ids(call(serve(five), "/actions/events", start=start, sort="asc")) == ["3", "4", "5"]


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01", "2024-01-01 00:00:00", "1e3"])
@pytest.mark.parametrize("name", ["start", "end"])
def test_unreadable_dates_are_400_with_a_message(
    name: str, text: str, five: StoredAccount, serve: Any, call: Any
) -> None:
    answer = call(serve(five), "/actions/events", **{name: text})
    assert answer.status_code == 400
    assert name in answer.json()["message"]


def test_events_come_in_the_order_that_is_asked_for(
    five: StoredAccount, serve: Any, call: Any
) -> None:
    sandbox = serve(five)
    assert ids(call(sandbox, "/actions/events", sort="desc")) == ["5", "4", "3", "2", "1"]
    unsorted = ids(call(sandbox, "/actions/events"))
    assert sorted(unsorted) == ["1", "2", "3", "4", "5"] != unsorted
    assert call(sandbox, "/actions/events", sort="up").status_code == 400


def test_without_sort_the_order_changes_between_calls(event: Any, serve: Any, call: Any) -> None:
    many = account_from_events(event(number, 1000 + number) for number in range(100))
    sandbox = serve(many)
    assert ids(call(sandbox, "/actions/events")) != ids(call(sandbox, "/actions/events"))


def test_order_and_completeness_over_many_chunks(event: Any, serve: Any, call: Any) -> None:
    many = account_from_events(event(number, 10**9 + number // 7) for number in range(9000))
    sandbox = serve(many)
    up = [int(number) for number in ids(call(sandbox, "/actions/events", sort="asc"))]
    down = [int(number) for number in ids(call(sandbox, "/actions/events", sort="desc"))]
    assert up == list(range(9000))
    assert down == up[::-1]
    mixed = [int(number) for number in ids(call(sandbox, "/actions/events"))]
    assert sorted(mixed) == up
    assert mixed[0] == up[-1]


def test_reactivities_are_bounded_by_their_own_and_their_activations_time(
    samples: StoredAccount, serve: Any, call: Any
) -> None:
    sandbox = serve(samples)

    def types(**bounds: int) -> list[str]:
        found = call(sandbox, "/actions/reactivities", sort="asc", **bounds).json()
        return [event["type"] for event in found]

    assert types() == ["bounce", "bounce", "hit", "hit", "hit"]
    assert types(reactivityStart=1614089593000, reactivityEnd=1623673176622) == ["bounce"]
    # The redirection hit has the stamp of the documented activation, published at this time.
    assert types(activationStart=1614089582000, activationEnd=1614089582001) == ["hit"]
    # The others' activations are not among the samples; the stamp's time stands in for them.
    assert types(activationStart=1614089576625, activationEnd=1614089576626, reactivityEnd=0) == []
    assert len(types(activationStart=1614089576625, activationEnd=1614089576626)) == 4
    assert len(types(activationEnd=1614089576625)) == 0


def test_parameters_of_the_other_family_are_ignored(
    samples: StoredAccount, serve: Any, call: Any
) -> None:
    sandbox = serve(samples)
    assert len(call(sandbox, "/actions/reactivities", start=0, end=1).json()) == 5
    assert len(call(sandbox, "/actions/events", reactivityEnd=1, activationEnd=1).json()) == 9


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_iso_dates_are_read_as_python_reads_them(naive: datetime, offset: int) -> None:
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=offset)))
    exact = (aware - EPOCH) / timedelta(milliseconds=1)
    assert 0 <= moment(aware.isoformat()) - exact < 1 + 1e-3
    assert moment(naive.isoformat()) == moment(naive.isoformat() + "Z")


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with suppress(ValueError):
        moment(text)


@pytest.fixture(scope="module")
def ten(event: Any) -> StoredAccount:
    return account_from_events(event(number, number * 1000) for number in range(10))


@settings(max_examples=25)
@given(st.sets(st.integers(0, 100), max_size=6))
def test_adjacent_windows_cover_everything_once(ten: StoredAccount, bounds: set[int]) -> None:
    edges = [None, *sorted(bound * 100 for bound in bounds), None]
    found = [
        event["id"]
        for start, end in itertools.pairwise(edges)
        for event in ten.events(EventQuery(start=start, end=end))
    ]
    assert found == [f"event-{number}" for number in range(10)]
