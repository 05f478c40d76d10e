"""Retention: what is older than the cutoff goes, is never asked for, and is no gap."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.settings import Retention
from np6_source.windows import DAY, SECOND, iso, to_datetime
from tests.support import Warehouse, event

ALL = "actions_events"
NOW = int(time.time() * SECOND)
AGES = (45, 40, 20, 5, 3)
"""Days ago, an event each."""
CUTOFF = Retention.parse("30 days").cutoff(NOW)


def moment(days: int) -> int:
    return NOW // SECOND * SECOND - days * DAY


@pytest.fixture
def sandbox(serve: Any) -> Any:
    hits = [event(days, moment(days)) for days in AGES]
    for one in hits:
        one["type"] = "hit"
        one["source"]["detail"]["link"] = {"type": "open"}
    return serve(hits)


@pytest.fixture
def load(warehouse: Warehouse, sandbox: Any, source_of: Any) -> Callable[..., Any]:
    def call(reload: bool = False, **options: Any) -> Any:
        given = {"start": moment(50), "on_error": "keep", **options}
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
        assert min(r.query["start"] for r in sandbox.requests) == iso(CUTOFF)
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

        assert min(r.query["start"] for r in sandbox.requests) == iso(CUTOFF)
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
        assert min(r.query["start"] for r in sandbox.requests) == iso(CUTOFF)
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

        partly = call("load", "--start", day(42), "--end", day(3), "--resources", ALL, **kept)

        assert partly.returncode == 0, partly.stderr
        assert warehouse.ids() == ids(20, 5)
        assert min(r.query["start"] for r in sandbox.requests) == iso(CUTOFF)

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

        assert without.returncode == 3
        for one in (kept, filled):
            assert one.returncode == 0, one.stderr
            assert f"Before {iso(CUTOFF)}: removed by retention" in one.stdout
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
        assert f"events: 2 rows from before {iso(CUTOFF)} would be removed" in planned.stdout
        assert warehouse.contents() == before
        done = call("retain", "--yes", "--json", SOURCES__NP6__RETENTION="30 days")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)["result"]
        assert result["rows"] == {"events": 2, "events__hits": 2}
        assert result["cutoff"] == iso(CUTOFF)
        assert warehouse.ids() == ids(20, 5, 3)
        again = call("retain", SOURCES__NP6__RETENTION="30 days")
        assert (again.returncode, "Nothing is older" in again.stdout) == (0, True)

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
