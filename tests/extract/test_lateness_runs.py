"""Events that become readable late: loaded once, counted, and warned about near the edge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.extract.lateness import LatenessProbe
from np6_source.extract.progress import Progress
from np6_source.sandbox import EventRow
from np6_source.windows import SECOND, Window

ALL = "actions_events"
MINUTE = 60 * SECOND
TMake = Callable[..., Any]
TAt = Callable[[str], int]


def late(payload: dict[str, Any], seconds: float) -> EventRow:
    """The event, readable only so long after its timestamp."""
    return EventRow(payload, visible_at=payload["timestamp"] + int(seconds * SECOND))


def test_late_events_inside_the_overlap_arrive_once_and_are_counted(
    warehouse: Any,
    serve: TMake,
    source_of: TMake,
    event: TMake,
    at: TAt,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = at("03-02")
    on_time = [event(n, now - n * 20 * SECOND) for n in range(2, 30)]
    # Readable two minutes late: not at the first run, but at the second.
    delayed = [late(event(n, now - 100 * SECOND + n), 120) for n in range(50, 53)]
    sandbox = serve([*on_time, *delayed], now=now)
    warehouse.run(source_of(sandbox, ALL))
    assert len(warehouse.ids()) == 28
    sandbox.now = now + 5 * MINUTE
    again = source_of(sandbox, ALL)
    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse.run(again)
    assert len(warehouse.ids()) == len(set(warehouse.ids())) == 31
    metrics = again.resources[ALL].custom_metrics
    assert metrics["late_events"] == 3
    # Read first 100 seconds behind their timestamp: they became readable later than that.
    assert 95 <= metrics["latest_seconds"] <= 115
    assert "overlap" not in caplog.text
    # What was late is no news to the run after.
    sandbox.now = now + 10 * MINUTE
    third = source_of(sandbox, ALL)
    warehouse.run(third)
    assert third.resources[ALL].custom_metrics["late_events"] == 0


def test_lateness_near_the_edge_of_the_overlap_names_the_overlap_to_set(
    warehouse: Any,
    serve: TMake,
    source_of: TMake,
    event: TMake,
    at: TAt,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = at("03-02")
    delayed = late(event(99, now - 500 * SECOND), 600)
    sandbox = serve([event(1, now - 400 * SECOND), delayed], now=now)
    warehouse.run(source_of(sandbox, ALL))
    sandbox.now = now + 2 * MINUTE
    again = source_of(sandbox, ALL)
    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse.run(again)
    assert warehouse.ids() == ["event-00001", "event-00099"]
    assert again.resources[ALL].custom_metrics["late_events"] == 1
    (warning,) = [r.getMessage() for r in caplog.records if "set overlap=" in r.getMessage()]
    assert warning.startswith(f"{ALL}: 1 events became visible")
    advised = int(warning.rsplit("=", 1)[1])
    assert advised >= 1000
    assert advised % 60 == 0


def test_without_late_events_nothing_is_counted_or_said(
    warehouse: Any,
    serve: TMake,
    source_of: TMake,
    event: TMake,
    at: TAt,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = at("03-02")
    sandbox = serve((event(n, now - 900 * SECOND + n * 10 * SECOND) for n in range(150)), now=now)
    with caplog.at_level(logging.WARNING, "np6_source"):
        for minutes in (0, 7):
            sandbox.now = now + minutes * MINUTE
            source = source_of(sandbox, ALL)
            warehouse.run(source)
            metrics = source.resources[ALL].custom_metrics
            assert (metrics["late_events"], metrics["latest_seconds"]) == (0, 0)
    assert caplog.text == ""


def test_each_id_is_measured_by_its_own_overlap(
    warehouse: Any, serve: TMake, source_of: TMake, event: TMake, at: TAt
) -> None:
    name, ids = "action_events_activations", ["000001", "000002"]
    now = at("03-02")
    sandbox = serve(
        [
            event(1, now - 100 * SECOND, action="000001"),
            late(event(2, now - 100 * SECOND, action="000001"), 120),
            event(3, now - 100 * SECOND, action="000002"),
        ],
        now=now,
    )
    warehouse.run(source_of(sandbox, name, action_ids=ids))
    sandbox.now = now + 5 * MINUTE
    source = source_of(sandbox, name, action_ids=ids)
    warehouse.run(source)
    assert source.resources[name].custom_metrics["late_events"] == 1
    assert len(warehouse.ids()) == 3


def test_a_window_that_ends_after_the_runs_beginning_is_counted_to_its_end() -> None:
    """As where the server's clock is behind, and the first request leaves some seconds later."""
    began, overlap = 1_000 * MINUTE, 10 * MINUTE
    window = Window(began - 20 * MINUTE, began + 7 * SECOND)
    probe = LatenessProbe(overlap, lambda: began, None, None)
    counting = probe.counting(window)
    assert counting is not None
    counted = [Window(max(s.start, window.start), min(s.end, window.end)) for s in counting.spans]
    probe.add({began // counting.width: 3}, counted)
    progress = probe.with_tail(Progress(window.start, window.end))
    assert progress.tail == {began // counting.width: 3}
