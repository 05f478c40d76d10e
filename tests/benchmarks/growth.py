"""Does the hundredth load cost what the second did?

Increments of the same size go into one DuckDB file, each through ``pipeline.run`` with its cursor,
in a process of its own. Then the same within one overlap, which every run reads again. Then the
merge into a table that holds millions of events already; those are copied in with SQL, as only
their number matters.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
from measuring import MB, bytes_in, machine
from one_load import Task, load_alone
from prepared import BUILD
from table import as_text, say, say_checks
from targets import (
    LAST_TO_SECOND_IN_OVERLAP,
    LAST_TO_SECOND_INCREMENT,
    OVERLAP_MEMORY_BYTES,
    at_most,
    exit_status,
)

from np6_source.sandbox import Sandbox, mass_mailing_account

DAYS = 20
"""Days the increments cover; they lie within the 30 days of a first load's default start."""
WITHIN_OVERLAP = timedelta(minutes=9)
"""What the increments cover that lie within one overlap of ten minutes."""
SMOOTHED = 3
"""Increments whose median stands for the second, and for the last."""

HEADER = (
    "increment",
    "seconds",
    "CPU s",
    "extract",
    "normalize",
    "load",
    "peak MB",
    "events",
    "known",
    "database MB",
    "pipeline folder MB",
    "state bytes",
    "ledger rows",
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--increments", type=int, default=20)
    parser.add_argument("--events", type=int, default=100_000, help="per increment")
    parser.add_argument("--overlapping", type=int, default=10, help="increments in one overlap")
    parser.add_argument(
        "--prefill", type=int, default=10_000_000, help="events in the table; 0: leave that out"
    )
    parser.add_argument("--prefilled-increments", type=int, default=3)
    parser.add_argument("--json", type=Path, default=BUILD / "growth.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives exit status 1 where a target is missed."""
    options = parse(arguments)
    found: dict[str, Any] = {"machine": machine(), "events": options.events}
    BUILD.mkdir(parents=True, exist_ok=True)
    say(f"{options.increments} increments of {options.events:,} events:")
    found["increments"] = _series(options.increments, options.events, prefill=0)
    if options.overlapping:
        say()
        say(f"{options.overlapping} increments within one overlap:")
        found["overlapping"] = _series(
            options.overlapping, options.events, prefill=0, span=WITHIN_OVERLAP
        )
    if options.prefill:
        say()
        say(f"With {options.prefill:,} events in the table before the second:")
        found["prefilled"] = _series(
            1 + options.prefilled_increments, options.events, options.prefill
        )
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    seconds = [step["seconds"] for step in found["increments"]]
    second_increment = statistics.median(seconds[1 : 1 + SMOOTHED] or seconds)
    last = statistics.median(seconds[-SMOOTHED:])
    checks = [
        at_most(
            f"last increment at most {LAST_TO_SECOND_INCREMENT:g} times the second (medians of"
            f" increments 2 to {1 + SMOOTHED} and of the last {SMOOTHED})",
            last / second_increment if len(seconds) > SMOOTHED else None,
            LAST_TO_SECOND_INCREMENT,
        )
    ]
    if options.overlapping > 1:
        last, second = (found["overlapping"][n]["cpu_seconds"] for n in (-1, 1))
        text = f"last within an overlap at most {LAST_TO_SECOND_IN_OVERLAP:g} times the second, CPU"
        checks.append(at_most(text, last / second, LAST_TO_SECOND_IN_OVERLAP))
        peak = max(step["peak_bytes"] for step in found["overlapping"])
        text = f"peak memory of these under {OVERLAP_MEMORY_BYTES // MB} MB"
        checks.append(at_most(text, peak / MB, OVERLAP_MEMORY_BYTES / MB, "{:.0f} MB"))
    if options.prefill:
        full = statistics.median(step["seconds"] for step in found["prefilled"][1:])
        checks.append(
            at_most(
                f"on top of {options.prefill:,} events at most {LAST_TO_SECOND_INCREMENT:g} times"
                f" the second (median of {options.prefilled_increments})",
                full / second_increment,
                LAST_TO_SECOND_INCREMENT,
            )
        )
    say_checks(checks)
    say(f"Results are in {options.json}.")
    return exit_status(checks)


def _series(
    increments: int, events: int, prefill: int, span: timedelta = timedelta(days=DAYS)
) -> list[dict[str, Any]]:
    """Loads increments one after the other; the table is filled up after the first.

    Args:
        increments: How many.
        events: Events of each.
        prefill: Events to fill the table up with; 0: none.
        span: What all of them cover together.

    Raises:
        AssertionError: The table does not hold exactly what was served.
    """
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=DAYS + 2)
    step = span / increments
    account = mass_mailing_account(events * increments, start=start, end=start + span, stored=False)
    measured = []
    with (
        tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="growth-") as name,
        Sandbox(account, gzip=False) as sandbox,
    ):
        folder = Path(name)
        database, pipelines = folder / "account.duckdb", folder / "pipelines"
        for number in range(1, increments + 1):
            end = start + step * number
            task = Task(
                sandbox.url,
                sandbox.key,
                str(database),
                str(pipelines),
                source={"end": end.isoformat()},
            )
            told, cost = load_alone(task, folder)
            rows, ids, ledger = _elsewhere(_counts, database)
            filled = prefill if number > 1 else 0
            assert rows == ids == filled + events * number, f"{rows:,} rows, {ids:,} ids"
            figures = {
                **told,
                "number": number,
                "cpu_seconds": cost.cpu_seconds,
                "peak_bytes": cost.memory_bytes,
                "rows": rows,
                "database_bytes": bytes_in(database),
                "pipeline_bytes": bytes_in(pipelines),
                "ledger_rows": ledger,
            }
            measured.append(figures)
            if number == 1 and prefill:
                _elsewhere(_fill, database, prefill)
    account.close()
    say(as_text(HEADER, map(_row, measured)))
    return measured


