"""The destination's ledger is the truth: progress in the state that runs ahead of it goes back.

Each test makes the state and the tables disagree in another way, and goes on with a plain
``pipeline.run``: at the end every event of the account is there, and a warning says what was read
again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.endpoints import scope_label
from np6_source.ledger import coverage, recent_windows
from np6_source.windows import SECOND, Window, gaps
from tests.support import Warehouse, at, event

ALL = "actions_events"
BY_ID = "action_events_activations"
BY_ADDRESS = "targets_events_hits_by_unicity"
HOUR = 3600 * SECOND
EVERY_ID = [f"event-{n:05d}" for n in range(72)]
TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake) -> Any:
    """Three days of an event an hour; now is the end of the second."""
    made = [event(n, at("03-01") + n * HOUR + 1, action=f"00000{n % 2}") for n in range(72)]
    return serve(made, now=at("03-03"))


def rest_is_loaded(
    warehouse: Warehouse, source: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> bool:
    """Whether a run on the next day leaves every event once, and says what it read again."""
    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse.run(source())
    assert "read again" in caplog.text
    assert warehouse.ids() == EVERY_ID
    span = Window(at("03-01"), at("03-03T23:30"))
    return all(gaps(span, windows) == [] for windows in coverage(warehouse.pipeline).values())


class TestTheStateIsAhead:
    @pytest.fixture
    def source(self, sandbox: Any, source_of: TMake) -> Callable[[], Any]:
        return lambda: source_of(sandbox, ALL)

    def test_of_a_database_restored_from_a_backup(
        self,
        warehouse: Warehouse,
        sandbox: Any,
        source: Callable[[], Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        sandbox.now = at("03-02")
        warehouse.run(source())
        backup = warehouse.database.with_suffix(".backup")
        shutil.copy(warehouse.database, backup)
        sandbox.now = at("03-03")
        warehouse.run(source())
        shutil.copy(backup, warehouse.database)
        assert warehouse.ids() == EVERY_ID[:24]
        sandbox.now = at("03-04")
        sandbox.requests.clear()
        assert rest_is_loaded(warehouse, source, caplog)
        # Only what is missing is read again, and the overlap before it.
        assert min(r.query["start"] for r in sandbox.requests) > "2024-03-01T23"

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM np6.events",
            "DELETE FROM np6.load_windows",
            "DELETE FROM np6.load_windows WHERE window_end > '2024-03-02T12:00:00Z'",
            "DELETE FROM np6._dlt_loads",
            "UPDATE np6._dlt_loads SET status = 1",
        ],
    )
    def test_of_a_table_that_was_emptied(
        self,
        warehouse: Warehouse,
        sandbox: Any,
        source: Callable[[], Any],
        caplog: pytest.LogCaptureFixture,
        statement: str,
    ) -> None:
        warehouse.run(source())
        warehouse.execute(statement)
        sandbox.now = at("03-04")
        assert rest_is_loaded(warehouse, source, caplog)

    def test_of_windows_that_were_changed_to_end_before_they_start(
        self,
        warehouse: Warehouse,
        sandbox: Any,
        source: Callable[[], Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """By hand; they prove nothing, and no command stumbles over them."""
        warehouse.run(source())
        warehouse.execute(
            "UPDATE np6.load_windows SET window_start = window_end, window_end = window_start"
        )
        assert recent_windows(warehouse.pipeline, 0).num_rows == 0
        sandbox.now = at("03-04")
        assert rest_is_loaded(warehouse, source, caplog)

    def test_of_a_table_beside_that_was_emptied(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake
    ) -> None:
        hits = [event(n, at("03-01") + n * HOUR + 1, type="hit") for n in range(72)]
        sandbox = serve(hits, now=at("03-03"))
        warehouse.run(source_of(sandbox, ALL))
        before = len(warehouse.rows("events__hits"))
        assert before == 48
        warehouse.execute("DELETE FROM np6.events__hits")
        warehouse.run(source_of(sandbox, ALL))
        assert len(warehouse.rows("events__hits")) == before

    def test_but_a_table_that_has_no_rows_yet_was_not_emptied(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Nobody's hits are robots' where no request names a class of robots."""
        hits = [event(n, at("03-01") + n * HOUR + 1, type="hit") for n in range(72)]
        sandbox = serve(hits, now=at("03-03"))
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.rows("events__robots") == []
        sandbox.requests.clear()
        with caplog.at_level(logging.WARNING, "np6_source"):
            warehouse.run(source_of(sandbox, ALL))
        assert caplog.text == ""
        assert min(r.query["start"] for r in sandbox.requests) > "2024-03-02T23"

    def test_of_a_load_package_that_was_thrown_away(
        self,
        warehouse: Warehouse,
        sandbox: Any,
        source: Callable[[], Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        sandbox.now = at("03-02")
        warehouse.run(source())
        sandbox.now = at("03-03")
        pipeline = warehouse.pipeline
        pipeline.extract(source())
        pipeline.normalize()
        for folder in (warehouse.pipelines_dir / warehouse.name / "load" / "normalized").iterdir():
            shutil.rmtree(folder)
        sandbox.now = at("03-04")
        assert rest_is_loaded(warehouse, source, caplog)

    def test_and_the_same_holds_for_the_script_s_load(
        self,
        warehouse: Warehouse,
        sandbox: Any,
        source: Callable[[], Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        warehouse.load(source)
        warehouse.execute("DELETE FROM np6.events", "DELETE FROM np6.load_windows")
        sandbox.now = at("03-04")
        with caplog.at_level(logging.WARNING, "np6_source"):
            report = warehouse.load(source)
        assert report.failures == []
        assert "read again" in caplog.text
        assert warehouse.ids() == EVERY_ID


def test_each_id_goes_back_for_itself(
    warehouse: Warehouse, sandbox: Any, source_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    ids = ["000000", "000001"]
    source = lambda: source_of(sandbox, BY_ID, action_ids=ids)  # noqa: E731
    warehouse.run(source())
    warehouse.execute("DELETE FROM np6.load_windows WHERE scope_id = '000001'")
    warehouse.execute("DELETE FROM np6.events WHERE action_id = '000001'")
    sandbox.now = at("03-04")
    sandbox.requests.clear()
    assert rest_is_loaded(warehouse, source, caplog)
    starts = {
        scope: min(r.query["start"] for r in sandbox.requests if f"/{scope}/" in r.path)
        for scope in ids
    }
    assert starts["000001"] == "2024-03-01T00:00:00Z"
    assert starts["000000"] > "2024-03-02T23"


def test_the_warning_shows_no_address(
    warehouse: Warehouse, sandbox: Any, source_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    address = "person1@example.com"
    source = lambda: source_of(sandbox, BY_ADDRESS, target_unicities=[address])  # noqa: E731
    warehouse.run(source())
    warehouse.execute("DELETE FROM np6.load_windows")
    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse.run(source())
    assert scope_label(address, is_personal=True) in caplog.text
    assert address not in caplog.text


def test_where_nothing_is_missing_nothing_is_said_and_nothing_read_twice(
    warehouse: Warehouse, sandbox: Any, source_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "np6_source"):
        for now in ("03-03", "03-03T06:00", "03-04"):
            sandbox.now = at(now)
            sandbox.requests.clear()
            warehouse.run(source_of(sandbox, ALL, BY_ID, action_ids=["000000"]))
    assert caplog.text == ""
    assert min(r.query["start"] for r in sandbox.requests) > "2024-03-03T05:4"


def test_a_project_that_keeps_no_ledger_goes_on_from_its_state(
    warehouse: Warehouse, sandbox: Any, source_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    def source() -> Any:
        made = source_of(sandbox, ALL)
        only_events = lambda table: "agency" in table.column_names  # noqa: E731
        made.resources[ALL].add_filter(only_events)
        return made

    warehouse.run(source())
    sandbox.now = at("03-04")
    sandbox.requests.clear()
    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse.run(source())
    assert "read again" not in caplog.text
    assert min(r.query["start"] for r in sandbox.requests) > "2024-03-02T23"
    assert warehouse.ids() == EVERY_ID


def test_the_destination_is_asked_once_in_a_run(
    warehouse: Warehouse, sandbox: Any, source_of: TMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

    names = (ALL, "actions_reactivities", BY_ID)
    warehouse.run(source_of(sandbox, *names, action_ids=["000000", "000001"]))
    asked = []
    execute = DuckDbSqlClient.execute_sql

    def counted(self: Any, sql: Any, *arguments: Any, **options: Any) -> Any:
        if "AS island" in str(sql):
            asked.append(sql)
        return execute(self, sql, *arguments, **options)

    monkeypatch.setattr(DuckDbSqlClient, "execute_sql", counted)
    sandbox.now = at("03-04")
    warehouse.run(source_of(sandbox, *names, action_ids=["000000", "000001"]))
    # Once about everything, and once about what has no event: the reactivities.
    assert ["AS first_read" in str(sql) for sql in asked] == [False, True]


class TestWithoutAnyEvent:
    """Empty arrays are also what an outage answers: one reading does not prove a history empty."""

    def earliest(self, warehouse: Warehouse, empty: Any, source: Any, moment: str) -> str:
        """From when a run at a moment reads."""
        empty.now = at(moment)
        empty.requests.clear()
        warehouse.run(source())
        return min(str(request.query["start"]) for request in empty.requests)

    def test_a_history_is_read_until_it_was_empty_an_hour_after_the_first_time(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake
    ) -> None:
        empty = serve([], now=at("03-03"))
        source = lambda: source_of(empty, ALL, start=at("03-01"))  # noqa: E731
        for moment in ("03-03T10:00", "03-03T10:50", "03-03T11:10"):
            assert self.earliest(warehouse, empty, source, moment) == "2024-03-01T00:00:00Z"
        for moment in ("03-03T11:20", "03-05T11:20"):
            assert self.earliest(warehouse, empty, source, moment) > "2024-03-03T10"

    def test_what_an_outage_hid_in_the_first_hour_is_loaded(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake
    ) -> None:
        empty = serve([], now=at("03-03T10:00"))
        warehouse.run(source_of(empty, ALL))
        back = serve([event(1, at("03-01"))], now=at("03-03T11:10"))
        warehouse.run(source_of(back, ALL, same_account=True))
        assert warehouse.ids() == ["event-00001"]
