"""Days read again: what became visible late arrives, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from np6_source import SettingError
from np6_source.alarms import alarms
from np6_source.ledger import coverage, recent_windows
from np6_source.loading import load
from np6_source.recheck import plan_recheck, recheck
from np6_source.sandbox import EventRow, Fault, Sandbox
from np6_source.schema import EVENT_TABLES
from np6_source.windows import DAY, Window
from tests.support import Warehouse, at, event

TMake = Callable[..., Any]
ALL = "actions_events"
HOUR = 3_600_000
FIRST = at("03-01")
TABLES = [table.name for table in EVENT_TABLES]


class Story:
    """A schedule, and a server that changes between its runs."""

    def __init__(self, warehouse: Warehouse, serve: TMake, source_of: TMake) -> None:
        self.warehouse = warehouse
        self._serve = serve
        self._source_of = source_of
        self.events: list[Any] = []
        self.api: Sandbox

    def now(self, moment: str) -> None:
        """Another server, with the events as they are and its clock at a moment."""
        self.api = self._serve(self.events, now=at(moment))
        self.moment = at(moment)

    def source(self, **options: Any) -> Any:
        return self._source_of(self.api, ALL, **{"on_error": "keep", **options})

    def load(self, **options: Any) -> Any:
        return load(self.warehouse.pipeline, lambda **more: self.source(**options | more))

    def plan(self, days: int = 14, **options: Any) -> Any:
        options.setdefault("now", self.moment)
        return plan_recheck(self.warehouse.pipeline, self.source(), days=days, **options)

    def recheck(self, plan: Any = None, **options: Any) -> Any:
        plan = self.plan() if plan is None else plan
        return recheck(self.warehouse.pipeline, self.source, plan, **options)

    def asked(self) -> list[Window]:
        return [
            Window(at(request.query["start"]), at(request.query["end"]))
            for request in self.api.requests
        ]

    def places(self) -> tuple[Any, ...]:
        """Everything that says where a schedule goes on, wherever it is kept."""
        folder = self.warehouse.pipelines_dir / self.warehouse.name
        files = [
            (file.relative_to(folder), file.read_bytes())
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        ]
        return files, self.warehouse.rows("_dlt_pipeline_state"), self.warehouse.state()


@pytest.fixture
def story(warehouse: Warehouse, serve: TMake, source_of: TMake) -> Story:
    """Four days with events every six hours, loaded an hour after the fourth."""
    made = Story(warehouse, serve, source_of)
    made.events = [event(n, FIRST + n * 6 * HOUR) for n in range(16)]
    made.now("03-05T01:00")
    assert made.load().failures == []
    return made


def test_an_event_that_became_visible_late_arrives_and_nothing_else_changes(story: Story) -> None:
    story.events.append(event(99, at("03-02T10:00")))
    story.now("03-10T02:00")
    story.load()
    assert "event-00099" not in story.warehouse.ids()
    rows, places = story.warehouse.rows("events"), story.places()
    covered = coverage(story.warehouse.pipeline)
    plan = story.plan()
    story.api.requests.clear()
    report = story.recheck(plan)
    # What was there is as it was, its request and its package too.
    assert [row for row in story.warehouse.rows("events") if row in rows] == rows
    assert story.warehouse.ids().count("event-00099") == 1
    assert len(story.warehouse.rows("events")) == len(rows) + 1
    assert (report.new, report.changed, report.failures) == (1, 0, [])
    (late,) = [row for row in story.warehouse.rows("lateness") if row["bucket"] != "none"]
    assert late["day"] == at("03-02")
    assert (late["bucket"], late["late_events"], late["events_read_again"]) == ("8d", 1, 5)
    # Of days that the first load has read when they were over, nothing says what had come late.
    others = {row["day"] for row in story.warehouse.rows("lateness") if row["bucket"] == "none"}
    assert (report.days, others) == (5, {at("03-04")})
    # Places, coverage and alarms are as without it, and no more was asked than was said.
    assert story.places() == places
    assert coverage(story.warehouse.pipeline) == covered
    assert 0 < len(story.asked()) <= plan.requests
    until = max(window.end for window in covered[ALL, ""])
    assert max(window.end for window in story.asked()) <= until
    found = [row for row in story.warehouse.rows("load_windows") if row["purpose"] == "recheck"]
    assert sum(row["new_count"] for row in found) == 1
    ledger = recent_windows(story.warehouse.pipeline, 90 * DAY)
    without = ledger.filter([one != "recheck" for one in ledger["purpose"].to_pylist()])
    assert alarms(ledger, story.moment) == alarms(without, story.moment)
    # Twice in a row: nothing is due, and nothing differs.
    assert story.plan().planned == []
    again = story.recheck(story.plan(all_days=True))
    assert (again.days > 0, again.loaded) == (True, 0)
    assert len(story.warehouse.rows("events")) == len(rows) + 1


def test_a_day_with_fewer_events_is_refused_until_it_is_accepted(story: Story) -> None:
    story.events[:0] = [event(n, at("03-03") + n * 1000) for n in range(200, 300)]
    story.now("03-05T02:00")
    story.recheck(story.plan(all_days=True))
    before, places = story.warehouse.contents(), story.places()
    del story.events[:60]
    story.now("03-06T03:00")
    story.load()
    rows = story.warehouse.rows("load_windows")
    report = story.recheck()
    (failure,) = report.failures
    assert failure["kind"] == "FewerEvents"
    assert "44 events of the day, and 104 before" in failure["message"]
    assert "2024-03-03" in failure["message"]
    assert "--accept-fewer" in failure["message"]
    assert story.warehouse.contents() == before
    assert report.fewer == 60
    assert (report.days, report.events) == (2, 8)  # Without those of the day that was refused.
    new = [row for row in story.warehouse.rows("load_windows") if row not in rows]
    assert {row["window_start"] for row in new} == {at("03-01"), at("03-04")}
    assert [day.date for _, _, day in story.plan().planned] == ["2024-03-03"]
    assert story.recheck(accept_fewer=True).failures == []
    assert story.plan().planned == []
    assert story.warehouse.contents() == before
    assert story.places() != places  # Of the load.


def test_a_few_events_fewer_are_a_warning(story: Story, caplog: pytest.LogCaptureFixture) -> None:
    del story.events[9]
    story.now("03-06T03:00")
    report = story.recheck()
    assert report.failures == []
    assert "2024-03-03 has 1 events fewer than before (3 of 4)" in caplog.text
    assert "event-00009" in story.warehouse.ids()


def test_another_content_replaces_the_event_whole(story: Story) -> None:
    story.events[9] = event(9, FIRST + 54 * HOUR, action="000ZZ9")
    # Moved to another day: it is there, but not where it was.
    story.events[10] = event(10, FIRST + 73 * HOUR)
    story.now("03-06T03:00")
    report = story.recheck()
    assert (report.new, report.changed) == (0, 2)
    found = {row["id"]: row for row in story.warehouse.rows("events")}
    assert found["event-00009"]["action_id"] == "000ZZ9"
    assert found["event-00010"]["timestamp"] == FIRST + 73 * HOUR
    assert len(found) == len(story.warehouse.rows("events")) == 16


def test_events_that_the_tables_have_lost_come_back_and_are_not_called_late(story: Story) -> None:
    story.warehouse.execute("DELETE FROM np6.events WHERE timestamp::DATE = '2024-03-03'")
    story.now("03-06T03:00")
    report = story.recheck()
    (failure,) = report.failures
    assert failure["kind"] == "RowsMissing"
    assert "4 events fewer than were loaded" in failure["message"]
    assert "gaps --fill" in failure["message"]
    assert (report.lost, report.lateness.late_events) == (4, 0)
    assert len(story.warehouse.ids()) == 16
    assert story.recheck(story.plan(all_days=True)).failures == []


def test_an_event_that_a_load_has_moved_to_another_day_is_not_lost(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    story.events[9] = event(9, at("03-06T02:00"))
    story.now("03-06T03:00")
    story.load()
    story.now("03-07T03:00")
    report = story.recheck(story.plan(all_days=True))
    assert report.failures == []
    assert (report.new, report.lost) == (0, 0)
    assert "(3 of 4): they were removed, or have another timestamp" in caplog.text
    assert len(story.warehouse.ids()) == 16


def test_lost_events_are_late_in_no_operation_that_returns_them(
    warehouse: Warehouse, serve: TMake, source_of: TMake
) -> None:
    both = (ALL, "actions_reactivities")
    events = [event(n, FIRST + n * HOUR, type=("activation", "bounce")[n % 2]) for n in range(24)]
    api = serve(events, now=at("03-02T01:00"))
    load(warehouse.pipeline, lambda **more: source_of(api, *both, **more))
    warehouse.execute("DELETE FROM np6.events WHERE id IN ('event-00001', 'event-00003')")
    late = event(40, FIRST + 5 * HOUR, type="bounce")
    for more, expected in (([], 0), ([late], 1)):
        api = serve(events + more, now=at("03-03T03:00"))
        source = lambda: source_of(api, *both, on_error="keep")  # noqa: B023, E731
        plan = plan_recheck(warehouse.pipeline, source(), days=14, all_days=True, now=at("03-03"))
        report = recheck(warehouse.pipeline, source, replace(plan, days=1))
        assert report.new == (expected or 2)
        assert report.lateness.late_events == expected
        assert report.late_at_the_end == expected


def test_a_day_that_fails_stays_due_and_stops_no_other(story: Story) -> None:
    story.events += [event(50 + n, at(f"03-0{n}T07:00")) for n in (1, 3, 4)]
    story.now("03-06T03:00")
    story.api.faults.append(Fault("status", 418, times=1))
    places = story.places()
    report = story.recheck()
    (failure,) = report.failures
    assert failure["kind"] == "UnexpectedStatus"
    assert story.places() == places
    (left,) = [day for _, _, day in story.plan().planned]
    missing = {f"event-0005{n}" for n in (1, 3, 4)} - set(story.warehouse.ids())
    assert missing <= {f"event-0005{left.date[-1]}"}
    assert len(story.warehouse.ids()) >= 18


def test_a_part_of_a_day_tells_of_lateness_only_where_it_has_late_events(story: Story) -> None:
    fourth = at("03-04")  # Read an hour after it was over.
    parts = [Window(fourth + n * 6 * HOUR, fourth + (n + 1) * 6 * HOUR) for n in range(4)]
    for part in parts:
        story.recheck(story.plan(span=part))
    assert story.warehouse.rows("lateness") == []
    story.events.append(event(50, parts[1].start + HOUR))
    story.now("03-05T02:00")
    assert story.recheck(story.plan(span=parts[1])).new == 1
    assert [row["late_events"] for row in story.warehouse.rows("lateness")] == [1]


def test_another_accounts_key_is_refused(story: Story, source_of: TMake) -> None:
    story.now("03-06T03:00")
    plan = story.plan()
    with pytest.raises(SettingError, match="Nothing was loaded"):
        recheck(story.warehouse.pipeline, lambda: story.source(same_account=False), plan)
    assert story.api.requests == []


@pytest.mark.parametrize(("days", "arrives"), [("14d", True), ("7d", False)])
def test_a_schedule_with_recheck_loads_what_came_nine_days_late(
    story: Story, days: str, arrives: bool
) -> None:
    late = event(99, at("03-02T10:00"))
    story.events.append(EventRow(late, visible_at=at("03-11T10:00")))
    for moment in ("03-07T03:00", "03-10T03:00", "03-17T03:00"):
        story.now(moment)
        report = story.load(recheck=days)
        assert report.failures == []
        assert report.recheck is not None
    assert ("event-00099" in story.warehouse.ids()) is arrives
    buckets = [row["bucket"] for row in story.warehouse.rows("lateness") if row["bucket"] != "none"]
    assert buckets == (["16d"] if arrives else [])
    if arrives:
        assert report.recheck.late_at_the_end == 1
        assert report.recheck.lateness.recommended == 64
    # Not time again.
    assert story.load(recheck=days).recheck is None


def test_what_the_ledger_says_of_a_recheck_is_a_response_of_its_own(story: Story) -> None:
    story.now("03-06T03:00")
    story.recheck()
    rows = [row for row in story.warehouse.rows("load_windows") if row["purpose"] == "recheck"]
    assert [row["new_count"] for row in rows] == [0] * 3
    assert all(json.loads(row["type_counts"]) == {"activation": 4} for row in rows)
    assert {row["window_end"] - row["window_start"] for row in rows} == {DAY}
