"""One suite for every destination: the same rows as in DuckDB, whatever happens on the way.

`make test-destinations` runs it for all of them, `make test` what is not marked: for PostgreSQL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from np6_source.ledger import coverage, missing
from np6_source.loading import TableMissing, load
from np6_source.sandbox import EventRow, Sandbox, generated_account
from np6_source.schema import EVENT_TABLES, EVENTS, LOAD_WINDOWS, TABLES
from np6_source.windows import SECOND, Window, merged
from tests.destinations.stores import Store

ALL = "actions_events"
HOUR, MINUTE = 3600 * SECOND, 60 * SECOND
TMake = Callable[..., Any]
TAt = Callable[[str], int]


@pytest.fixture
def account_sandbox(serve: TMake, at: TAt) -> Sandbox:
    """A week of an account, readable up to noon of its fourth day."""
    account = generated_account(
        events=1_000,
        seed=5,
        start=datetime(2024, 3, 1, tzinfo=timezone.utc),
        end=datetime(2024, 3, 8, tzinfo=timezone.utc),
    )
    sandbox: Sandbox = serve(account, now=at("03-04T12:00"))
    return sandbox


def execution(event_id: str, timestamp: int, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "execution",
        "id": event_id,
        "timestamp": timestamp,
        "source": {"type": "email", "detail": {"execution": {"id": "000AA1", "data": data}}},
    }


def ids(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    return [row["id"] for row in rows["events"]]


class TestLoads:
    def test_a_first_load_an_increment_and_a_run_again_give_the_rows_of_duckdb(
        self, side_by_side: Any, account_sandbox: Sandbox, make: TMake, at: TAt
    ) -> None:
        side_by_side.load(make(account_sandbox))
        first = side_by_side.check()
        assert 300 < len(first["events"]) < 900
        filled = {name for name, rows in first.items() if rows}
        assert filled == {table.name for table in EVENT_TABLES} - {
            "events__campaigns",
            "events__robots",
        }
        account_sandbox.now = at("03-10")
        side_by_side.load(make(account_sandbox))
        second = side_by_side.check()
        assert set(ids(first)) < set(ids(second))
        # All of it once more.
        again = side_by_side.load(make(account_sandbox, overlap=9 * 24 * 3600))
        assert again.rows["events"] >= len(second["events"])
        third = side_by_side.check()
        assert ids(third) == ids(second)
        assert len(ids(third)) == len(set(ids(third)))

    def test_texts_numbers_and_times_arrive_as_they_are(
        self, side_by_side: Any, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        odd = {
            "upper-case uuid": "0F8FAD5B-D9CB-469F-A165-70867728950E",
            "leading zeros": "007",
            "a time": "2024-01-01T00:00:00Z",
            "empty": "",
            "quotes": "'\"`\\ , ; \t \n \r\n end",
            "accents": "é ß 漢字 😀",
            "backslash N": "\\N",
            "json": '{"a": [1, null]}',
            "number": 12345678901234567,
            "fraction": 0.1,
            "nothing": None,
            "object": {"b": [1, {"c": "d"}]},
            "long": "x" * 100_000,
        }
        events = [
            event(1, at("03-01T00:00") + 1),
            event(2, at("03-01T23:59") + 999, surprise={"new": ["field", 1.5]}),
            execution("texts", at("03-01T12:00") + 123, odd),
        ]
        side_by_side.load(make(serve(events, now=at("03-02T12:00")), ALL))
        rows = side_by_side.check()
        times = [row["timestamp"] for row in rows["events"]]
        assert times == [1000 * event["timestamp"] for event in events]
        assert '"surprise"' in rows["events"][1]["unmapped"]
        found = {row["key"]: row["value"] for row in rows["events__execution_data"]}
        texts = {key: value for key, value in odd.items() if isinstance(value, str)}
        assert {key: found[key] for key in texts} == texts

    @pytest.mark.destinations
    def test_an_event_that_several_operations_return_is_one_row(
        self, side_by_side: Any, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        hits = [event(n, at("03-01T12:00") + n, type="hit") for n in range(1, 40)]
        sandbox = serve(hits, now=at("03-02"))
        contacts = [f"CON{n:05d}" for n in range(7)]
        side_by_side.load(make(sandbox, action_ids=["000AA1"], target_ids=contacts))
        assert sum(request.event_count or 0 for request in sandbox.requests) > 4 * 39
        rows = side_by_side.check()
        assert ids(rows) == [f"event-{n:05d}" for n in range(1, 40)]
        assert len(rows["events__hits"]) == 39

    @pytest.mark.destinations
    def test_an_id_added_later_gets_its_history(
        self, side_by_side: Any, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        name = "action_events_activations"
        events = [event(n, at("03-01") + n * HOUR, action=f"000AA{n % 2}") for n in range(1, 41)]
        sandbox = serve(events, now=at("03-02"))
        side_by_side.load(make(sandbox, name, action_ids=["000AA0"]))
        assert len(side_by_side.check()["events"]) == 11
        sandbox.now = at("03-04")
        side_by_side.load(make(sandbox, name, action_ids=["000AA0", "000AA1"]))
        assert len(side_by_side.check()["events"]) == 40

    @pytest.mark.destinations
    def test_rows_of_a_campaign_have_a_key_of_two_columns(
        self, side_by_side: Any, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(1, 40)), now=at("03-02"))
        campaigns = ["11111111-aaaa", "22222222-bbbb"]
        sandbox.account.add_campaigns({campaign: ["000AA1"] for campaign in campaigns})
        sandbox.account.add_events(
            event(n, at("03-01T01:30") + n, action="000AA1") for n in range(50, 60)
        )
        for now in ("03-02", "03-03"):
            sandbox.now = at(now)
            side_by_side.load(make(sandbox, "campaign_events", campaign_ids=campaigns))
            rows = side_by_side.check()
        assert {row["campaign_id"] for row in rows["events__campaigns"]} <= set(campaigns)
        assert len(rows["events__campaigns"]) >= 10


class TestVersions:
    """An event whose content changed: the version that was asked for last stays."""

    def test_between_two_loads(
        self, side_by_side: Any, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        others = [event(n, at("03-01T01:00") + n) for n in range(2, 20)]
        for action, now in (("OLD001", "03-02"), ("NEW001", "03-02T01:00")):
            changed = event(1, at("03-01T23:55"), action=action)
            side_by_side.load(make(serve([*others, changed], now=at(now)), ALL))
        rows = side_by_side.check()
        assert len(rows["events"]) == 19
        assert rows["events"][0]["action_id"] == "NEW001"

    def test_in_one_load(
        self, side_by_side: Any, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve([event(1, at("03-01T12:00"), type="hit")], now=at("03-02"))
        clock = iter(range(100_000))
        sandbox.now = lambda: at("03-02") + next(clock) * 5 * SECOND
        sandbox.account.add_ids("action_id", ["000AA2"])
        changed = event(1, at("03-01T12:00"), action="000AA2", type="hit")
        sandbox.account.add_events([EventRow(changed, action_id="000AA2", visible_at=0)])
        options = {"action_ids": ["000AA1", "000AA2"], "concurrency": 1}
        side_by_side.load(make(sandbox, "action_reactivities", **options))
        rows = side_by_side.check()
        assert [row["action_id"] for row in rows["events"]] == ["000AA2"]

    @pytest.mark.parametrize("newer", [{"a": 3}, {}], ids=["some", "all"])
    def test_keys_that_a_newer_version_lacks(
        self,
        side_by_side: Any,
        store: Store,
        serve: TMake,
        make: TMake,
        at: TAt,
        newer: dict[str, Any],
    ) -> None:
        other = execution("two", at("03-01T23:56"), {"c": 1})
        for data, now in (({"a": 1, "b": 2}, "03-02"), (newer, "03-02T01:00")):
            sandbox = serve([execution("one", at("03-01T23:55"), data), other], now=at(now))
            side_by_side.load(make(sandbox, ALL))
        rows = side_by_side.check()["events__execution_data"]
        expected = [("one", key, str(value)) for key, value in newer.items()]
        assert [(row["event_id"], row["key"], row["value"]) for row in rows] == [
            *expected,
            ("two", "c", "1"),
        ]


@pytest.mark.destinations
class TestTables:
    def test_every_table_is_there_from_the_first_load_with_its_columns(
        self, store: Store, serve: TMake, make: TMake, at: TAt
    ) -> None:
        sandbox = serve([], now=at("03-02"))
        load(store.pipeline, lambda: make(sandbox, ALL)(**store.source_options))
        for table in TABLES:
            expected = {c.name: (c.data_type, c.nullable) for c in table.columns}
            assert store.columns(table) == expected, table.name

    def test_dlt_knows_the_keys(
        self, store: Store, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve([event(1, at("03-01"))], now=at("03-02"))
        pipeline = store.pipeline
        load(pipeline, lambda: make(sandbox, ALL)(**store.source_options))
        for table in TABLES:
            columns = pipeline.default_schema.get_table_columns(table.name)
            key = {name for name, column in columns.items() if column.get("primary_key")}
            # A column that came with a later version is NULL in older rows.
            assert key == {c.name for c in table.columns if c.name in table.key and not c.nullable}

    def test_one_that_went_away_is_missed(
        self, store: Store, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve([event(1, at("03-01")), event(2, at("03-02T12:00"))], now=at("03-02"))
        make_source = lambda: make(sandbox, ALL)(**store.source_options)  # noqa: E731
        load(store.pipeline, make_source)
        store.drop(EVENTS)
        sandbox.now = at("03-03")
        with pytest.raises(TableMissing, match=r"events is gone .*--reload"):
            load(store.pipeline, make_source)
        load(store.pipeline, make_source, reload=True)
        assert [row["id"] for row in store.rows(EVENTS)] == ["event-00001", "event-00002"]


@pytest.mark.destinations
class TestLedger:
    def test_gaps_are_found_and_windows_are_proven_once(
        self, store: Store, serve: TMake, make: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(90)), now=at("03-09"))
        for start, end in (("03-01", "03-02"), ("03-03", "03-04")):
            backfill = {"start": at(start), "end": at(end)} | store.source_options
            load(store.pipeline, lambda b=backfill: make(sandbox, ALL)(**b))  # type: ignore[misc]
        rows = store.rows(LOAD_WINDOWS)
        covered = merged(Window(row["window_start"], row["window_end"]) for row in rows)
        assert covered == [
            Window(1000 * at("03-01"), 1000 * at("03-02")),
            Window(1000 * at("03-03"), 1000 * at("03-04")),
        ]
        assert sum(row["event_count"] for row in rows) == 48
        if store.speaks_sql:
            asked = Window(at("03-01"), at("03-04"))
            (gap,) = missing(asked, coverage(store.pipeline))
            assert (gap.resource, gap.scope_id) == (ALL, "")
            assert gap.window == Window(at("03-02"), at("03-03"))


@pytest.mark.destinations
class TestInterruptions:
    @pytest.fixture
    def sandbox(self, serve: TMake, event: TMake, at: TAt) -> Sandbox:
        """48 events in two days, readable up to noon of the first."""
        sandbox: Sandbox = serve(
            (event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-01T12:00")
        )
        return sandbox

    @pytest.mark.parametrize("interrupted", [False, True], ids=["left behind", "interrupted"])
    def test_a_package_on_its_way_is_neither_lost_nor_loaded_twice(
        self,
        store: Store,
        sandbox: Sandbox,
        make: TMake,
        at: TAt,
        caplog: pytest.LogCaptureFixture,
        interrupted: bool,
    ) -> None:
        make_source = lambda: make(sandbox, ALL)(**store.source_options)  # noqa: E731
        load(store.pipeline, make_source)
        sandbox.now = at("03-02")
        pipeline = store.pipeline
        pipeline.extract(make_source())
        pipeline.normalize()
        if interrupted:
            # What a kill leaves: a job that was started, perhaps with its rows in the destination.
            (load_id,) = pipeline.list_normalized_load_packages()
            normalized = store.folder / "pipelines" / "np6_test" / "load" / "normalized"
            (job,) = (normalized / load_id / "new_jobs").glob("load_windows.*")
            job.rename(normalized / load_id / "started_jobs" / job.name)
        sandbox.now = at("03-03T00:10")
        with caplog.at_level(logging.WARNING, "np6_source"):
            load(store.pipeline, make_source)
        assert ("was interrupted" if interrupted else "left a package behind") in caplog.text
        assert [row["id"] for row in store.rows(EVENTS)] == [f"event-{n:05d}" for n in range(48)]
        starts = [row["window_start"] for row in store.rows(LOAD_WINDOWS)]
        assert len(starts) == len(set(starts))
