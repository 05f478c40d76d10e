"""A resource's progress beside what the destination's ledger proves."""

from __future__ import annotations

import logging

import pytest

from np6_source.extract.ledger_check import earlier_start, proven_progress
from np6_source.extract.progress import Progress
from np6_source.windows import SECOND, Window

HOUR = 3_600 * SECOND

PROGRESS = Progress(2 * HOUR, 8 * HOUR, read_at=9 * HOUR, tail={7: 3}, bucket=HOUR)


def proven(*windows: Window) -> Progress:
    return proven_progress(PROGRESS, windows, "actions_events", "")


@pytest.mark.parametrize(
    "windows",
    [[Window(2 * HOUR, 8 * HOUR)], [Window(0, 20 * HOUR)]],
    ids=["exactly", "by another pipeline too"],
)
def test_progress_that_the_ledger_proves_stays(
    windows: list[Window], caplog: pytest.LogCaptureFixture
) -> None:
    assert proven(*windows) is PROGRESS
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("windows", "until"),
    [
        ([Window(2 * HOUR, 5 * HOUR)], 5 * HOUR),
        ([Window(2 * HOUR, 5 * HOUR), Window(6 * HOUR, 8 * HOUR)], 5 * HOUR),
        ([Window(3 * HOUR, 8 * HOUR)], 2 * HOUR),
    ],
    ids=["cut short", "with a hole", "without its beginning"],
)
def test_progress_goes_back_to_where_unbroken_coverage_ends_and_it_is_said(
    windows: list[Window], until: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "np6_source"):
        assert proven(*windows) == Progress(2 * HOUR, until)
    assert "the state says complete up to 1970-01-01T08:00:00" in caplog.text


def test_progress_without_any_row_in_the_ledger_begins_again() -> None:
    assert proven_progress(PROGRESS, None, "actions_events", "").complete_until == 2 * HOUR


def test_a_history_without_any_event_is_read_again_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert proven_progress(PROGRESS, [], "actions_events", "") == Progress(2 * HOUR, 2 * HOUR)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("start", "windows"),
    [
        (None, None),
        (2 * HOUR, []),
        (3 * HOUR, []),
        (HOUR, [Window(0, 2 * HOUR)]),
        (HOUR, [Window(HOUR, 20 * HOUR)]),
    ],
)
def test_a_start_that_is_not_earlier_or_was_loaded_is_no_failure(
    start: int | None, windows: list[Window] | None
) -> None:
    assert earlier_start(start, PROGRESS, windows, "actions_events", "") is None


@pytest.mark.parametrize(
    "windows", [None, [], [Window(HOUR, 2 * HOUR - 1)]], ids=["no ledger", "empty", "a hole"]
)
def test_an_earlier_start_that_was_not_loaded_is_a_failure_that_says_what_to_load(
    windows: list[Window] | None,
) -> None:
    failure = earlier_start(HOUR, PROGRESS, windows, "action_events_bounces", "000PE4")
    assert "action_events_bounces, id 000PE4" in str(failure)
    assert "start=1970-01-01T01:00:00Z and end=1970-01-01T02:00:00Z" in str(failure)
