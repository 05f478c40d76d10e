"""Complete means complete by both clocks, the server's and this machine's; a difference is said."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.windows import SECOND, merged, to_ms
from tests.support import Warehouse, event, http_answer

ALL = "actions_events"
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
SETTLE = 30 * SECOND
TMake = Callable[..., Any]


def now_ms() -> int:
    return int(time.time() * SECOND)


@pytest.fixture
def begin() -> int:
    """Six hours ago."""
    return now_ms() // SECOND * SECOND - 6 * HOUR


@pytest.fixture
def sandbox(serve: TMake, begin: int) -> Any:
    """An event a minute, from six hours ago to an hour from now."""
    return serve(event(n, begin + n * MINUTE + 10 * SECOND) for n in range(420))


@pytest.fixture
def run(warehouse: Warehouse, sandbox: Any, source_of: TMake, begin: int) -> Callable[..., Any]:
    """Runs the source once; gives the resource's metrics."""

    def once(**options: Any) -> Any:
        settings = {"start": begin, "clock_tolerance": 60.0, "on_error": "keep", **options}
        source = source_of(sandbox, ALL, **settings)
        warehouse.run(source)
        return source.resources[ALL].custom_metrics

    return once


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(minutes=2)])
def test_a_server_clock_that_is_ahead_completes_nothing_that_has_not_passed_here(
    warehouse: Warehouse, sandbox: Any, run: Callable[..., Any], ahead: timedelta
) -> None:
    sandbox.now = ahead
    metrics = run()
    (covered,) = merged(warehouse.windows(ALL))
    assert covered.end <= now_ms() - SETTLE
    (failure,) = metrics["failures"]
    assert failure["kind"] == "NotSettled"
    assert "s ahead of this machine's" in failure["message"]
    sandbox.now = None
    before = now_ms()
    assert run()["failures"] == []
    (covered,) = merged(warehouse.windows(ALL))
    assert before - SETTLE - MINUTE < covered.end
    ids = [f"event-{n:05d}" for n in range(420)]
    assert warehouse.ids() == ids[: len(warehouse.ids())]
    assert len(warehouse.ids()) >= 358


@pytest.mark.parametrize("behind", [timedelta(days=-1), timedelta(minutes=-2)])
def test_a_server_clock_that_lags_is_a_failure_and_loses_nothing(
    warehouse: Warehouse, sandbox: Any, run: Callable[..., Any], behind: timedelta
) -> None:
    assert run()["failures"] == []
    loaded = len(warehouse.ids())
    sandbox.now = behind
    (failure,) = run()["failures"]
    assert "s behind this machine's" in failure["message"]
    assert "set clock_tolerance" in failure["message"]
    assert len(warehouse.ids()) == loaded
    sandbox.now = None
    assert run()["failures"] == []


def test_a_difference_of_less_than_a_minute_is_none(
    sandbox: Any, run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.now = timedelta(seconds=-30)
    with caplog.at_level(logging.WARNING, "np6_source"):
        assert run()["failures"] == []
    assert caplog.text == ""


def test_a_difference_raises_where_failures_do(
    warehouse: Warehouse, sandbox: Any, run: Callable[..., Any]
) -> None:
    sandbox.now = timedelta(minutes=5)
    with pytest.raises(PipelineStepFailed, match="ahead of this machine's"):
        run(on_error="raise")
    assert warehouse.rows("load_windows") == []


def test_a_difference_is_said_once_for_all_resources(
    warehouse: Warehouse, sandbox: Any, source_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.now = timedelta(minutes=5)
    names = (ALL, "actions_reactivities", "notifications_reactivities")
    start = now_ms() - HOUR
    source = source_of(sandbox, *names, start=start, clock_tolerance=60, on_error="keep")
    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse.run(source)
    assert caplog.text.count("ahead of this machine's") == 1


def test_a_server_without_a_date_is_a_failure(
    warehouse: Warehouse, raw_server: TMake, source_of: TMake
) -> None:
    server = raw_server(lambda _: http_answer(headers={"Date": None}))
    source = source_of(server, ALL, start=now_ms() - HOUR, on_error="keep")
    warehouse.run(source)
    (failure,) = source.resources[ALL].custom_metrics["failures"]
    assert "no usable Date header" in failure["message"]


def test_a_few_odd_dates_among_many_complete_nothing_of_the_future(
    warehouse: Warehouse, raw_server: TMake, source_of: TMake
) -> None:
    odd = iter([formatdate(time.time() + 86_400, usegmt=True)] * 2)

    def answers(_: str) -> bytes:
        return http_answer(headers={"Date": next(odd, formatdate(usegmt=True))})

    source = source_of(
        raw_server(answers), ALL, start=now_ms() - HOUR, window=7200, concurrency=1, on_error="keep"
    )
    warehouse.run(source)
    assert merged(warehouse.windows(ALL))[-1].end <= now_ms() - SETTLE


def test_a_backfill_of_what_has_passed_by_both_clocks_is_complete(
    warehouse: Warehouse, sandbox: Any, run: Callable[..., Any]
) -> None:
    sandbox.now = timedelta(minutes=-5)
    end = to_ms(sandbox.now) // SECOND * SECOND - HOUR
    assert run(end=end)["failures"] == []
    assert merged(warehouse.windows(ALL))[-1].end == end


def test_a_row_requested_by_a_clock_that_was_ahead_gives_way_to_a_later_one(
    warehouse: Warehouse, serve: TMake, source_of: TMake
) -> None:
    begin = now_ms() // SECOND * SECOND - 6 * HOUR
    options = {"start": begin, "overlap": 7 * 3600.0, "on_error": "keep"}
    for action, ahead in (("000OLD", 1), ("000NEW", 0)):
        sandbox = serve([event(1, begin + HOUR, action)])
        sandbox.now = timedelta(hours=ahead)
        warehouse.run(source_of(sandbox, ALL, **options))
    (row,) = warehouse.rows("events")
    assert row["action_id"] == "000NEW"
