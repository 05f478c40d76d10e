"""``np6-source recheck``, as a process: what it says, and the status it ends with."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.sandbox import Fault
from np6_source.windows import DAY, SECOND
from tests.support import CommandLine, Warehouse, event

ALL = "actions_events"
HOUR = 3600 * SECOND
TMake = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("same_day")

RESULT = {
    "dry_run": bool,
    "planned": list,
    "days": int,
    "events": int,
    "new": int,
    "changed": int,
    "fewer": int,
    "lost": int,
    "late_at_the_end": int,
    "seconds": float,
    "stopped": bool,
    "lateness": dict,
}
PLANNED = {
    "resource": str,
    "id": type(None),
    "start": str,
    "end": str,
    "age_days": int,
    "reason": str,
    "events_before": int,
    "requests": int,
    "bytes": int,
}
LATENESS = {
    "days": int,
    "late_events": int,
    "by_delay": dict,
    "none_later_than_days": int,
    "days_that_tell": int,
    "share_of_days_at_most": float,
    "told_within_days": (int, type(None)),
    "recommended_days": (int, type(None)),
    "recommended_overlap_seconds": (int, type(None)),
}


def has_schema(value: Any, schema: Any) -> bool:
    return value.keys() == schema.keys() and all(
        isinstance(value[name], kind) for name, kind in schema.items()
    )


class Account:
    """Six days of events, of which the first three were loaded three days ago."""

    def __init__(
        self, folder: Warehouse, serve: TMake, source_of: TMake, command_line: CommandLine
    ) -> None:
        self.warehouse = folder
        self._serve = serve
        self._command_line = command_line
        today = int(time.time() * SECOND) // DAY * DAY
        self.start = today - 6 * DAY
        self.events = [event(n, self.start + n * 6 * HOUR) for n in range(24)]
        before = serve(self.events, now=today - 3 * DAY + HOUR)
        folder.run(source_of(before, ALL, start=self.start))
        self.late = event(99, self.start + 50 * HOUR)
        self.events.append(self.late)
        self.api = serve(self.events)

    def begin(self, *options: str, **environment: str) -> Any:
        return self._command_line.start(
            "-m np6_source",
            "recheck",
            *self._command_line.where(self.warehouse),
            *("--base-url", self.api.url),
            *options,
            SOURCES__NP6__API_KEY=self.api.key,
            **environment,
        )

    def run(self, *options: str, **environment: str) -> Any:
        return self._command_line.end_of(self.begin(*options, **environment))


@pytest.fixture
def account(
    warehouse: Warehouse, serve: TMake, source_of: TMake, command_line: CommandLine
) -> Account:
    return Account(warehouse, serve, source_of, command_line)


def test_it_says_what_it_would_read_then_reads_it_and_no_more(account: Account) -> None:
    planned = account.run("--dry-run", "--json", "--resources", ALL)
    assert planned.returncode == 0, planned.stderr
    document = json.loads(planned.stdout)
    assert document["result"]["dry_run"] is True
    days = document["result"]["planned"]
    assert days
    assert all(has_schema(day, PLANNED) for day in days)
    assert account.api.requests == []
    ended = account.run("--json", "--resources", ALL)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    result = document["result"]
    assert has_schema(result, RESULT)
    assert has_schema(result["lateness"], LATENESS)
    assert (result["new"], result["changed"], document["problems"]) == (1, 0, [])
    assert document["requests"] <= sum(day["requests"] for day in days)
    assert len(account.api.requests) == document["requests"]
    assert result["lateness"]["late_events"] == 1
    assert account.warehouse.ids().count("event-00099") == 1
    again = account.run()
    assert again.returncode == 0, again.stderr
    assert "No day is due." in again.stdout
    text = planned.stdout + ended.stdout + ended.stderr + again.stdout
    assert account.api.key not in text
    assert "example.com" not in text


def test_fewer_events_end_with_1_until_they_are_accepted(
    account: Account, serve: TMake, source_of: TMake
) -> None:
    many = [event(n, account.start + 49 * HOUR + n) for n in range(200, 260)]
    before = serve([*account.events, *many], now=account.start + 3 * DAY + 2 * HOUR)
    end = account.start + 3 * DAY
    account.warehouse.run(source_of(before, ALL, start=account.start + 2 * DAY, end=end))
    ended = account.run("--resources", ALL)
    assert ended.returncode == 1
    assert "NP6 returns 5 events of the day, and 65 before" in ended.stderr
    assert account.run("--resources", ALL).returncode == 1
    accepted = account.run("--resources", ALL, "--accept-fewer", "--json")
    assert accepted.returncode == 0, accepted.stderr
    assert json.loads(accepted.stdout)["problems"] == []
    assert account.run("--resources", ALL, "--quiet").returncode == 0


def test_where_nothing_was_loaded_it_ends_with_4(
    command_line: CommandLine, new_warehouse: TMake
) -> None:
    ended = command_line.run(
        "-m np6_source", "recheck", *command_line.where(new_warehouse()), SOURCES__NP6__API_KEY="x"
    )
    assert ended.returncode == 4
    assert "Nothing is loaded here" in ended.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--days", "0"], "--days 0 must be from 1 to 366"),
        (["--end", "2024-05-01"], "--end needs --start"),
        (["--start", "2024-05-02", "--end", "2024-05-01"], "must be before"),
        (["--start", "2024-05-02", "--all-days"], "contradict"),
        (["--resources", "actions_event"], "did you mean actions_events"),
    ],
)
def test_what_cannot_be_used_ends_with_2(
    command_line: CommandLine, warehouse: Warehouse, options: list[str], what: str
) -> None:
    ended = command_line.run("-m np6_source", "recheck", *command_line.where(warehouse), *options)
    assert ended.returncode == 2
    assert what in ended.stderr


def test_a_refused_key_ends_with_1_and_changes_nothing(account: Account) -> None:
    account.api.faults.append(Fault("status", 401))
    before = account.warehouse.rows("load_windows")
    ended = account.run()
    assert ended.returncode == 1
    assert account.warehouse.rows("load_windows") == before


def test_one_that_is_killed_leaves_nothing_and_the_next_goes_on(account: Account) -> None:
    tables = account.warehouse.contents()
    ledger = account.warehouse.rows("load_windows")
    account.api.faults.append(Fault("stall", 20, after=1, times=1))
    process = account.begin("--resources", ALL)
    deadline = time.monotonic() + 100
    while len(account.api.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert account.warehouse.contents() == tables
    assert account.warehouse.rows("load_windows") == ledger
    assert account.run("--resources", ALL).returncode == 0
    assert "event-00099" in account.warehouse.ids()


def test_beside_a_load_into_the_same_file_both_end_well(
    account: Account, command_line: CommandLine
) -> None:
    recheck = account.begin("--resources", ALL)
    load = command_line.start(
        "-m np6_source",
        "load",
        *command_line.where(account.warehouse),
        *("--resources", ALL, "--base-url", account.api.url),
        SOURCES__NP6__API_KEY=account.api.key,
    )
    ended = [command_line.end_of(process) for process in (recheck, load)]
    assert [one.returncode for one in ended] == [0, 0], [one.stderr for one in ended]
    assert account.warehouse.ids() == sorted(one["id"] for one in account.events)
