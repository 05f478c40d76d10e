"""Retention: what is older than the cutoff goes, is never asked for, and is no gap."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from np6_source import SettingError, loading, np6_source
from np6_source.settings import Retention
from np6_source.windows import DAY, SECOND, iso, to_datetime, to_ms
from tests.support import PostgresDataset, Warehouse, event

ALL = "actions_events"
AGES = (45, 40, 20, 5, 3)
"""Days ago, an event each."""

pytestmark = pytest.mark.usefixtures("same_day")


def moment(days: int) -> int:
    return int(time.time()) * SECOND - days * DAY


def cutoff(span: str = "30 days") -> str:
    """From when on events are kept today."""
    return iso(Retention.parse(span).cutoff(moment(0)))


@pytest.fixture
def sandbox(serve: Any) -> Any:
    hits = [event(days, moment(days)) for days in AGES]
    for one in hits:
        one["type"] = "hit"
        one["source"]["detail"]["link"] = {"type": "open"}
    return serve(hits)


@pytest.fixture
def load(warehouse: Warehouse, sandbox: Any, source_of: Any) -> Callable[..., Any]:
    start = moment(50)

    def call(reload: bool = False, **options: Any) -> Any:
        given = {"start": start, "on_error": "keep", **options}
        return warehouse.load(lambda: source_of(sandbox, ALL, **given), reload=reload)

    return call


@pytest.fixture
def call(command_line: Any, warehouse: Warehouse, sandbox: Any) -> Callable[..., Any]:
    def run(command: str, *options: str, **environment: str) -> Any:
        return command_line.run(
            *("-m np6_source", command, *command_line.where(warehouse), *options),
            **{"SOURCES__NP6__API_KEY": sandbox.key, "SOURCES__NP6__BASE_URL": sandbox.url},
            **environment,
        )

    return run


def ids(*days: int) -> list[str]:
    return sorted(f"event-{one:05d}" for one in days)


def day(number: int) -> str:
    return iso(moment(number))


class TestLoads:
    def test_nothing_before_the_cutoff_is_asked_for(
        self, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        report = load(retention="30 days")

        assert report.failures == []
        assert warehouse.ids() == ids(20, 5, 3)
        assert min(r.query["start"] for r in sandbox.requests) == cutoff()
        assert report.removed == {}

    def test_what_is_older_goes_once_a_day_and_does_not_come_back(
        self, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load()
        assert warehouse.ids() == ids(*AGES)
        ledger = warehouse.rows("load_windows")

        report = load(retention="30 days")

        assert report.removed == {"events": 2, "events__hits": 2}
        assert warehouse.ids() == ids(20, 5, 3)
        assert b"stamp-45" not in warehouse.database.read_bytes()
        assert [row for row in ledger if row not in warehouse.rows("load_windows")] == []
        inode = warehouse.database.stat().st_ino
        sandbox.requests.clear()
        assert load(retention="30 days").removed == {}
        assert warehouse.database.stat().st_ino == inode
        assert min(r.query["start"] for r in sandbox.requests) > day(1)
        # A longer span brings nothing back by itself.
        load(retention="60 days")
        assert warehouse.ids() == ids(20, 5, 3)

    def test_where_all_is_older_the_ledger_is_believed(
        self, load: Any, warehouse: Warehouse, sandbox: Any, caplog: Any
    ) -> None:
        load()
        ledger = len(warehouse.rows("load_windows"))
        load(retention="1 day")
        assert warehouse.ids() == []
        sandbox.requests.clear()

        load(retention="1 day")

        assert "was emptied" not in caplog.text
        assert len(warehouse.rows("load_windows")) > ledger
        assert min(r.query["start"] for r in sandbox.requests) > day(1)

    def test_reading_that_goes_back_ends_at_the_cutoff_and_happens_once(
        self, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load()
        warehouse.execute("DELETE FROM np6.load_windows")
        sandbox.requests.clear()

        load(retention="30 days")

        assert min(r.query["start"] for r in sandbox.requests) == cutoff()
        sandbox.requests.clear()
        load(retention="30 days")
        assert min(r.query["start"] for r in sandbox.requests) > day(3)

    def test_a_reload_reads_from_the_cutoff(
        self, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load()
        time.sleep(0.01)
        sandbox.requests.clear()

        report = load(reload=True, retention="30 days")

        assert report.failures == []
        assert min(r.query["start"] for r in sandbox.requests) == cutoff()
        assert warehouse.ids() == ids(20, 5, 3)
        load(retention="30 days")
        assert warehouse.ids() == ids(20, 5, 3)

    def test_a_backfill_is_clipped_and_one_wholly_before_is_refused(
        self, call: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        kept = {"SOURCES__NP6__RETENTION": "30 days"}
        before = ("--start", day(48), "--end", day(35), "--resources", ALL)
        refused = call("load", *before, **kept)
        assert refused.returncode == 2
        assert "retention removes that" in refused.stderr
        assert sandbox.requests == []

        partly = call("load", "--start", day(42), "--end", day(4), "--resources", ALL, **kept)

        assert partly.returncode == 0, partly.stderr
        assert warehouse.ids() == ids(20, 5)
        assert min(r.query["start"] for r in sandbox.requests) == cutoff()

    @pytest.mark.parametrize("text", ["30", "a month", "0 days", "-1 days", "3 centuries"])
    def test_what_is_no_span_is_refused(self, call: Any, text: str) -> None:
        refused = call("load", "--retention", text)
        assert refused.returncode == 2
        assert "is no span like 400 days" in refused.stderr


class TestCommands:
    def test_gaps_say_what_was_removed(self, call: Any, load: Any) -> None:
        load(retention="30 days")
        span = ("--start", day(48), "--end", day(2))

        without = call("gaps", *span)
        kept = call("gaps", *span, SOURCES__NP6__RETENTION="30 days")
        filled = call("gaps", *span, "--fill", SOURCES__NP6__RETENTION="30 days")
        before = call(
            "gaps", "--start", day(48), "--end", day(35), **{"SOURCES__NP6__RETENTION": "30 days"}
        )

        # The dataset remembers the cutoff that was applied.
        for one in (without, kept, filled):
            assert one.returncode == 0, one.stderr
            assert f"Before {cutoff()}: removed by retention" in one.stdout
            assert "Nothing is missing." in one.stdout
        assert before.returncode == 0

    def test_retain_counts_then_removes(
        self, call: Any, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load(**{"start": moment(50)})
        before = warehouse.contents()
        assert call("retain").returncode == 2

        planned = call("retain", "--retention", "30 days")

        assert planned.returncode == 3, planned.stderr
        assert f"events: 2 rows from before {cutoff()} would be removed" in planned.stdout
        assert warehouse.contents() == before
        done = call("retain", "--yes", "--json", SOURCES__NP6__RETENTION="30 days")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)["result"]
        assert result["rows"] == {"events": 2, "events__hits": 2}
        assert result["cutoff"] == cutoff()
        assert warehouse.ids() == ids(20, 5, 3)
        again = call("retain", SOURCES__NP6__RETENTION="30 days")
        assert (again.returncode, "Nothing is older" in again.stdout) == (0, True)

    def test_what_was_removed_is_neither_missing_nor_read_again(
        self, call: Any, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load()
        assert call("retain", "--yes", SOURCES__NP6__RETENTION="30 days").returncode == 0
        kept = warehouse.ids()
        assert kept == ids(20, 5, 3)
        # With no span configured any more, which brings nothing back.
        sandbox.requests.clear()
        status = call("status", "--json")
        assert status.returncode == 0, status.stderr
        result = json.loads(status.stdout)["result"]
        (resource,) = result["resources"]
        assert (resource["start"], resource["gaps"]) == (cutoff(), 0)
        assert result["removed_before"] == cutoff()
        said = call("status", SOURCES__NP6__RETENTION="10 days").stdout
        later = cutoff("10 days")[:10]
        assert f"before {later}: removed by retention" in said
        span = ("--start", day(48), "--end", day(2))
        gaps = call("gaps", *span, "--fill")
        assert "Nothing is missing." in gaps.stdout
        assert f"Before {cutoff()}: removed by retention" in gaps.stdout
        again = call("recheck", *span, "--resources", ALL)
        assert again.returncode == 0, again.stderr
        compared = call("reconcile", *span, "--without-reactivities", "--fill")
        assert compared.returncode == 0, compared.stdout + compared.stderr
        assert f"Before {cutoff()}: removed by retention, not compared" in compared.stdout
        asked = [r.query["start"] for r in sandbox.requests if "start" in r.query]
        assert min(asked) == cutoff()
        assert warehouse.ids() == kept
        before = ("--start", day(48), "--end", day(35))
        for refused in (
            call("recheck", *before, "--resources", ALL),
            call("recheck", "--days", "40", "--dry-run"),
            call("reconcile", *before),
        ):
            assert refused.returncode == 2, refused.stdout + refused.stderr
            assert "removed by retention" in refused.stderr

    def test_a_recheck_of_more_days_than_are_kept_is_refused(self) -> None:
        np6_source("an-api-key", retention="30 days", recheck="30d")
        with pytest.raises(SettingError, match="recheck='40d': days of before"):
            np6_source("an-api-key", retention="30 days", recheck="40d")

    def test_the_views_know_it(self, warehouse: Warehouse, serve: Any, source_of: Any) -> None:
        old, new = moment(31), moment(28)
        sent, opened = event(1, old), event(2, new)
        opened["type"] = "hit"
        opened["source"]["detail"]["link"] = {"type": "open"}
        for one in (sent, opened):
            one["source"]["detail"]["activation"]["stamp"] = {"id": "one", "time": old}
        sandbox = serve([sent, opened])
        options = {"start": moment(50), "on_error": "keep"}
        check = "SELECT count_found FROM np6.data_quality WHERE check_name LIKE 'sent messages%'"
        covered = "SELECT covered_from FROM np6.freshness"
        warehouse.load(lambda: source_of(sandbox, ALL, **options))
        assert warehouse.query(check) == [(0,)]

        for _ in range(2):  # The views are made before rows are removed.
            warehouse.load(lambda: source_of(sandbox, ALL, retention="30 days", **options))

        assert warehouse.ids() == ["event-00002"]
        assert warehouse.query("SELECT was_sent, is_activation_loaded FROM np6.messages") == [
            (True, False)
        ]
        assert warehouse.query(check) == [(0,)]
        ((first,),) = warehouse.query(covered)
        assert iso(to_ms(first)) == cutoff()

    def test_rows_are_removed_from_postgresql(
        self,
        command_line: Any,
        postgres_dataset: Callable[[str], PostgresDataset],
        sandbox: Any,
        source_of: Any,
    ) -> None:
        dataset = postgres_dataset("np6_retained")

        def there(table: str, column: str = "id") -> list[str]:
            query = f"SELECT {column} FROM {table} ORDER BY {column}"
            return [value for (value,) in dataset.query(query)]

        start = moment(50)

        def load_again(**options: Any) -> Any:
            given = {"start": start, "on_error": "keep", **options}
            make = lambda: source_of(sandbox, ALL, **given)  # noqa: E731
            return loading.load(dataset.pipeline, make, materialize=True)

        load_again()
        assert there("events") == ids(*AGES)

        report = load_again(retention="30 days")

        assert report.removed == {"events": 2, "events__hits": 2}
        assert there("events") == ids(20, 5, 3)
        assert there("messages_table", "message_id") == sorted(f"stamp-{n}" for n in (20, 5, 3))
        assert load_again(retention="30 days").removed == {}
        planned = command_line.run(
            *("-m np6_source", "retain", *dataset.options, "--yes", "--retention", "10 days"),
            **dataset.environment,
        )
        assert planned.returncode == 0, planned.stderr
        assert "Out of reach: dead rows until VACUUM FULL" in planned.stdout
        assert there("events") == ids(5, 3)

    def test_nothing_loaded_is_said(self, call: Any) -> None:
        assert call("retain", "--retention", "30 days").returncode == 4


def test_the_cutoff_is_a_midnight_of_the_calendar() -> None:
    of = {
        text: to_datetime(Retention.parse(text).cutoff(1_711_875_600_000))
        for text in ("1 month", "2 years", "10 days", "1 Week")
    }
    assert {text: f"{found:%Y-%m-%d %H:%M}" for text, found in of.items()} == {
        "1 month": "2024-02-29 00:00",
        "2 years": "2022-03-31 00:00",
        "10 days": "2024-03-21 00:00",
        "1 Week": "2024-03-24 00:00",
    }
