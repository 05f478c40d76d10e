"""Run after run: nothing is lost, nothing stands twice, every window is asked for when it is over.

The sandbox's clock is stopped at moments of 2024 and moved between the runs: the machine's own
clock is far ahead of it, so that every run here also depends on the server's time being believed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import SettingError
from np6_source.sandbox import EventRow, Fault, Sandbox, account_from_events, mass_mailing_account
from np6_source.windows import DAY, SECOND, Window, gaps, merged, to_ms

if TYPE_CHECKING:
    from tests.support import Warehouse

HOUR, MINUTE = 3600 * SECOND, 60 * SECOND
SETTLE = 30 * SECOND
OVERLAP = 600 * SECOND
ALL = "actions_events"

TAt = Callable[[str], int]
TMake = Callable[..., Any]


def asked(sandbox: Sandbox, path: str = "/actions/events") -> list[Window]:
    """The windows of the requests so far, in order."""
    return [
        Window(moment(request.query["start"]), moment(request.query["end"]))
        for request in sandbox.requests
        if request.path == path
    ]


def moment(text: str) -> int:
    return to_ms(datetime.fromisoformat(text.replace("Z", "+00:00")))


def is_up_to(end: int, now: int) -> bool:
    """Whether a span goes up to what had settled at a moment, but for a slow answer's seconds."""
    return 0 <= now - SETTLE - end <= MINUTE


