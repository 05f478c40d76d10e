"""Many small loads: a schedule every five minutes for a day, and thousands of ids without news.

The schedule's runs are made one after the other in one process, against an API whose clock is set
to the moment of each. Then the API's clock goes on by weeks, and the ledger is looked at again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
import duckdb
from measuring import MB, bytes_in, machine
from prepared import BUILD
from table import as_text, say, say_checks
from targets import LAST_TO_FIRST_RUN, LEDGER_ROWS_A_DAY, at_most, exit_status

from np6_source import np6_source
from np6_source.cli.destination import duckdb as destination_of_script
from np6_source.loading import load
from np6_source.sandbox import Sandbox, generated_account, mass_mailing_account

DAY = datetime(2025, 3, 3, tzinfo=timezone.utc)
MIDNIGHT = DAY + timedelta(days=1)
AFTER_MIDNIGHT = 4
"""Runs that go on into the next day: only then nothing is read of the day any more."""
EVERY = timedelta(minutes=5)
LONG_PAST = timedelta(days=40)
EVENTS = 20_000
"""Events of the day."""
SMOOTHED = 12
"""Runs whose median stands for the first, and for the last."""
HEADER = (
    "what",
    "seconds",
    "CPU s",
    "requests",
    "ledger rows",
    "state bytes",
    "files",
    "database MB",
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=288)
    parser.add_argument("--ids", type=int, default=2_000, help="0: leave that out")
    parser.add_argument("--json", type=Path, default=BUILD / "many-small.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives exit status 1 where a target is missed."""
    options = parse(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": machine(), **_schedule(options.runs)}
    if options.ids:
        found["ids"] = _ids(options.ids)
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    runs = found["runs"]
    first = _median(runs[1 : 1 + SMOOTHED])
    last = _median(runs[-SMOOTHED:])
    rows = [
        ("a first run", *_cells(runs[0])),
        (f"runs 2 to {1 + SMOOTHED}", *_cells(first)),
        (f"the last {SMOOTHED} of {len(runs)}", *_cells(last)),
        ("one when that day is long past", *_cells(found["long_past"])),
        *((f"ids: {name}", *_cells(run)) for name, run in found.get("ids", {}).items()),
    ]
    say(as_text(HEADER, rows))
    checks = [
        at_most(
            f"the last runs at most {LAST_TO_FIRST_RUN:g} times the CPU seconds of the first",
            last["cpu_seconds"] / first["cpu_seconds"],
            LAST_TO_FIRST_RUN,
        ),
        at_most(
            f"rows of that day in the ledger, long past: {LEDGER_ROWS_A_DAY} at most",
            found["rows_of_day"],
            LEDGER_ROWS_A_DAY,
            "{}",
        ),
    ]
    say_checks(checks)
    say(f"Results are in {options.json}.")
    return exit_status(checks)


def _schedule(count: int) -> dict[str, Any]:
    account = mass_mailing_account(EVENTS, start=DAY, end=MIDNIGHT)
    first = MIDNIGHT - EVERY * (count - 1)
    with _watched(account) as watched:

        def make_source(**smaller: Any) -> Any:
            source = np6_source(
                watched.sandbox.key,
                base_url=watched.sandbox.url,
                start=DAY,
                # This machine's clock is far ahead, and windows would be requested up to it.
                clock_tolerance=1e9,
                concurrency=1,
                **smaller,
            )
            return source.with_resources("actions_events")

        moments = [first + EVERY * n for n in range(count + AFTER_MIDNIGHT)]
        runs = [watched.load(make_source, moment) for moment in moments]
        # As many days ago as the API's clock goes on: the ledger is looked at once a day.
        watched.execute("UPDATE np6._dlt_loads SET inserted_at = inserted_at - INTERVAL '2 days'")
        long_past = watched.load(make_source, DAY + LONG_PAST)
        rows = watched.execute(
            "SELECT count(*) FROM np6.load_windows"
            f" WHERE window_end <= '{MIDNIGHT}' AND window_start >= '{DAY}'"
        )
        lacking = watched.execute("SELECT count(*) FROM np6.events")
    account.close()
    assert lacking == EVENTS, f"{lacking:,} events in place of {EVENTS:,}"
    return {"runs": runs, "long_past": long_past, "rows_of_day": rows}


def _ids(count: int) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    start = now - timedelta(days=20)
    account = generated_account(
        contacts=count, start=start, end=now - timedelta(hours=1), actions=2
    )
    ids = account.example_ids("contact_id", count)
    with _watched(account) as watched:

        def make_source(**smaller: Any) -> Any:
            source = np6_source(
                watched.sandbox.key,
                base_url=watched.sandbox.url,
                start=start,
                target_ids=ids,
                **smaller,
            )
            return source.with_resources("target_events")

        names = ("with their history", "with nothing new", "with nothing new, again")
        found = {f"{len(ids):,} {name}": watched.load(make_source, None) for name in names}
    account.close()
    return found


class _watched:  # noqa: N801 - a context manager
    """An API of an account, and a pipeline whose loads are measured."""

    def __init__(self, account: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="many-")
        self.sandbox = Sandbox(account, gzip=False)

    def __enter__(self) -> _watched:
        self.sandbox.__enter__()
        folder = Path(self._folder.name)
        self._database, self._pipelines = folder / "account.duckdb", folder / "pipelines"
        self._pipeline = dlt.pipeline(
            "many_small",
            destination=destination_of_script(str(self._database)),
            dataset_name="np6",
            pipelines_dir=str(self._pipelines),
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.sandbox.__exit__(None, None, None)
        self._folder.cleanup()

    def load(self, make_source: Callable[..., Any], now: datetime | None) -> dict[str, Any]:
        """Loads, with the API's clock at a moment if one is given; what it took, and left."""
        if now is not None:
            self.sandbox.now = int(now.timestamp() * 1000)
        self.sandbox.requests.clear()
        started, cpu = time.monotonic(), time.process_time()
        report = load(self._pipeline, make_source, views="off")
        assert not report.failures, report.failures[0]["message"]
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "requests": len(self.sandbox.requests),
            "ledger_rows": self.execute("SELECT count(*) FROM np6.load_windows"),
            "state_bytes": len(json.dumps(self._pipeline.state, default=str)),
            "files": sum(one.is_file() for one in self._pipelines.rglob("*")),
            "database_bytes": bytes_in(self._database),
        }

    def execute(self, sql: str) -> int:
        """Runs a statement; returns the number that it gives, if any."""
        with duckdb.connect(str(self._database)) as connection:
            found = connection.execute(sql).fetchone()
        return int(found[0]) if found else 0


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _cells(run: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{run['seconds']:.2f}",
        f"{run['cpu_seconds']:.2f}",
        *(f"{run[name]:,.0f}" for name in ("requests", "ledger_rows", "state_bytes", "files")),
        f"{run['database_bytes'] / MB:.1f}",
    )


if __name__ == "__main__":
    sys.exit(main())