def _elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own, so that its memory counts for no increment."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _row(figures: dict[str, Any]) -> list[str]:
    return [
        str(figures["number"]),
        f"{figures['seconds']:.2f}",
        f"{figures['cpu_seconds']:.2f}",
        *(f"{figures['steps'].get(step, 0):.2f}" for step in ("extract", "normalize", "load")),
        f"{figures['peak_bytes'] / MB:.0f}",
        f"{figures['rows']:,}",
        f"{figures['known']:,}",
        f"{figures['database_bytes'] / MB:.0f}",
        f"{figures['pipeline_bytes'] / MB:.2f}",
        f"{figures['state_bytes']:,}",
        f"{figures['ledger_rows']:,}",
    ]


def _counts(database: Path) -> tuple[int, int, int]:
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM np6.events), (SELECT count(DISTINCT id) FROM np6.events),"
            " (SELECT count(*) FROM np6.load_windows)"
        ).fetchone()
    assert found is not None
    return found[0], found[1], found[2]


def _fill(database: Path, events: int) -> None:
    """Copies what is there under other ids, and at earlier times, until so many were added."""
    with duckdb.connect(str(database)) as connection:
        connection.execute("SET enable_progress_bar = false")
        for table, key in (("events", "id"), ("events__hits", "event_id")):
            connection.execute(
                f"""INSERT INTO np6.{table} BY NAME
                SELECT held.* REPLACE (
                    md5(concat({key}, copy))::UUID::VARCHAR AS {key},
                    timestamp - to_days(copy::INTEGER) AS timestamp
                ) FROM range(1, (
                    SELECT {events} // count(*) + 2 FROM np6.{table})) AS copies(copy),
                    (FROM np6.{table} ORDER BY {key}) AS held
                LIMIT {events}"""
            )
        connection.execute("CHECKPOINT")


if __name__ == "__main__":
    sys.exit(main())
