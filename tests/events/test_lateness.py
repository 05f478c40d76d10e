from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from np6_source.events.lateness import (
    BUCKETS,
    SHORTEST_BUCKET,
    Lateness,
    advice,
    bucket_width,
    measured,
)
from np6_source.windows import Window

TEN_MINUTES = 600_000


@given(st.integers(1, 400 * 86_400_000))
def test_an_overlap_is_cut_into_at_most_so_many_buckets(overlap: int) -> None:
    width = bucket_width(overlap)

    assert width >= SHORTEST_BUCKET
    assert -(-overlap // width) <= BUCKETS


def test_events_that_were_not_there_at_the_first_reading_are_late() -> None:
    found = measured({5: 10, 6: 3}, {5: 10, 6: 4, 7: 2}, 100, Window(0, 10_000), 1_000)

    assert found == Lateness(late_events=3, latest_ms=400)


def test_how_late_is_told_from_the_start_of_the_earliest_late_bucket() -> None:
    found = measured({}, {2: 1, 8: 1}, 100, Window(0, 10_000), 1_000)

    assert found.latest_ms == 800


def test_nothing_is_late_where_both_readings_agree() -> None:
    assert measured({5: 10}, {5: 10}, 100, Window(0, 10_000), 1_000) == Lateness()


def test_events_that_are_gone_are_not_late() -> None:
    assert measured({5: 10}, {5: 9}, 100, Window(0, 10_000), 1_000) == Lateness()


@pytest.mark.parametrize(
    ("bucket", "is_counted"),
    [
        pytest.param(4, False, id="begins before the stretch"),
        pytest.param(5, True, id="first whole bucket"),
        pytest.param(8, True, id="last whole bucket"),
        pytest.param(9, False, id="ends behind the stretch"),
    ],
)
def test_buckets_on_the_edges_of_the_stretch_are_left_out(bucket: int, is_counted: bool) -> None:
    found = measured({}, {bucket: 1}, 100, Window(450, 950), 2_000)

    assert bool(found.late_events) is is_counted


def test_an_event_of_after_the_first_reading_is_not_late_by_less_than_nothing() -> None:
    assert measured({}, {20: 1}, 100, Window(0, 10_000), 1_000).latest_ms == 0


def test_two_measures_are_joined_by_sum_and_maximum() -> None:
    assert Lateness(2, 500).joined(Lateness(3, 100)) == Lateness(5, 500)


@pytest.mark.parametrize(
    ("lateness", "is_said"),
    [
        pytest.param(Lateness(), False, id="nothing late"),
        pytest.param(Lateness(1, TEN_MINUTES // 2 - 1), False, id="within half of the overlap"),
        pytest.param(Lateness(1, TEN_MINUTES // 2), True, id="half of the overlap"),
    ],
)
def test_advice_is_given_from_half_of_the_overlap_on(lateness: Lateness, is_said: bool) -> None:
    assert (advice(lateness, TEN_MINUTES) is not None) is is_said


def test_advice_names_the_overlap_to_set_in_seconds() -> None:
    text = advice(Lateness(7, 400_500), TEN_MINUTES)

    assert text is not None
    assert "7 events" in text
    assert text.endswith("set overlap=840")


@given(st.integers(1, 10**9))
def test_the_advised_overlap_is_twice_the_lateness_or_a_little_more(latest: int) -> None:
    text = advice(Lateness(1, latest), 1)

    assert text is not None
    advised = int(text.rpartition("=")[2]) * 1_000
    assert 2 * latest <= advised < 2 * latest + 60_000
    assert advice(Lateness(1, latest), advised + 1) is None
