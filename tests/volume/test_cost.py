"""What loading an estimate takes."""

from __future__ import annotations

import pytest

from np6_source.volume.cost import cost, requests, transfer
from np6_source.volume.estimate import Density, Estimate, Range
from np6_source.windows import DAY, Pace, Window

PERIOD = Window(0, 30 * DAY)


def even(events: int, size: float = 1_000.0) -> Density:
    return Density(PERIOD, (events / PERIOD.width,) * 10, (), size, size)


def test_requests_are_those_of_the_pace() -> None:
    assert requests(even(0), DAY) == 4  # 1, 4, 16 and the last 9 days.
    dense = even(3_000_000)
    pace, position, count = Pace(DAY), 0, 0
    while position < PERIOD.end:
        window = pace.next_window(position, PERIOD.end)
        pace = pace.answered(window, 100_000_000 * window.width // DAY)
        position, count = window.end, count + 1
    assert requests(dense, DAY) == count
    assert requests(dense, DAY, scale=10) > 3 * count


def test_a_burst_is_where_it_is() -> None:
    sends = ((10 * DAY, 1_000_000.0),)
    burst = Density(PERIOD, (0.0,), sends, 1_000.0, 1_000.0)
    assert requests(burst, DAY) < requests(even(1_000_000), DAY) + 10


def test_seconds_are_those_of_the_slower_of_transfer_and_reading() -> None:
    events = Range(30_000, 60_000, 90_000)
    estimate = Estimate(events, events.times(1_000), even(60_000), False)
    quick = cost(estimate, DAY, 8, 0.0, transfer([0, 1_000], [0.001, 0.001]))
    assert quick.seconds == Range(1.0, 2.0, 3.0)
    slow = cost(estimate, DAY, 8, 0.0, transfer([1_000, 2_000], [1.0, 2.0]))
    assert slow.seconds.high == pytest.approx(90_000)
    limited = cost(estimate, DAY, 8, 60.0, transfer([], []))
    assert limited.seconds.low == 60 * limited.requests.low
    assert (quick.disk.low, quick.disk.high) == (30_000 * 200, 90_000 * 300)


def test_transfer_is_a_line_with_no_negative_part() -> None:
    found = transfer([0, 1_000_000], [0.2, 1.2])
    assert found.a_request == pytest.approx(0.2)
    assert found.a_byte == pytest.approx(1e-6)
    assert transfer([0, 10], [2.0, 1.0]).a_byte == 0
    assert transfer([500, 500], [1.0, 3.0]).a_request == 2.0