class TestRunsInARow:
    def test_the_second_run_reads_the_overlap_again_and_repeats_nothing(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        # One in every overlap: five minutes to each hour.
        sandbox = serve(
            (event(n, at("03-01") + n * HOUR - 5 * MINUTE) for n in range(1, 40)), now=at("03-02")
        )
        source = lambda: source_of(sandbox, ALL, concurrency=1)  # noqa: E731
        warehouse.run(source())
        assert len(warehouse.ids()) == 24
        sandbox.requests.clear()
        sandbox.now = at("03-02T06:00")
        warehouse.run(source())
        place = asked(sandbox)[0].start + OVERLAP
        assert is_up_to(place, at("03-02"))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(1, 31)]
        sandbox.now = at("03-03")
        warehouse.run(source())
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(1, 40)]

    def test_windows_cover_exactly_from_start_to_what_has_settled(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve([event(1, at("03-01T12:00"))])
        for now in ("03-01T18:00:00", "03-02T07:13:11", "03-09T00:00:00"):
            sandbox.now = at(now)
            warehouse.run(source_of(sandbox, ALL, window=7 * 3600))
            (covered,) = merged(warehouse.windows(ALL))
            assert covered.start == at("03-01")
            assert is_up_to(covered.end, at(now))
            assert warehouse.places(ALL)["places"][""]["until"] == covered.end

    def test_no_window_ends_later_than_the_settle_time_before_the_server_time(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake
    ) -> None:
        now = int(time.time() * SECOND)
        sandbox = serve([event(1, now - 90 * SECOND), event(2, now - SECOND)])
        start = datetime.fromtimestamp(now // SECOND - 7200, timezone.utc)
        warehouse.run(source_of(sandbox, start=start, settle=60))
        latest = to_ms(sandbox.now) - 60 * SECOND
        for path in ("/actions/events",):
            assert asked(sandbox, path)
            assert all(window.end <= latest for window in asked(sandbox, path))
        assert warehouse.ids() == ["event-00001"]
        for row in warehouse.rows("load_windows"):
            assert row["window_end"] <= row["requested_at"] - 60 * SECOND

    def test_a_first_run_begins_thirty_days_ago(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake
    ) -> None:
        now = int(time.time() * SECOND)
        sandbox = serve([event(1, now - 29 * DAY), event(2, now - 31 * DAY)])
        warehouse.run(source_of(sandbox, ALL, start=None))
        assert warehouse.ids() == ["event-00001"]
        first = warehouse.windows(ALL)[0].start
        assert now - SECOND <= first + 30 * DAY <= int(time.time() * SECOND)

    def test_events_at_the_bounds_of_windows_arrive_once(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        start = at("03-01")
        moments = [
            start + n * HOUR + step for n in range(8) for step in (-1, 0, 1) if n or step >= 0
        ]
        # Around the end of what has settled; what has not yet is kept all the same, as it arrived.
        moments += [at("03-01T09:00") - SETTLE - ms for ms in (9_000, 0, -1)]
        sandbox = serve((event(n, ms) for n, ms in enumerate(moments)), now=at("03-01T09:00"))
        warehouse.run(source_of(sandbox, ALL, window=3600))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(len(moments))]
        assert warehouse.windows(ALL)[-1].end <= at("03-01T09:00") - SETTLE
        sandbox.now = at("03-01T10:00")
        warehouse.run(source_of(sandbox, ALL, window=3600))
        assert len(warehouse.ids()) == len(moments)

    def test_a_run_with_nothing_new_leaves_the_tables_as_they_are(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve([event(1, at("03-01T12:00"))], now=at("03-02"))
        warehouse.run(source_of(sandbox, ALL))
        before = warehouse.contents()
        sandbox.now = at("03-05")
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.contents() == before

    def test_a_start_before_the_first_names_the_backfill_to_run(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        event: TMake,
        at: TAt,
    ) -> None:
        sandbox = serve([event(1, at("02-10")), event(2, at("03-01"))], now=at("03-02"))
        warehouse.run(source_of(sandbox, ALL))
        sandbox.now = at("03-03")
        backfill = "start=2024-02-01T00:00:00Z and end=2024-03-01T00:00:00Z"
        with pytest.raises(PipelineStepFailed, match=backfill):
            warehouse.run(source_of(sandbox, ALL, start="2024-02-01"))
        assert warehouse.ids() == ["event-00002"]
        warehouse.run(
            source_of(sandbox, ALL, start="2024-02-01T00:00:00Z", end="2024-03-01T00:00:00Z")
        )
        assert warehouse.ids() == ["event-00001", "event-00002"]
        warehouse.run(source_of(sandbox, ALL, start="2024-02-01"))
        assert gaps(Window(at("02-01"), at("03-02")), warehouse.windows(ALL)) == []


class TestTheSameEventTwice:
    def test_one_row_though_several_resources_return_it(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        hits = [event(n, at("03-01T12:00") + n, type="hit", action="000AA1") for n in range(1, 6)]
        sandbox = serve(hits, now=at("03-02"))
        by_id = source_of(sandbox, action_ids=["000AA1"], target_ids=["CON00001"])
        names = [*by_id.selected_resources, ALL, "actions_reactivities"]
        warehouse.run(by_id.with_resources(*names))
        answered = {request.path for request in sandbox.requests if request.event_count}
        assert {
            "/actions/events",
            "/actions/reactivities",
            "/actions/000AA1/reactivities",
        } <= answered
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(1, 6)]
        assert len(warehouse.rows("events__hits")) == 5

    def test_duplicates_inside_an_answer_are_one_row(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve((event(n, at("03-01T12:00")) for n in range(5)), now=at("03-02"))
        with sandbox.faults.during("duplicate=3"):
            warehouse.run(source_of(sandbox, ALL))
        assert sandbox.fault_counts["duplicate"]
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(5)]

    def test_of_two_contents_for_an_id_the_one_asked_for_last_stays(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        old = event(1, at("03-01T23:55"), action="OLD001")
        sandbox = serve([old], now=at("03-02"))
        warehouse.run(source_of(sandbox, ALL))
        assert [row["action_id"] for row in warehouse.rows("events")] == ["OLD001"]
        replaced = serve([event(1, at("03-01T23:55"), action="NEW001")], now=at("03-02T01:00"))
        warehouse.run(source_of(replaced, ALL))
        assert [row["action_id"] for row in warehouse.rows("events")] == ["NEW001"]

    def test_of_two_contents_in_one_load_the_one_asked_for_last_stays(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        # The slower of two operations is asked first and answers the older content.
        first = event(1, at("03-01T12:00"), action="000AA1", type="hit")
        sandbox = serve([first], now=at("03-02"))
        clock = iter(range(10_000))
        sandbox.now = lambda: at("03-02") + next(clock) * 5 * SECOND
        sandbox.account.add_ids("action_id", ["000AA2"])
        changed = event(1, at("03-01T12:00"), action="000AA2", type="hit")
        sandbox.account.add_events([EventRow(changed, action_id="000AA2", visible_at=0)])
        names = ["action_reactivities"]
        warehouse.run(source_of(sandbox, *names, action_ids=["000AA1", "000AA2"], concurrency=1))
        assert [row["action_id"] for row in warehouse.rows("events")] == ["000AA2"]

    def test_a_merge_reads_only_the_increment_s_range_of_time_if_timestamps_are_final(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        events = [event(n, at("03-01T12:00") + n * SECOND) for n in range(3)]
        sandbox = serve(events, now=at("03-05"))
        day = {"start": at("03-01"), "end": at("03-02")}
        warehouse.run(source_of(sandbox, ALL, **day))
        # What a merge leaves alone it has not looked at: no event ever has two rows.
        warehouse.execute(
            "INSERT INTO np6.events SELECT * REPLACE (timestamp - INTERVAL 1 DAY AS timestamp)"
            " FROM np6.events WHERE id = 'event-00001'"
        )
        warehouse.run(source_of(sandbox, ALL, **day, timestamps_are_final=True))
        assert warehouse.ids() == ["event-00000", "event-00001", "event-00001", "event-00002"]
        warehouse.run(source_of(sandbox, ALL, **day))
        assert warehouse.ids() == ["event-00000", "event-00001", "event-00002"]

    def test_an_event_that_gets_another_timestamp_is_one_row(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        span = {"start": at("03-01"), "end": at("03-03")}
        for moment in ("03-01T12:00", "03-02T12:00"):
            sandbox = serve([event(1, at(moment))], now=at("03-05"))
            warehouse.run(source_of(sandbox, ALL, **span))
        (row,) = warehouse.rows("events")
        assert row["timestamp"] == at("03-02T12:00")

    def test_content_that_shrinks_leaves_no_rows_of_its_children_behind(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, at: TAt
    ) -> None:
        def execution(data: dict[str, Any]) -> dict[str, Any]:
            return {
                "type": "execution",
                "id": "one",
                "timestamp": at("03-01T23:55"),
                "source": {
                    "type": "email",
                    "detail": {"execution": {"id": "000AA1", "data": data}},
                },
            }

        sandbox = serve([execution({"a": 1, "b": 2})], now=at("03-02"))
        warehouse.run(source_of(sandbox, ALL))
        replaced = serve([execution({"a": 3})], now=at("03-02T01:00"))
        warehouse.run(source_of(replaced, ALL))
        found = {row["key"]: row["value"] for row in warehouse.rows("events__execution_data")}
        assert found == {"a": "3"}


class TestUnusualAnswers:
    def test_the_order_of_an_answer_does_not_matter(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve((event(n, at("03-01") + n * MINUTE) for n in range(300)), now=at("03-02"))
        with sandbox.faults.during("unsorted"):
            warehouse.run(source_of(sandbox, ALL))
        assert len(warehouse.ids()) == len(set(warehouse.ids())) == 300
        assert is_up_to(warehouse.places(ALL)["places"][""]["until"], at("03-02"))

    def test_thousands_of_events_in_one_millisecond_arrive_and_leave_a_small_state(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, at: TAt
    ) -> None:
        # In the overlap, so that the next run reads all of them again.
        begin = at("03-01T23:55")
        account = mass_mailing_account(3_000, start=begin, end=begin + 1_000, timestamps=1)
        sandbox = serve(account, now=at("03-02"))
        warehouse.run(source_of(sandbox, ALL))
        assert len({row["timestamp"] for row in warehouse.rows("events")}) == 1
        sandbox.now = at("03-02T00:01")
        warehouse.run(source_of(sandbox, ALL))
        assert len(warehouse.ids()) == len(set(warehouse.ids())) == 3_000
        assert len(warehouse.state()) < 4_000

    def test_an_event_of_the_future_is_kept_and_moves_nothing(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        event: TMake,
        at: TAt,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        early = event(2, at("03-01T20:00"))
        # In the index it stands at noon, so it is served then; its own timestamp says 20 o'clock.
        sandbox = serve(
            [
                event(1, at("03-01T12:00")),
                EventRow(early, timestamp=at("03-01T12:00"), visible_at=0),
                EventRow(early, timestamp=at("03-01T20:00"), visible_at=0),
            ],
            now=at("03-01T13:00"),
        )
        with caplog.at_level(logging.WARNING, "np6_source"):
            warehouse.run(source_of(sandbox, ALL, window=12.5 * 3600))
        assert warehouse.ids() == ["event-00001", "event-00002"]
        assert is_up_to(warehouse.places(ALL)["places"][""]["until"], at("03-01T13:00"))
        sandbox.now = at("03-01T21:00")
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == ["event-00001", "event-00002"]

    def test_an_event_outside_a_whole_window_is_warned_about(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        event: TMake,
        at: TAt,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        stray = EventRow(event(2, at("2030-01-01")), timestamp=at("03-01T01:00"), visible_at=0)
        sandbox = serve([event(1, at("03-01T00:30")), stray], now=at("03-02"))
        with caplog.at_level(logging.WARNING, "np6_source"):
            pipeline = warehouse.run(source_of(sandbox, ALL, window=7200))
        assert any("1 events lie outside the window" in r.getMessage() for r in caplog.records)
        assert warehouse.ids() == ["event-00001", "event-00002"]
        assert pipeline.last_trace is not None


class TestClocks:
    """The machine's clock against the server's: an hour ahead, an hour behind."""

    @pytest.mark.parametrize("server_is_ahead", [timedelta(hours=1), timedelta(hours=-1)])
    def test_nothing_is_lost_and_nothing_skipped_while_the_clocks_differ(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        event: TMake,
        server_is_ahead: timedelta,
    ) -> None:
        server_now = int(time.time() * SECOND) + int(server_is_ahead.total_seconds()) * SECOND
        start = server_now // SECOND * SECOND - 6 * HOUR
        count = 6 * 12
        sandbox = serve(
            (event(n, start + n * 5 * MINUTE + 1) for n in range(count)), now=server_is_ahead
        )
        for shift in (timedelta(minutes=-17), timedelta()):
            sandbox.now = server_is_ahead + shift

            def settled(sandbox: Sandbox = sandbox) -> int:
                """The earlier of both clocks counts."""
                return min(to_ms(sandbox.now), int(time.time() * SECOND)) - SETTLE

            before = settled()
            warehouse.run(source_of(sandbox, ALL, start=start, window=3600))
            (covered,) = merged(warehouse.windows(ALL))
            assert covered.start == start
            # A run goes right up to what has settled, neither less nor more.
            assert before - MINUTE <= covered.end <= settled()
            arrived = [n for n in range(count) if start + n * 5 * MINUTE + 1 < covered.end]
            assert warehouse.ids() == [f"event-{n:05d}" for n in arrived]

    def test_a_server_clock_that_goes_back_repeats_and_loses_nothing(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(30)), now=at("03-02"))
        warehouse.run(source_of(sandbox, ALL))
        place = warehouse.places(ALL)["places"][""]["until"]
        sandbox.now = at("03-01T20:00")
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.places(ALL)["places"][""]["until"] == place
        sandbox.now = at("03-03")
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(30)]
        (covered,) = merged(warehouse.windows(ALL))
        assert covered.start == at("03-01")
        assert is_up_to(covered.end, at("03-03"))

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="time zones cannot be set here")
    @pytest.mark.parametrize("day", ["03-31", "10-27"])
    def test_days_on_which_the_local_time_jumps_are_loaded_whole(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        event: TMake,
        at: TAt,
        monkeypatch: pytest.MonkeyPatch,
        day: str,
    ) -> None:
        monkeypatch.setenv("TZ", "Europe/Paris")
        time.tzset()
        try:
            begin = at(day) - 12 * HOUR
            sandbox = serve(
                (event(n, begin + n * 30 * MINUTE) for n in range(96)), now=begin + 2 * DAY + HOUR
            )
            # A naive moment is UTC, whatever the machine's zone.
            naive = datetime.fromtimestamp(begin // SECOND, timezone.utc).replace(tzinfo=None)
            warehouse.run(source_of(sandbox, ALL, start=naive, window=5400))
        finally:
            monkeypatch.undo()
            time.tzset()
        assert os.environ.get("TZ") != "Europe/Paris"
        assert len(warehouse.ids()) == 96
        (covered,) = merged(warehouse.windows(ALL))
        assert covered.start == begin
        assert is_up_to(covered.end, begin + 2 * DAY + HOUR)
        stamps = [row["timestamp"] for row in warehouse.rows("events", "id")]
        assert stamps == [begin + n * 30 * MINUTE for n in range(96)]


class TestIds:
    """Resources over ids: a place for each."""

    def test_an_id_added_later_gets_its_whole_history(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        name = "action_events_activations"
        sandbox = serve(
            (event(n, at("03-01T01:00") + n * HOUR, action=f"00000{n % 2}") for n in range(60)),
            now=at("03-02"),
        )
        warehouse.run(source_of(sandbox, name, action_ids=["000000"]))
        assert all(row["action_id"] == "000000" for row in warehouse.rows("events"))
        sandbox.now = at("03-04")
        warehouse.run(source_of(sandbox, name, action_ids=["000000", "000001"]))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(60)]
        for scope in ("000000", "000001"):
            (covered,) = merged(warehouse.windows(name, scope))
            assert covered.start == at("03-01")
            assert is_up_to(covered.end, at("03-04"))

    def test_an_id_left_out_for_a_while_goes_on_where_it_was(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        name = "action_events_activations"
        sandbox = serve(
            (event(n, at("03-01T01:00") + n * HOUR, action=f"00000{n % 2}") for n in range(90)),
            now=at("03-02"),
        )
        for now, given in (
            ("03-02", ["000000", "000001"]),
            ("03-03", ["000001"]),
            ("03-05", ["000001", "000000"]),
        ):
            sandbox.now = at(now)
            warehouse.run(source_of(sandbox, name, action_ids=given))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(90)]

    @pytest.mark.parametrize("on_error", ["raise", "keep"])
    def test_an_id_that_fails_keeps_its_place_and_stops_no_other(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        event: TMake,
        at: TAt,
        caplog: pytest.LogCaptureFixture,
        on_error: str,
    ) -> None:
        name = "action_events_activations"
        ids = ["000000", "000001", "000002"]
        sandbox = serve(
            (event(n, at("03-01T01:00") + n * HOUR, action=ids[n % 3]) for n in range(60)),
            now=at("03-02"),
        )
        source = lambda: source_of(sandbox, name, action_ids=ids, on_error=on_error)  # noqa: E731
        warehouse.run(source())
        place = warehouse.places(name)["places"]["000001"]["until"]
        sandbox.now = at("03-03")
        with sandbox.faults.during(Fault("status", 404, id="000001")):
            resources = source()
            with caplog.at_level(logging.ERROR, "np6_source"):
                warehouse.run(resources)
        (failure,) = resources.resources[name].custom_metrics["failures"]
        assert failure["kind"] == "NotFound"
        assert "id 000001" in failure["message"]
        assert any("id 000001" in record.getMessage() for record in caplog.records)
        places = warehouse.places(name)["places"]
        assert places["000001"]["until"] == place
        assert all(is_up_to(places[i]["until"], at("03-03")) for i in ("000000", "000002"))
        sandbox.now = at("03-04")
        warehouse.run(source())
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(60)]
        for scope in ids:
            (covered,) = merged(warehouse.windows(name, scope))
            assert covered.start == at("03-01")
            assert is_up_to(covered.end, at("03-04"))

    def test_twenty_five_ids_have_twenty_five_places(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        name = "action_events_activations"
        ids = [f"0001{n:02d}" for n in range(25)]
        sandbox = serve(
            (event(n, at("03-01T01:00") + n * 10 * MINUTE, action=ids[n % 25]) for n in range(100)),
            now=at("03-02"),
        )
        warehouse.run(source_of(sandbox, name, action_ids=ids))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(100)]
        assert set(warehouse.places(name)["places"]) == set(ids)

    def test_runs_that_stop_early_get_to_every_id_in_turn(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        name = "action_events_activations"
        ids = [f"00000{n}" for n in range(3)]
        sandbox = serve(
            (event(n, at("03-01T01:00") + n * MINUTE, action=ids[n % 3]) for n in range(60)),
            now=at("03-02"),
        )
        for _ in range(3):
            warehouse.run(source_of(sandbox, name, action_ids=ids, largest_load=5))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(60)]


class TestBackfill:
    """``start`` and ``end``: just that range, beside every cursor."""

    @pytest.fixture
    def sandbox(self, serve: TMake, event: TMake, at: TAt) -> Sandbox:
        sandbox: Sandbox = serve(
            (event(n, at("02-20") + n * HOUR) for n in range(24 * 14)), now=at("03-03")
        )
        return sandbox

    def test_it_loads_exactly_its_range_and_leaves_the_state_byte_for_byte(
        self, warehouse: Warehouse, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        warehouse.run(source_of(sandbox))
        before, loaded = warehouse.state(), set(warehouse.ids())
        sandbox.requests.clear()
        begin, end = at("02-22T12:34:56"), at("02-25T01:02:03")
        warehouse.run(source_of(sandbox, start=begin, end=end, window=7200))
        assert warehouse.state() == before
        numbers = range(24 * 14)
        expected = {f"event-{n:05d}" for n in numbers if begin <= at("02-20") + n * HOUR < end}
        assert set(warehouse.ids()) - loaded == expected
        assert merged(asked(sandbox)) == [Window(begin, end)]
        assert Window(begin, end) in merged(warehouse.windows(ALL))

    def test_it_may_run_in_a_pipeline_of_its_own_beside_the_schedule(
        self,
        warehouse: Warehouse,
        new_warehouse: TMake,
        sandbox: Sandbox,
        source_of: TMake,
        at: TAt,
    ) -> None:
        backfills = new_warehouse(name="np6_backfill", database=warehouse.database)
        warehouse.run(source_of(sandbox, ALL))
        backfills.run(source_of(sandbox, ALL, start="2024-02-20", end="2024-03-01T06:00:00Z"))
        sandbox.now = at("03-05")
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(24 * 14)]
        assert gaps(Window(at("02-20"), at("03-05") - MINUTE), warehouse.windows(ALL)) == []

    @pytest.mark.parametrize("on_error", ["raise", "keep"])
    def test_an_end_in_the_future_is_refused(
        self, warehouse: Warehouse, sandbox: Sandbox, source_of: TMake, on_error: str
    ) -> None:
        sandbox.now = None
        tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
        with pytest.raises(PipelineStepFailed, match="lies in the future"):
            warehouse.run(source_of(sandbox, ALL, end=tomorrow, on_error=on_error))
        assert sandbox.requests == []

    def test_an_end_that_is_in_the_future_by_the_server_clock_loads_nothing_of_it(
        self, warehouse: Warehouse, sandbox: Sandbox, source_of: TMake
    ) -> None:
        with pytest.raises(PipelineStepFailed, match="the window is not over"):
            warehouse.run(source_of(sandbox, ALL, start="2024-03-02", end="2024-03-04"))
        assert warehouse.rows("load_windows") == []

    @pytest.mark.parametrize("end", ["2024-02-20T00:00:00Z", "2024-02-19T00:00:00Z"])
    def test_an_empty_range_is_refused_by_the_names_of_its_parameters(
        self, sandbox: Sandbox, source_of: TMake, end: str
    ) -> None:
        with pytest.raises(SettingError, match=r"start=.* must be before end="):
            source_of(sandbox, ALL, start="2024-02-20T00:00:00Z", end=end)
        assert sandbox.requests == []

    def test_an_interrupted_one_goes_on_where_it_stopped(
        self, warehouse: Warehouse, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        stops = iter([False, True])
        options: dict[str, Any] = {
            "start": "2024-02-20",
            "end": "2024-02-24",
            "window": 86_400,
            "largest_load": 24,
            "on_error": "keep",
        }
        first = warehouse.load(
            lambda: source_of(sandbox, ALL, **options), stop_when=lambda: next(stops)
        )
        assert first.stopped
        assert first.packages == 2
        covered = merged(warehouse.windows(ALL))
        assert covered[0].start == at("02-20")
        sandbox.requests.clear()
        second = warehouse.load(lambda: source_of(sandbox, ALL, **options))
        assert not second.stopped
        # Nothing that was complete is asked for again.
        assert min(asked(sandbox)).start == covered[-1].end
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(24 * 4)]
        assert merged(warehouse.windows(ALL)) == [Window(at("02-20"), at("02-24"))]
        assert "backfills" not in warehouse.state()

    def test_a_backfill_of_ids_leaves_their_places(
        self, warehouse: Warehouse, sandbox: Sandbox, source_of: TMake
    ) -> None:
        name = "action_events_activations"
        warehouse.run(source_of(sandbox, name, action_ids=["000AA1"]))
        before = warehouse.state()
        warehouse.run(
            source_of(sandbox, name, action_ids=["000AA1"], start="2024-02-20", end="2024-02-22")
        )
        assert warehouse.state() == before
        assert len([i for i in warehouse.ids() if i < "event-00048"]) == 48


def test_an_end_alone_caps_a_run(
    warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake
) -> None:
    now = int(time.time()) * SECOND
    sandbox = serve([event(n, now - n * HOUR) for n in range(1, 6)])
    cap = now - 3 * HOUR
    warehouse.run(source_of(sandbox, ALL, start=None, end=cap))
    assert warehouse.ids() == ["event-00004", "event-00005"]
    assert warehouse.places(ALL)["places"][""]["until"] == cap
    warehouse.run(source_of(sandbox, ALL, start=None))
    assert warehouse.ids() == [f"event-{n:05d}" for n in range(1, 6)]


def test_an_account_without_events_is_complete_too(
    warehouse: Warehouse, serve: TMake, source_of: TMake, at: TAt
) -> None:
    sandbox = serve(account_from_events([]), now=at("03-02"))
    warehouse.run(source_of(sandbox, ALL))
    assert warehouse.ids() == []
    (covered,) = merged(warehouse.windows(ALL))
    assert covered.start == at("03-01")
    assert is_up_to(covered.end, at("03-02"))
